/** Sessions and kernels that outlive the server: its state directory and its keeper. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { KernelSockets } from "./kernel/ipc.ts";
import type { Provisioner } from "./kernel/kernel.ts";
import type { KeepTimes } from "./keeper/hello.ts";
import { type KeeperLink, KeeperUnreachable } from "./keeper/link.ts";
import { localKeeper } from "./keeper/local-keeper.ts";
import { keptProvisioner } from "./keeper/provisioner.ts";
import type { Faults } from "./log/faults.ts";
import type { Log } from "./log/log.ts";
import { isExecutable } from "./package/files.ts";
import { defaultStateRoot } from "./state/root.ts";
import { openState, type State, type StateAhead } from "./state/state.ts";
import { within } from "./time/within.ts";
import type { TransportName } from "./zmq/transport-of.ts";

export interface KeepOptions {
  /** The directory of the states of all servers. Default: `$XDG_STATE_HOME/kallichore`, on Windows `%LOCALAPPDATA%\kallichore\state`. */
  readonly stateDirectory?: string | undefined;
  /** The name of this server's state. Two servers at the same time have two names. Default: `default`. */
  readonly stateName?: string | undefined;
  /** Whether the values of the sessions' environment variables are written down, so that their kernels can be started again after a restart of the server. Default: false. */
  readonly keepEnv?: boolean | undefined;
  /** Which sessions stay whose kernels have ended. */
  readonly ended?: KeepEndedOptions | undefined;
  /** Days without a server after which kernels that run no code are shut down. 0: never. Default: 7. */
  readonly idleDays?: number | undefined;
  /** The same of kernels that run code all this time. Default: never. */
  readonly busyDays?: number | undefined;
  /** The program that holds the kernels, as arguments of Node. Default: the one in this package. */
  readonly keeper?: readonly string[] | undefined;
  /** What was read of the state before another server let go of it. */
  readonly ahead?: StateAhead | undefined;
}

/** Sessions whose kernels have ended stay with their histories up to these limits. Beyond them, the one that was not used for the longest time is deleted first. 0: no limit. */
export interface KeepEndedOptions {
  /** How many. Default: 100. */
  readonly sessions?: number | undefined;
  /** Days since the kernel has ended, or since the last client left. Default: 30. */
  readonly days?: number | undefined;
  /** Bytes of all their files. Default: half of the server's limit on disk. */
  readonly bytes?: number | undefined;
  /** How long nothing is deleted after the start of the server, or after the end of a kernel. Milliseconds. Default: a minute. */
  readonly delay_ms?: number | undefined;
}

/** What the server's own options say of its kernels. */
export interface KernelOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly transport?: TransportName | undefined;
  readonly kernelSockets?: KernelSockets | undefined;
  readonly runtimeDirectory?: string | undefined;
  readonly log: Log;
}

export interface Kept {
  readonly state: State;
  /** The provisioner of kernels that outlive the server. */
  provisioner(faults: Faults): Provisioner;
  /** Lets another server attach to the kernels. Safe to call twice. */
  letGo(): void;
  /** All kernels have ended: the keeper ends too. */
  end(): Promise<void>;
}

/** Throws an error whose message is for people, or a system error. */
export function openKept(
  keep: KeepOptions,
  token: string | null | undefined,
  options: KernelOptions,
): Kept {
  const { stateDirectory, stateName, keepEnv, keeper, ahead } = keep;
  const { env, log, runtimeDirectory, transport, kernelSockets } = options;
  const state = openState({
    root: stateDirectory ?? defaultStateRoot(env),
    name: stateName ?? "default",
    token,
    keepEnv: keepEnv ?? false,
    log,
    ahead,
  });
  const { epoch, keeper_secret: secret } = state.server;
  let opened: Promise<KeeperLink> | undefined;
  let isOver = false;
  const open = async (): Promise<KeeperLink> => {
    if (isOver) throw new KeeperUnreachable("the server has let go of it");
    const link = await opened?.catch(() => undefined);
    if (link !== undefined && link.over === undefined) return link;
    opened = localKeeper({
      stateDirectory: state.directory,
      entry: keeper ?? ownKeeper(),
      log,
      env,
      epoch,
      secret,
      times: timesIn(keep),
      runtime_directory: runtimeDirectory,
      transport,
      kernel_sockets: kernelSockets,
    });
    return opened;
  };
  /** One attempt at a time: side by side, each would start a keeper. */
  let last: Promise<unknown> = Promise.resolve();
  const link = (): Promise<KeeperLink> => {
    const next = last.then(open);
    last = next.catch(() => undefined);
    return next;
  };
  const letGo = (): void => {
    if (isOver) return;
    isOver = true;
    void opened?.then(
      (link) => link.close(),
      () => {}, // there is no keeper
    );
    state[Symbol.dispose]();
  };
  return {
    state,
    provisioner: (faults) => keptProvisioner({ link, env, faults }),
    letGo,
    async end() {
      const ended = opened?.then((link) => link.command({ verb: "end" }));
      // If there is no answer in time, the keeper still ends soon: it has no kernels.
      await within(ended?.catch(() => {}) ?? Promise.resolve(), END_MS);
      letGo();
    },
  };
}

const DAY_MS = 86_400_000;

function timesIn({ idleDays = 7, busyDays = 0 }: KeepOptions): KeepTimes {
  const time = (days: number) => (days === 0 ? null : days * DAY_MS);
  return { idle_timeout_ms: time(idleDays), busy_timeout_ms: time(busyDays) };
}

/** How long the keeper may take to answer that it ends. */
const END_MS = 2_000;

/** The keeper beside this file, in the package or in its source; a single executable is its own. */
function ownKeeper(): readonly string[] {
  if (isExecutable) return ["keeper"];
  for (const path of ["./keeper.js", "./bin/keeper.js"]) {
    const file = fileURLToPath(new URL(path, import.meta.url));
    if (existsSync(file)) return [file];
  }
  throw new Error(
    "The program of the keeper is not there: install the package again, or build it with npm run build",
  );
}
