/**
 * `keeper.json` in a server's state directory: where the keeper listens, and
 * which process it is. It holds no secret.
 */
import { join } from "node:path";
import { currentOwner, hasEnded, type Owner } from "../host/owner.ts";
import { readPrivate } from "../host/private-file.ts";

export interface KeeperFile extends Owner {
  readonly format: 1;
  /** The path of its Unix socket, or the name of its pipe. */
  readonly socket: string;
  readonly protocol: number;
  readonly version: string;
  /** Of the server that has started it. */
  readonly epoch: number;
  /** Why it has ended, if it has. */
  readonly ended?: string;
  /** The state was moved here from this machine, where the keeper may still run. */
  readonly moved_from?: string;
}

/** The file of a state whose kernels have stayed on the machine that it comes from. */
export function movedFile(moved_from: string): KeeperFile {
  const facts = { socket: "", protocol: 0, version: "", epoch: 0 };
  return { format: 1, ...currentOwner(), pid: 0, ...facts, moved_from };
}

/** Whether the keeper may run. */
export function mayRun(file: KeeperFile): boolean {
  return file.moved_from === undefined && !hasEnded(file);
}

/** Why a keeper has ended, and its kernels with it. */
export function whyEnded({ boot_id, ended, moved_from }: KeeperFile): string {
  if (moved_from !== undefined)
    return `its session was moved here from ${moved_from}, and the kernel was not`;
  if (ended !== undefined) return `its keeper has ended: ${ended}`;
  return boot_id === currentOwner().boot_id
    ? "its keeper is gone"
    : "its keeper has ended with the machine, which was started anew";
}

export function keeperFileIn(stateDirectory: string): string {
  return join(stateDirectory, "keeper.json");
}

/** `undefined` if there is none, or if it is not one. */
export function readKeeperFile(path: string): KeeperFile | undefined {
  try {
    const found = readPrivate(path) as Partial<KeeperFile>;
    const isOne =
      found.format === 1 &&
      Number.isSafeInteger(found.pid) &&
      typeof found.host === "string" &&
      typeof found.socket === "string";
    return isOne ? (found as KeeperFile) : undefined;
  } catch {
    return undefined;
  }
}
