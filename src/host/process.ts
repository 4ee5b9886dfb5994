/**
 * A kernel's process: spawned into a session of its own, with stdin from null,
 * its output read line by line, its exit observed once.
 *
 * The exit is told only after the output was read to its end, so that the last
 * words of a process that failed are never missing. A grandchild that keeps the
 * pipes open can hold this up, but not for long.
 */
import {
  spawn,
  type ChildProcess,
  type SpawnOptions,
} from "node:child_process";
import { once } from "node:events";
import { StringDecoder } from "node:string_decoder";
import type { Readable } from "node:stream";
import { readlinkSync, statSync } from "node:fs";
import type { Variables } from "./environment.ts";
import type { Exit } from "./exit.ts";
import type { HostProcess, OutputListener } from "./host.ts";
import { ProcessGroup } from "./process-group.ts";
import { startTimeOf, statOf } from "./process-table.ts";
import { findProgram } from "./program.ts";
import { whyNotRunnable } from "./runnable.ts";
import { isJobControlComplaint } from "./shell.ts";
import { within } from "../time/within.ts";
import type { KernelJob } from "./windows/job.ts";

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Windows: what the process is to live in, and to end with; it is let go when the process has ended. */
  readonly job?: KernelJob | undefined;
}

/** How long the pipes may stay open after the process is gone. */
const LAST_WORDS_MS = 500;
/** A line without end is handed on in pieces. */
const LINE_LIMIT = 64 * 1024; // characters
/** What is kept of what it printed: the beginning and the end. */
const CAPTURE_LIMIT = 256 * 1024; // characters, each
const TAIL_LIMIT = 8 * 1024; // characters

export class KernelProcess implements HostProcess {
  readonly group: ProcessGroup;
  readonly env: Variables;
  /** Resolves once, with how it ended, after its last line. Never rejects. */
  readonly exited: Promise<Exit>;
  readonly #captured = new Capture(CAPTURE_LIMIT);
  readonly #stderr = new Capture(TAIL_LIMIT);
  #isRunning = true;

  /** Rejects with the system's error when the program cannot be run. */
  static async spawn(
    command: Command,
    onOutput: OutputListener,
  ): Promise<KernelProcess> {
    const { job } = command;
    try {
      const start = await starterOf(command);
      const child = job === undefined ? start({}) : job.contain(start);
      await once(child, "spawn");
      return new KernelProcess(child, command, onOutput);
    } catch (error) {
      job?.[Symbol.dispose]();
      throw error;
    }
  }

  private constructor(
    child: ChildProcess,
    { env, job }: Command,
    onOutput: OutputListener,
  ) {
    if (child.pid === undefined) throw new Error("spawned without a pid");
    this.env = { ...env, ...job?.variables };
    this.group = new ProcessGroup(child.pid, startTimeOf(child.pid), job);
    this.exited = this.#ended(child, job);
    for (const stream of ["stdout", "stderr"] as const) {
      const pipe = child[stream];
      if (pipe === null) continue;
      readLines(pipe, (text) => {
        if (stream === "stderr" && isJobControlComplaint(text)) return;
        this.#captured.add(text);
        if (stream === "stderr") this.#stderr.add(text);
        onOutput(stream, text);
      });
    }
  }

  get pid(): number {
    return this.group.pid;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** What it has printed so far, both streams in the order of arrival. */
  get output(): string {
    return this.#captured.text;
  }

  /** Where the process is now, while that directory exists; known on Linux only. */
  get directory(): string | undefined {
    try {
      const link = `/proc/${this.pid}/cwd`;
      const path = readlinkSync(link);
      // Linux says so of a directory that is gone; another may really be called so.
      if (!path.endsWith(" (deleted)")) return path;
      const [here, there] = [statSync(link), statSync(path)];
      const isIt = here.ino === there.ino && here.dev === there.dev;
      return isIt ? path : undefined;
    } catch {
      return undefined; // it is gone, or this system does not tell
    }
  }

  /** Whether the process could run, rather than being stopped; known on Linux only. */
  get isScheduled(): boolean {
    return /[RSD]/.test(statOf(this.pid)?.state ?? "");
  }

  async #ended(child: ChildProcess, job: KernelJob | undefined): Promise<Exit> {
    const closed = once(child, "close");
    closed.catch(() => {}); // an "error" after the spawn: the exit says the rest
    const [code, signal] = await new Promise<
      [number | null, NodeJS.Signals | null]
    >((resolve) => child.once("exit", (...how) => resolve(how)));
    this.#isRunning = false;
    await this.group.kill(); // what the kernel left behind: workers, servers
    job?.[Symbol.dispose]();
    await within(closed, LAST_WORDS_MS);
    child.stdout?.destroy();
    child.stderr?.destroy();
    // Windows' codes have 32 bits, and its faults the highest of them: they are told as negative, as everywhere there.
    const exit_code = code === null ? -1 : code | 0;
    return { exit_code, signal, output: this.#stderr.text };
  }
}

/**
 * How the command becomes a process. On Windows a script (`.cmd`, `.bat`) is
 * run by its interpreter, with words quoted as that one reads them: the system
 * itself runs programs only.
 */
async function starterOf({
  program,
  args,
  env,
  cwd,
}: Command): Promise<(variables: Variables) => ChildProcess> {
  const options = (variables: Variables): SpawnOptions => ({
    cwd,
    env: { ...env, ...variables },
    stdio: ["ignore", "pipe", "pipe"],
    detached: process.platform !== "win32", // a session, hence a process group, of its own
    windowsHide: true,
  });
  const file = await findProgram(program, { env, cwd });
  if (file !== undefined && process.platform !== "win32") {
    const fault = await whyNotRunnable(file);
    if (fault !== undefined) throw fault;
  } else if (file !== undefined && /\.(cmd|bat)$/i.test(file)) {
    const { default: crossSpawn } = await import("cross-spawn");
    return (variables) => crossSpawn(file, args, options(variables));
  }
  return (variables) => spawn(program, args, options(variables));
}

/** Lines with their ends; what is no UTF-8 is replaced, never a reason to stop reading. */
function readLines(pipe: Readable, onLine: (text: string) => void): void {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  const read = (text: string, isEnd: boolean) => {
    let from = 0;
    const whole = rest + text;
    for (
      let end = whole.indexOf("\n");
      end !== -1;
      end = whole.indexOf("\n", from)
    ) {
      onLine(whole.slice(from, end + 1));
      from = end + 1;
    }
    rest = whole.slice(from);
    if (rest.length > LINE_LIMIT || (isEnd && rest !== "")) {
      onLine(rest);
      rest = "";
    }
  };
  pipe.on("data", (chunk: Buffer) => read(decoder.write(chunk), false));
  pipe.on("close", () => read(decoder.end(), true));
  pipe.on("error", () => {}); // the pipe broke with its process; "close" follows
}

/** Remembers the beginning and the end of a text, `limit` characters each, and says where it left something out. */
class Capture {
  readonly #limit: number;
  #head = "";
  #tail: string[] = [];
  #tailLength = 0;
  #left = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(text: string): void {
    if (
      this.#tail.length === 0 &&
      this.#head.length + text.length <= this.#limit
    ) {
      this.#head += text;
      return;
    }
    this.#tail.push(text);
    this.#tailLength += text.length;
    while (this.#tailLength > this.#limit && this.#tail.length > 1) {
      const gone = this.#tail.shift()?.length ?? 0;
      this.#tailLength -= gone;
      this.#left += gone;
    }
  }

  get text(): string {
    const left = this.#left === 0 ? "" : `[… ${this.#left} characters …]\n`;
    return this.#head + left + this.#tail.join("");
  }
}
