/**
 * The keeper of a server on this machine: attaches to the one that its state
 * directory names, or starts one.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { removeLeftovers } from "../host/dead-servers.ts";
import { hasEnded } from "../host/owner.ts";
import { makePrivateDirectory } from "../host/private-file.ts";
import { RuntimeFiles } from "../host/runtime-files.ts";
import type { Log } from "../log/log.ts";
import {
  type KeeperFile,
  keeperFileIn,
  mayRun,
  readKeeperFile,
  whyEnded,
} from "./keeper-file.ts";
import { KeeperLink, KeeperUnreachable } from "./link.ts";
import { connectReusing } from "./reused-reads.ts";
import type { KeeperProgramOptions, KeeperSettings } from "./main.ts";

export interface LocalKeeperOptions extends KeeperSettings {
  /** The server's own, which no other server uses; it is made if it does not exist. */
  readonly stateDirectory: string;
  /** The program of a keeper: a path, and arguments if it has others. */
  readonly entry: string | readonly string[];
  readonly log: Log;
  /** The environment of the keeper's own process. Kernels inherit what `keptProvisioner` gives. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Higher than that of all earlier servers with this state. */
  readonly epoch: number;
  /** The same as that of the earlier servers with this state. */
  readonly secret: string;
}

/** How long a keeper may take to listen. */
const START_MS = 15_000;
const POLL_MS = 20;

/** Resolves when the link is attached. Rejects with an error that says why not. */
export async function localKeeper(
  options: LocalKeeperOptions,
): Promise<KeeperLink> {
  const path = keeperFileIn(options.stateDirectory);
  const found = readKeeperFile(path);
  if (found !== undefined && mayRun(found)) {
    try {
      return await attached(found, options);
    } catch (error) {
      if (!hasEnded(found)) throw error; // it was about to end
    }
  }
  const before = found && whyEnded(readKeeperFile(path) ?? found);
  return attached(await started(options, path), options, before);
}

function attached(
  file: KeeperFile,
  options: LocalKeeperOptions,
  before?: string,
): Promise<KeeperLink> {
  const { log, secret, epoch, times } = options;
  return KeeperLink.open({
    connect: () => connectReusing(file.socket),
    secret,
    epoch,
    log,
    times,
    before,
    whyGone() {
      if (!hasEnded(file)) return undefined;
      const last = readKeeperFile(keeperFileIn(options.stateDirectory));
      return whyEnded(last?.pid === file.pid ? last : file);
    },
    whyLate: `its keeper (process ${file.pid}) does not answer; to end the keeper with all its kernels, end that process`,
    onGone(why) {
      log.error({ pid: file.pid }, `The keeper is gone: ${why}`);
      const { parents } = new RuntimeFiles(options.runtime_directory);
      void removeLeftovers(parents, log, new AbortController().signal); // ends its kernels; never rejects
    },
  });
}

async function started(
  { stateDirectory, entry, log, env, ...rest }: LocalKeeperOptions,
  path: string,
): Promise<KeeperFile> {
  makePrivateDirectory(stateDirectory);
  const args = typeof entry === "string" ? [entry] : entry;
  const child = spawn(process.execPath, args, {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
    windowsHide: true,
    env: Object.fromEntries(
      Object.entries(env).filter(([name]) => !CREDENTIALS.test(name)),
    ),
  });
  let end: string | undefined;
  child.once("error", ({ message }) => (end = message));
  child.once("exit", (code, signal) => (end = `exit code ${code ?? signal}`));
  child.stdin.on("error", () => {}); // it has ended, which is reported below
  const line: KeeperProgramOptions = {
    ...rest,
    state_directory: stateDirectory,
  };
  child.stdin.end(`${JSON.stringify(line)}\n`);
  child.unref();
  const latest = performance.now() + START_MS;
  while (end === undefined && performance.now() < latest) {
    const file = readKeeperFile(path);
    if (file !== undefined && file.pid === child.pid) {
      log.info({ pid: file.pid }, "A keeper was started");
      return file;
    }
    await delay(POLL_MS);
  }
  child.kill("SIGKILL");
  const logged = `see ${join(stateDirectory, "keeper.log")}`;
  const why = end ?? `it did not listen within ${START_MS / 1000} s`;
  throw new KeeperUnreachable(
    `its keeper could not be started: ${why}; ${logged}`,
  );
}

/** The keeper needs none of the server's own. */
const CREDENTIALS = /^KALLICHORE_/i;
