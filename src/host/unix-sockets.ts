/**
 * Unix sockets for a kernel that is told where to bind (`transport: "ipc"`).
 *
 * Every user of a machine can connect to a TCP port on loopback, and a kernel
 * publishes what it says to whoever connects. These sockets lie in a directory
 * of mode 0700, which only its owner can enter.
 *
 * Jupyter names the sockets `<ip>-<port>`. Kernels that build every address as
 * `transport://ip:port` (IRkernel and others) bind `<ip>:<port>` instead: such a
 * socket gets the standard name as well, by a symbolic link.
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

/** From one look for the sockets to the next: a tenth of the time that has passed. */
const LOOK = { part: 0.1, least_ms: 10, most_ms: 500 } as const;

/** Names for the five sockets of a session's kernels. */
export function namesIn(directory: string): Required<Reservation> {
  made += 1;
  const ip = join(directory, `kernel-${made}`);
  return {
    address: { ...PORTS, transport: "ipc", ip },
    bound: (signal) => allBound(ip, signal),
    /** Removes what a kernel left that could not do so itself. */
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
      Math.max((performance.now() - began) * LOOK.part, LOOK.least_ms),
      LOOK.most_ms,
    );
    await delay(wait_ms, undefined, { signal }).catch(() => {}); // aborted: the loop ends
  }
}

async function areBound(ip: string): Promise<boolean> {
  const prefix = basename(ip);
  const names = new Set(await readdir(dirname(ip)).catch(() => [])); // it is being removed
  let isBound = true;
  for (const port of Object.values(PORTS)) {
    if (names.has(`${prefix}-${port}`)) continue;
    const other = `${prefix}:${port}`;
    if (names.has(other))
      await symlink(other, `${ip}-${port}`).catch(() => {}); // the next look sees what is there
    else isBound = false;
  }
  return isBound;
}

/** So that no name is given twice. */
let made = 0;

/** Names in this server's private directory; `undefined` where no Unix socket can be there. */
export async function reserveSockets(
  files: RuntimeFiles,
): Promise<Reservation | undefined> {
  const directory = files.ensureForSockets();
  if (directory === undefined || !(await takesSockets(directory))) {
    return undefined;
  }
  return namesIn(directory);
}

/** Not every file system has Unix sockets, nor does every sandbox allow them. */
function takesSockets(directory: string): Promise<boolean> {
  const known = asked.get(directory);
  if (known !== undefined) return known;
  const answer = new Promise<boolean>((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    const path = join(directory, `probe-${process.pid}`);
    probe.listen(path, () => probe.close(() => resolve(true)));
  });
  asked.set(directory, answer);
  return answer;
}

/** By directory: one for each server of this process. */
const asked = new Map<string, Promise<boolean>>();
