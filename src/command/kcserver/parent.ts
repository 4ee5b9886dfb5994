/**
 * The parent process of `kcserver --state-dir`. Clients watch its process id, so it
 * does as little as can be: it holds the listening socket, runs the server in a
 * child process, and starts another one when the server is killed or crashes. A
 * client that connects meanwhile waits in the socket's queue.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import {
  keeperFileIn,
  mayRun,
  readKeeperFile,
} from "../../keeper/keeper-file.ts";
import { isExecutable } from "../../package/files.ts";
import type { Address } from "../../server/bind.ts";
import { leaveInput } from "../terminal-streams.ts";
import { type Orders, parentMark, type Report } from "./parent-link.ts";

/** A server that has run for this long was in order: its end is not counted with those before it. */
const STABLE_MS = 10_000;
/** Quick ends in a row after which there is a pause before the next server, and after which the parent gives up. */
const AT_ONCE = 4;
const MOST_FAILURES = 15;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
/** How long a keeper without kernels may take to end. */
const KEEPER_END_MS = 2_000;

export interface ParentOptions {
  readonly stateDir: string;
  /** Default: a new name. */
  readonly stateName?: string | undefined;
  /** The arguments of the command, which the server reads too. */
  readonly argv: readonly string[];
  /** What the launcher has told, for the server. */
  readonly launched: Readonly<Record<string, string>>;
}

/** Resolves with the exit code when the server has ended because it was asked to, or cannot be started. */
export async function runParent(options: ParentOptions): Promise<number> {
  const { stateDir, stateName } = options;
  const name = stateName ?? `kcserver-${randomBytes(4).toString("hex")}`;
  leaveInput();
  using signals = new Signals();
  let held: Held | undefined;
  let orders: Orders = { state_name: name };
  for (let failures = 0; ;) {
    const begun = performance.now();
    const over = runningServer(options, orders, held?.handle, signals);
    const { ended, exitCode, code, socket = held } = await over;
    held = socket;
    // A first server that never listened has said why; the next would say the same.
    if (code !== undefined || held === undefined) {
      if (stateName === undefined) {
        await removeIfEmpty(join(resolve(stateDir), name));
      }
      return code ?? exitCode ?? 1;
    }
    failures = performance.now() - begun > STABLE_MS ? 0 : failures + 1;
    if (failures > MOST_FAILURES) {
      process.stderr.write(
        `Error: The server ended ${failures} times in a row (${ended}), and is not started again. Its kernels go on: kallichore serve --keep --state-dir '${resolve(stateDir)}' --state-name '${name}'\n`,
      );
      return 1;
    }
    if (isUnreachable(held))
      held = { address: held.address, handle: undefined };
    orders = { state_name: name, restart: { address: held.address, ended } };
    await delay(pauseAfter(failures));
  }
}

/** Milliseconds. */
function pauseAfter(failures: number): number {
  return failures < AT_ONCE
    ? 0
    : Math.min(FIRST_PAUSE_MS * 2 ** (failures - AT_ONCE), LONGEST_PAUSE_MS);
}

/** A listening socket that outlives the servers. */
interface Held {
  readonly address: Address;
  /** `undefined` if the system cannot share it: the next server listens at the address again. */
  readonly handle: unknown;
}

/** Whether the path of a Unix socket is gone. A server that closes the socket removes the path; so may a program that cleans up old files. */
function isUnreachable({ address }: Held): boolean {
  return address.transport === "socket" && !existsSync(address.path);
}

interface Over {
  /** How the process ended. */
  readonly ended: string;
  readonly exitCode: number | null;
  /** Set if it ended because it was asked to. */
  readonly code: number | undefined;
  /** Set if it has listened. */
  readonly socket: Held | undefined;
}

/** Runs a server. Resolves when it has ended. */
function runningServer(
  { argv, launched }: ParentOptions,
  orders: Orders,
  handle: unknown,
  signals: Signals,
): Promise<Over> {
  const program = isExecutable ? [] : [process.argv[1] ?? ""];
  const args = [...process.execArgv, ...program, ...argv];
  const child = spawn(process.execPath, args, {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    env: {
      ...process.env,
      ...launched,
      ...parentMark(process.pid),
    },
  });
  const over = new Promise<Over>((resolve) => {
    let socket: Held | undefined;
    let code: number | undefined;
    child.on("message", (report: Report, received: unknown) => {
      if (report.kind === "ended") {
        code = report.code;
        return;
      }
      socket = { address: report.address, handle: handle ?? received };
      signals.listens(child);
    });
    child.once("error", ({ message }) =>
      resolve({ ended: message, exitCode: null, code, socket }),
    );
    // What the child sent last may be read after its exit, but not after the end of the channel.
    const read = new Promise((done) => child.once("disconnect", done));
    child.once("exit", (exitCode, signal) => {
      const ended = signal ?? `exit code ${exitCode}`;
      void read.then(() => resolve({ ended, exitCode, code, socket }));
    });
  });
  const send = child.send.bind(child) as (
    message: Orders,
    handle?: unknown,
    sent?: (error: Error | null) => void,
  ) => boolean;
  send(orders, handle, () => {}); // if it has ended, `over` says so
  signals.starts(child);
  return over;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"] as const;

/**
 * Passes signals on to the server, which decides what they mean. A terminal sends
 * them to both processes, and the server counts them as one. A signal that arrives
 * while a server starts is passed on when it listens; a second one ends that server
 * by the system's rule.
 */
class Signals implements Disposable {
  #child: ChildProcess | undefined;
  #isListening = false;
  #waiting: NodeJS.Signals | undefined;
  readonly #receive = (signal: NodeJS.Signals): void => {
    if (this.#isListening || this.#waiting !== undefined) {
      this.#child?.kill(signal);
    }
    this.#waiting = signal;
  };

  constructor() {
    for (const signal of SIGNALS) process.on(signal, this.#receive);
  }

  /** The server before has ended. */
  starts(child: ChildProcess): void {
    this.#child = child;
    child.once("exit", () => (this.#isListening = false));
  }

  /** The server can be asked to end. */
  listens(child: ChildProcess): void {
    this.#isListening = true;
    if (this.#waiting !== undefined) child.kill(this.#waiting);
  }

  [Symbol.dispose](): void {
    for (const signal of SIGNALS) process.off(signal, this.#receive);
  }
}

/** Removes a state in which no session is left, when its keeper, which writes there until its end, is gone. */
async function removeIfEmpty(directory: string): Promise<void> {
  try {
    if (readdirSync(join(directory, "sessions")).length > 0) return;
    const keeper = readKeeperFile(keeperFileIn(directory));
    const began = performance.now();
    while (keeper !== undefined && mayRun(keeper)) {
      if (performance.now() - began > KEEPER_END_MS) return;
      await delay(20);
    }
    rmSync(directory, { recursive: true, force: true });
  } catch {
    // There is none, or it cannot be removed: it is small, and nobody reads it.
  }
}
