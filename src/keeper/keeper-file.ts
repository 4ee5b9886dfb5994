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
