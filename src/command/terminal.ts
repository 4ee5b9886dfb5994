/**
 * The person, or the pipe, on the other side: what is written there, whether
 * colours are welcome, and that the reader may go away at any time.
 *
 * Writing waits for the reader, so nothing piles up here. Pipes are written
 * without blocking the process: whoever does not read must not keep us from
 * hearing Ctrl-C, nor a kernel in the same process from being heard.
 */
import { once } from "node:events";
import { stripVTControlCharacters } from "node:util";
import pc from "picocolors";
import { untilAborted } from "../time/signals.ts";

export type Colors = ReturnType<typeof pc.createColors>;

/** One of the two streams that we write. */
export class OutputStream {
  readonly isTerminal: boolean;
  readonly colors: Colors;
  readonly #stream: NodeJS.WriteStream;
  readonly #gone: AbortSignal;

  constructor(stream: NodeJS.WriteStream, gone: AbortController) {
    this.#stream = stream;
    this.#gone = gone.signal;
    this.isTerminal = stream.isTTY;
    this.colors = pc.createColors(this.isTerminal && wantsColours(process.env));
    unblock(stream);
    stream.on("error", (error: NodeJS.ErrnoException) => {
      // Others (a full disk, a terminal that hung up) end it the same way: nothing more can be said here.
      gone.abort(error);
    });
  }

  get columns(): number {
    return this.#stream.columns || 80;
  }

  /** Resolves when there is room for more. */
  async write(text: string | Uint8Array): Promise<void> {
    if (this.#gone.aborted || text.length === 0) return;
    if (this.#stream.write(text)) return;
    try {
      await once(this.#stream, "drain", { signal: this.#gone });
    } catch {
      return; // the reader has gone, and `gone` says so
    }
  }

  line(text = ""): Promise<void> {
    return this.write(`${text}\n`);
  }

  /** Escape sequences only where they are understood. */
  styled(text: string): string {
    return this.colors.isColorSupported ? text : stripVTControlCharacters(text);
  }

  /** Resolves when all that was written has left the process, or cannot any more. */
  async flush(): Promise<void> {
    if (this.#gone.aborted || this.#stream.writableLength === 0) return;
    const left = new Promise<void>((resolve) =>
      this.#stream.write("", () => resolve()),
    );
    await Promise.race([left, untilAborted(this.#gone)]);
  }
}

export class Terminal {
  readonly out: OutputStream;
  readonly err: OutputStream;
  readonly #gone = new AbortController();

  constructor() {
    this.out = new OutputStream(process.stdout, this.#gone);
    this.err = new OutputStream(process.stderr, this.#gone);
  }

  /** Aborts when nobody reads any more what we write. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Whether a person can be asked. */
  get canAsk(): boolean {
    return process.stdin.isTTY && this.err.isTerminal;
  }

  /** A document for machines. */
  json(value: unknown): Promise<void> {
    return this.out.line(JSON.stringify(value));
  }

  async flush(): Promise<void> {
    await Promise.all([this.out.flush(), this.err.flush()]);
  }
}

/** https://no-color.org, and what terminals without them are called. */
function wantsColours({ NO_COLOR, TERM }: NodeJS.ProcessEnv): boolean {
  return (NO_COLOR ?? "") === "" && TERM !== "dumb";
}

/** Node makes pipes block on POSIX. Its own handle can undo that; where there is none, it stays. */
function unblock(stream: NodeJS.WriteStream): void {
  if (stream.isTTY) return;
  const { _handle: handle } = stream as unknown as {
    _handle?: { setBlocking?: (blocking: boolean) => void } | null;
  };
  handle?.setBlocking?.(false);
}
