/**
 * A kernel's process. It is spawned into its own session, with stdin from
 * `/dev/null`. Its output is read line by line, and its exit is reported once.
 *
 * The exit is reported only after all output was read, so that the last output
 * of a process that failed is never missing. A grandchild that keeps the pipes
 * open can delay this by at most 500 ms.
 */
import {
  spawn,
  type ChildProcess,
  type SpawnOptions,
} from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import { StringDecoder } from "node:string_decoder";
import type { Readable } from "node:stream";
import { readlinkSync, statSync } from "node:fs";
import {
  type ControlGroup,
  controlGroup,
  groupWithCores,
  settingsOf,
} from "./control-group.ts";
import type { Variables } from "./environment.ts";
import type { Exit } from "./exit.ts";
import type { HostProcess, OutputListener, ProcessLimits } from "./host.ts";
import { ProcessGroup } from "./process-group.ts";
import { descendantsOf, startTimeOf, statOf } from "./process-table.ts";
import { connectToPort } from "./listeners.ts";
import { inWords, memoryWatch } from "./memory-watch.ts";
import { oomKillsOf } from "./oom-kills.ts";
import { raiseOomScore } from "./oom-score.ts";
import { findProgram } from "./program.ts";
import { whyNotRunnable } from "./runnable.ts";
import { isJobControlWarning } from "./shell.ts";
import { within } from "../time/within.ts";
import type { KernelJob } from "./windows/job.ts";

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Windows only: the job that contains the process and ends with it. It is disposed of when the process has ended. */
  readonly job?: KernelJob | undefined;
  readonly limits?: ProcessLimits | undefined;
}

/** How long the pipes may stay open after the process has ended. */
const DRAIN_TIMEOUT_MS = 500;
/** A longer line is reported in pieces. */
const LINE_LIMIT = 64 * 1024; // characters
/** The beginning and the end of the output are kept, each up to this limit. */
const OUTPUT_LIMIT = 256 * 1024; // characters, each
const TAIL_LIMIT = 8 * 1024; // characters

/** Rejects with the system's error when the program cannot be run. */
export async function spawnProcess(
  command: Command,
  onOutput: OutputListener,
): Promise<HostProcess> {
  const { job, limits } = command;
  let group: ControlGroup | undefined;
  try {
    group = groupFor(limits);
    const start = await starterOf(command);
    const child = job === undefined ? start({}) : job.contain(start);
    if (child.pid !== undefined) {
      raiseOomScore(child.pid);
      addToGroup(child.pid, group);
    }
    await once(child, "spawn");
    return observe(child, command, { group, onOutput });
  } catch (error) {
    group?.[Symbol.dispose]();
    job?.[Symbol.dispose]();
    throw error;
  }
}

/** A group of the system limits exactly. Without one, memory is watched, and cores cannot be limited. */
function groupFor(limits: ProcessLimits = {}): ControlGroup | undefined {
  const { cpus, memory_bytes } = limits;
  if (cpus === undefined && memory_bytes === undefined) return undefined;
  try {
    return controlGroup(settingsOf(limits));
  } catch (cause) {
    if (cpus === undefined) return undefined;
    const why = `its CPU cannot be limited: ${(cause as Error).message}`;
    throw new Error(why, { cause });
  }
}

function addToGroup(pid: number, group: ControlGroup | undefined): void {
  if (group === undefined) return;
  try {
    group.add(pid);
    // They were started before.
    for (const child of descendantsOf([pid])) group.add(child);
  } catch (error) {
    process.kill(pid, "SIGKILL");
    throw error;
  }
}

function observe(
  child: ChildProcess,
  { env, job, limits }: Command,
  {
    group: atStart,
    onOutput,
  }: {
    readonly group: ControlGroup | undefined;
    readonly onOutput: OutputListener;
  },
): HostProcess {
  const { pid } = child;
  if (pid === undefined) throw new Error("spawned without a pid");
  const group = new ProcessGroup(pid, startTimeOf(pid), job);
  const all = excerpt(OUTPUT_LIMIT);
  const errors = excerpt(TAIL_LIMIT);
  const oomKills = oomKillsOf(pid);
  let isRunning = true;
  /** Why it was killed. */
  let tooLarge: string | undefined;
  let controlled = atStart;
  let most: number | null = null;
  let watch: Disposable | undefined;
  const limitMemory = (bytes: number | null): void => {
    watch?.[Symbol.dispose]();
    most = bytes;
    watch =
      bytes === null || !isRunning
        ? undefined
        : memoryWatch(group.identity, bytes, async (why) => {
            tooLarge = why;
            await group.kill();
          });
  };
  limitMemory(limits?.memory_bytes ?? null);

  const changeLimits = ({
    cpus,
    memory_bytes,
  }: Parameters<HostProcess["resize"]>[0]): void => {
    if (cpus !== undefined) {
      try {
        controlled = groupWithCores(cpus, pid, controlled);
      } catch (cause) {
        const why = (cause as Error).message;
        throw new Error(`\`cpus\` stays as it is, because ${why}`, { cause });
      }
      oomKills.note(); // it may be in another group now
    }
    if (memory_bytes === undefined) return;
    try {
      controlled?.set(settingsOf({ memory_bytes }));
    } catch {
      // The watch limits it. It also counts what was taken before the process had a group.
    }
    limitMemory(memory_bytes);
  };

  const ended = async (): Promise<Exit> => {
    const closed = once(child, "close");
    closed.catch(() => {}); // an "error" event after the spawn: the exit is reported anyway
    const [code, signal] = await new Promise<
      [number | null, NodeJS.Signals | null]
    >((resolve) => child.once("exit", (...how) => resolve(how)));
    isRunning = false;
    watch?.[Symbol.dispose]();
    const isOom =
      !group.wasKilled && isKill(code, signal) && oomKills.haveRisen;
    await group.kill(); // the processes that the kernel left behind, such as workers and servers
    job?.[Symbol.dispose]();
    controlled?.[Symbol.dispose]();
    await within(closed, DRAIN_TIMEOUT_MS);
    child.stdout?.destroy();
    child.stderr?.destroy();
    // Windows' exit codes have 32 bits, and those of crashes have the highest bit set. They are shown as negative numbers, as is usual there.
    const exit_code = code === null ? -1 : code | 0;
    const output = errors.text;
    const exit = { exit_code, signal, output };
    if (isOom && most !== null && controlled !== undefined) {
      tooLarge = `out of memory: its limit is ${inWords(most)}`;
    }
    if (tooLarge !== undefined) {
      return { ...exit, why: tooLarge, oom: true, limit: "memory" };
    }
    return { ...exit, ...(isOom && { oom: true }) };
  };
  const exited = ended();

  for (const stream of ["stdout", "stderr"] as const) {
    const pipe = child[stream];
    if (pipe === null) continue;
    readLines(pipe, (text) => {
      if (stream === "stderr" && isJobControlWarning(text)) return;
      all.add(text);
      if (stream === "stderr") errors.add(text);
      onOutput(stream, text);
    });
  }

  return {
    pid,
    group,
    env: { ...env, ...job?.variables },
    exited,
    get isRunning() {
      return isRunning;
    },
    get output() {
      return all.text;
    },
    get directory() {
      return directoryOf(pid);
    },
    connect: (port) => connectToPort(port, () => group.members),
    resize: (change) =>
      new Promise((resolve) => {
        changeLimits(change);
        resolve();
      }),
    get isScheduled() {
      return /[RSD]/.test(statOf(pid)?.state ?? ""); // known on Linux only
    },
    noteMemory: () => oomKills.note(),
  };
}

/** A shell around the kernel reports the signal as an exit code. */
function isKill(code: number | null, signal: NodeJS.Signals | null): boolean {
  return signal === "SIGKILL" || code === 128 + constants.signals.SIGKILL;
}

/** The process's current directory, while it exists; known on Linux only. */
function directoryOf(pid: number): string | undefined {
  try {
    const link = `/proc/${pid}/cwd`;
    const path = readlinkSync(link);
    // Linux appends this to the path of a removed directory; a directory may also really have this name.
    if (!path.endsWith(" (deleted)")) return path;
    const [here, there] = [statSync(link), statSync(path)];
    const isIt = here.ino === there.ino && here.dev === there.dev;
    return isIt ? path : undefined;
  } catch {
    return undefined; // the process has ended, or this system does not report it
  }
}

/**
 * A function that starts the command. On Windows a script (`.cmd`, `.bat`) is
 * run by its interpreter, with arguments quoted for that interpreter: the
 * system itself runs programs only.
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
    detached: process.platform !== "win32", // its own session and process group
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

/** Reads lines with their line ends. Bytes that are not UTF-8 are replaced; they do not stop the reading. */
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

/** Keeps the beginning and the end of a text, `limit` characters each, and marks where it left text out. */
function excerpt(limit: number) {
  let head = "";
  const tail: string[] = [];
  let tailLength = 0;
  let omitted = 0;
  return {
    add(text: string): void {
      if (tail.length === 0 && head.length + text.length <= limit) {
        head += text;
        return;
      }
      tail.push(text);
      tailLength += text.length;
      while (tailLength > limit && tail.length > 1) {
        const length = tail.shift()?.length ?? 0;
        tailLength -= length;
        omitted += length;
      }
    },
    get text(): string {
      const gap = omitted === 0 ? "" : `[… ${omitted} characters left out …]\n`;
      return head + gap + tail.join("");
    },
  };
}
