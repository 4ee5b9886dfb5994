/**
 * Log sinks: a file, a terminal, a pipe. Writing never waits.
 *
 * One write is active at a time; further lines queue up to a limit. Lines beyond
 * the limit are dropped and counted, and also lines that the system refuses (a
 * full disk, a reader that left). The next written line reports their number. So
 * a reader that does not read, or a full disk, costs the server only log lines.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  openSync,
  type Stats,
  write,
  writeSync,
} from "node:fs";
import { isatty } from "node:tty";

/** Tries to write, and calls `done` once with the number of bytes that were accepted. */
type WriteTarget = (
  bytes: Buffer,
  done: (error: Error | null, taken: number) => void,
) => void;

/** Bytes in the queue. */
const QUEUE_LIMIT = 4 * 1024 * 1024;
/** Bytes of one write. */
const CHUNK = 64 * 1024;
/** How long the sink waits before it writes again to a terminal that accepts nothing (Ctrl-S). */
const RETRY_MS = 250;

export class LogSink implements Disposable {
  readonly isTerminal: boolean;
  readonly #target: WriteTarget;
  readonly #fd: number;
  readonly #isOwn: boolean;
  #queue: string[] = [];
  #queued = 0; // characters: close enough to bytes for a limit
  #isWriting = false;
  #isClosed = false;
  #isBroken = false;
  #dropped = 0;
  #reportedDrops = 0;
  #flushWaiters: (() => void)[] = [];

  private constructor(fd: number, target: WriteTarget, isOwn: boolean) {
    this.#fd = fd;
    this.#target = target;
    this.#isOwn = isOwn;
    this.isTerminal = isatty(fd);
  }

  /** Makes the file, or empties it unless `isContinued`; only its owner can read it. If it is a FIFO that accepts nothing, the sink tries again every `retry_ms`. Throws the system's error. */
  static file(
    path: string,
    { isContinued = false, retry_ms = RETRY_MS } = {},
  ): LogSink {
    const { O_WRONLY, O_CREAT, O_TRUNC, O_APPEND } = constants;
    // Non-blocking, so that opening a FIFO without a reader fails at once instead of waiting.
    const flags =
      O_WRONLY |
      O_CREAT |
      (isContinued ? 0 : O_TRUNC) |
      O_APPEND |
      nonBlockingFlag();
    const fd = openSync(path, flags, 0o600);
    if (!fstatSync(fd).isFile()) {
      return new LogSink(fd, nonBlocking(fd, retry_ms), true);
    }
    fchmodSync(fd, 0o600); // for a file that existed before
    return new LogSink(fd, asynchronous(fd), true);
  }

  static stdout(): LogSink {
    return LogSink.#standard(1, () => process.stdout);
  }

  /** `stdout` if both are the same file, so that lines keep their order. */
  static stderr(stdout: LogSink): LogSink {
    const [out, err] = [statOf(1), statOf(2)];
    return err !== undefined && out?.ino === err.ino && out.dev === err.dev
      ? stdout
      : LogSink.#standard(2, () => process.stderr);
  }

  static #standard(fd: 1 | 2, stream: () => NodeJS.WriteStream): LogSink {
    const stat = statOf(fd);
    const isPipe = stat?.isFIFO() === true || stat?.isSocket() === true;
    // On Windows, Node's streams block on pipes, so another thread does the writing.
    if (process.platform === "win32" ? !isatty(fd) : !isPipe && !isatty(fd)) {
      return new LogSink(fd, asynchronous(fd), false);
    }
    const own = isatty(fd) ? reopened(fd) : undefined;
    if (own !== undefined) return new LogSink(own, nonBlocking(own), true);
    return new LogSink(fd, streaming(stream()), false);
  }

  /** The number of lines that were dropped. */
  get dropped(): number {
    return this.#dropped;
  }

  /** `line` with its end. */
  write(line: string): void {
    if (this.#isClosed || this.#queued + line.length > QUEUE_LIMIT) {
      this.#dropped += 1;
      return;
    }
    this.#queue.push(line);
    this.#queued += line.length;
    if (!this.#isWriting) this.#next();
  }

  /** Resolves when all lines are written, or after `timeout_ms`. */
  async flushed(timeout_ms: number): Promise<void> {
    if (!this.#isWriting) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#flushWaiters.push(resolve);
      timer = setTimeout(resolve, timeout_ms);
    });
    clearTimeout(timer);
  }

  /** Writes at once as much as the system accepts without waiting; writes nothing later. */
  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const rest = this.#queue.splice(0).join("");
    try {
      if (rest !== "" && !this.#isBroken) writeSync(this.#fd, rest);
      if (this.#isOwn && !this.#isWriting) closeSync(this.#fd);
    } catch {
      // The lines cannot be written, and the sink does not try again.
    }
  }

  #next(): void {
    const count = this.#dropped - this.#reportedDrops;
    const lines: string[] = [];
    let length = 0;
    while (length < CHUNK) {
      const line = this.#queue.shift();
      if (line === undefined) break;
      lines.push(line);
      length += line.length;
    }
    this.#queued -= length;
    this.#isWriting = lines.length > 0;
    if (lines.length === 0) {
      for (const resolve of this.#flushWaiters.splice(0)) resolve();
      return;
    }
    const notice = count === 0 ? "" : `[${count} lines were dropped]\n`;
    this.#write(Buffer.from(notice + lines.join("")), (error) => {
      if (error === null) this.#reportedDrops += count;
      else this.#dropped += lines.length;
      this.#next();
    });
  }

  /** Writes all of `bytes`, in several steps if needed. */
  #write(bytes: Buffer, done: (error: Error | null) => void): void {
    this.#target(bytes, (error, taken) => {
      if (error !== null && isGone(error)) this.#break();
      if (error !== null || taken >= bytes.length) done(error);
      else this.#write(bytes.subarray(taken), done);
    });
  }

  /** The reader has left for good. */
  #break(): void {
    this.#isBroken = true;
    this.#isClosed = true;
    this.#dropped += this.#queue.length;
    this.#queue = [];
    this.#queued = 0;
  }
}

/** For files: another thread does the writing. */
function asynchronous(fd: number): WriteTarget {
  return (bytes, done) => {
    write(fd, bytes, 0, bytes.length, null, (error, taken) =>
      done(error, taken),
    );
  };
}

/** For pipes and sockets: the system reports when there is room. */
function streaming(stream: NodeJS.WriteStream): WriteTarget {
  stream.on("error", () => {}); // the failed write gets the error too
  return (bytes, done) => {
    stream.write(bytes, (error) => done(error ?? null, bytes.length));
  };
}

/** For terminals and FIFOs that were opened as non-blocking: while they accept nothing, the write is tried again. */
function nonBlocking(fd: number, retry_ms = RETRY_MS): WriteTarget {
  const attempt: WriteTarget = (bytes, done) => {
    let taken: number;
    try {
      taken = writeSync(fd, bytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") {
        setTimeout(() => attempt(bytes, done), retry_ms).unref();
      } else queueMicrotask(() => done(error as Error, 0));
      return;
    }
    queueMicrotask(() => done(null, taken));
  };
  return attempt;
}

/**
 * Opens the terminal again, to get an own open file description. The non-blocking
 * mode belongs to the description, and other processes that share the inherited
 * one expect it to block.
 */
function reopened(fd: number): number | undefined {
  if (process.platform !== "linux") return undefined;
  const { O_WRONLY, O_NOCTTY } = constants;
  try {
    return openSync(
      `/proc/self/fd/${fd}`,
      O_WRONLY | O_NOCTTY | nonBlockingFlag(),
    );
  } catch {
    return undefined; // the terminal belongs to another user: the stream is used
  }
}

/** 0 on Windows, which does not have the flag. */
function nonBlockingFlag(): number {
  return process.platform === "win32" ? 0 : constants.O_NONBLOCK;
}

function statOf(fd: number): Stats | undefined {
  try {
    return fstatSync(fd);
  } catch {
    return undefined; // it was closed before the program started
  }
}

function isGone(error: Error): boolean {
  const { code = "" } = error as NodeJS.ErrnoException;
  return ["EPIPE", "EBADF", "ERR_STREAM_DESTROYED", "ECONNRESET"].includes(
    code,
  );
}
