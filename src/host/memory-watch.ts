/**
 * Watches how much memory a process and its descendants use, and acts if it is
 * more than they may.
 *
 * The system's own limit for one process (`RLIMIT_AS`) limits addresses, of which
 * programs reserve far more than they use, and not the sum of all processes.
 */
import { readFile } from "node:fs/promises";
import type { ProcessIdentity } from "./process-table.ts";
import { usageSampler } from "./usage.ts";

const PERIOD_MS = 500;
/** A process that is over the limit is looked at again after this time, before it is ended. */
const AGAIN_MS = 100;
/** One look may use this share of the time: looks at very large processes are rarer. */
const SHARE = 0.1;

/** Calls `act` once, with the reason, when two looks have found more than `limit` bytes. Dispose of it when the process has ended. */
export function memoryWatch(
  root: ProcessIdentity,
  limit: number,
  act: (why: string) => Promise<void>,
): Disposable {
  const sampler = usageSampler();
  let timer: NodeJS.Timeout | undefined;
  let isOver = false;
  let isDisposed = false;

  const look = async (): Promise<void> => {
    const began = performance.now();
    const used = await memoryOf();
    if (isDisposed) return;
    if (used <= limit) {
      isOver = false;
      const cost_ms = performance.now() - began;
      arm(Math.max(PERIOD_MS, cost_ms / SHARE));
      return;
    }
    if (!isOver) {
      isOver = true;
      arm(AGAIN_MS);
      return;
    }
    await act(
      `out of memory: it used ${inWords(used)}, and its limit is ${inWords(limit)}`,
    );
  };
  const arm = (delay_ms: number): void => {
    timer = setTimeout(() => {
      look().catch(() => arm(PERIOD_MS)); // the system did not answer this time
    }, delay_ms);
    timer.unref();
  };
  /** The exact sum is read only if the first, cheap one is over the limit. */
  const memoryOf = async (): Promise<number> => {
    const usage = (await sampler.sample([root])).get(root.pid);
    const most = usage?.memory_bytes ?? 0;
    if (most <= limit) return most;
    return (await ownMemoryOf(sampler.processesOf(root.pid))) ?? most;
  };
  arm(PERIOD_MS);
  return {
    [Symbol.dispose]() {
      isDisposed = true;
      clearTimeout(timer);
      sampler.forget();
    },
  };
}

/**
 * Bytes that belong to these processes alone: memory that a process shares with
 * its forks counts once, and pages of files, which the system can drop, do not
 * count. `undefined` if the system does not tell.
 */
async function ownMemoryOf(
  pids: readonly number[],
): Promise<number | undefined> {
  let sum = 0;
  for (const pid of pids) {
    let text: string;
    try {
      text = await readFile(`/proc/${pid}/smaps_rollup`, "latin1");
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ESRCH") continue; // it has ended
      return undefined;
    }
    const anonymous = kilobytesIn(text, "Pss_Anon");
    const shared = kilobytesIn(text, "Pss_Shmem");
    if (anonymous === undefined || shared === undefined) return undefined;
    sum += (anonymous + shared) * 1024;
  }
  return sum;
}

function kilobytesIn(text: string, name: string): number | undefined {
  const [, number] = new RegExp(`^${name}: +(\\d+) kB$`, "m").exec(text) ?? [];
  return number === undefined ? undefined : Number(number);
}

const MIB = 1024 ** 2;

/** Such as `512 MiB` or `1.5 GiB`. */
export function inWords(bytes: number): string {
  const [unit, size] = bytes >= 1024 * MIB ? ["GiB", 1024 * MIB] : ["MiB", MIB];
  return `${Math.round((bytes / size) * 10) / 10} ${unit}`;
}
