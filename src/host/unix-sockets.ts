/**
 * Reserves Unix sockets for a kernel that is told where to bind (`transport: "ipc"`).
 *
 * Every user of a machine can connect to a TCP port on loopback, and a kernel
 * publishes its output to every peer that connects. These sockets are in a
 * directory of mode 0700, which only its owner can enter.
 *
 * Jupyter names the sockets `<ip>-<port>`. Kernels that build every address as
 * `transport://ip:port` (IRkernel and others) bind `<ip>:<port>` instead. A
 * symbolic link gives such a socket the standard name too.
 */
import { rmSync } from "node:fs";
import { readdir, symlink } from "node:fs/promises";
import { createServer } from "node:net";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Reservation } from "./address.ts";
import type { RuntimeFiles } from "./runtime-files.ts";

const PORTS = {
  shell_port: 1,
  iopub_port: 2,
  stdin_port: 3,
  control_port: 4,
  hb_port: 5,
} as const;

/** The interval between two checks for the sockets: a tenth of the time since the start, within these bounds. */
const POLL = { part: 0.1, least_ms: 10, most_ms: 500 } as const;

/** Names for the five sockets of a session's kernels. */
export function reservationIn(directory: string): Required<Reservation> {
  nameCount += 1;
  const ip = join(directory, `kernel-${nameCount}`);
  return {
    address: { ...PORTS, transport: "ipc", ip },
    bound: (signal) => allBound(ip, signal),
    /** Removes the sockets that the kernel could not remove itself. */
    [Symbol.dispose]() {
      for (const port of Object.values(PORTS)) {
        for (const path of [`${ip}-${port}`, `${ip}:${port}`]) {
          rmSync(path, { force: true });
        }
      }
    },
  };
}

async function allBound(ip: string, signal: AbortSignal): Promise<void> {
  const began = performance.now();
  while (!signal.aborted && !(await areBound(ip))) {
    const wait_ms = Math.min(
      Math.max((performance.now() - began) * POLL.part, POLL.least_ms),
      POLL.most_ms,
    );
    await delay(wait_ms, undefined, { signal }).catch(() => {}); // aborted: the loop ends
  }
}

async function areBound(ip: string): Promise<boolean> {
  const prefix = basename(ip);
  const names = new Set(await readdir(dirname(ip)).catch(() => [])); // the directory is being removed
  let isBound = true;
  for (const port of Object.values(PORTS)) {
    if (names.has(`${prefix}-${port}`)) continue;
    const other = `${prefix}:${port}`;
    if (names.has(other))
      await symlink(other, `${ip}-${port}`).catch(() => {}); // the next check sees the result
    else isBound = false;
  }
  return isBound;
}

/** Counts the names, so that no name is given twice. */
let nameCount = 0;

/** Names in this server's private directory; `undefined` if no Unix socket can be made there. */
export async function reserveSockets(
  files: RuntimeFiles,
): Promise<Reservation | undefined> {
  const directory = files.ensureForSockets();
  if (directory === undefined || !(await supportsSockets(directory))) {
    return undefined;
  }
  return reservationIn(directory);
}

/** Whether a Unix socket can be made there: some file systems do not support them, and some sandboxes forbid them. */
function supportsSockets(directory: string): Promise<boolean> {
  const known = supportByDirectory.get(directory);
  if (known !== undefined) return known;
  const answer = new Promise<boolean>((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    const path = join(directory, `probe-${process.pid}`);
    probe.listen(path, () => probe.close(() => resolve(true)));
  });
  supportByDirectory.set(directory, answer);
  return answer;
}

/** The results by directory: one for each server of this process. */
const supportByDirectory = new Map<string, Promise<boolean>>();
