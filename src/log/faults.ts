/**
 * Faults that a kernel or a client can cause at will. Each fault is counted, and
 * each kind is logged at most once a minute, with the number since the last line.
 * So a peer that misbehaves a million times cannot fill a disk.
 */
import type { Log } from "./log.ts";

/** The shortest time between two lines about one kind of fault. */
const INTERVAL_MS = 60_000;
/** The largest number of kinds; the oldest kind is dropped first. */
const KINDS_LIMIT = 1_000;

interface Fault {
  total: number;
  /** Faults since the last line. */
  unlogged: number;
  loggedAt: number;
}

export class Faults {
  readonly #log: Log;
  readonly #kinds = new Map<string, Fault>();

  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * Counts a fault of a kind, such as `unsigned message`. `bindings` name its
   * origin (the session's id, the channel); faults with other bindings are counted
   * separately. Neither `bindings` nor `why` may contain text from the peer.
   */
  count(
    kind: string,
    why: string,
    bindings: Readonly<Record<string, string>> = {},
  ): void {
    const key = JSON.stringify([kind, bindings]);
    const fault = this.#kinds.get(key) ?? this.#begin(key);
    fault.total += 1;
    fault.unlogged += 1;
    const now = performance.now();
    if (now - fault.loggedAt < INTERVAL_MS) return;
    const many =
      fault.unlogged > 1 ? ` (${fault.unlogged} since the last line)` : "";
    this.#log.warn(
      { ...bindings, count: fault.total },
      `${kind}: ${why}${many}`,
    );
    fault.loggedAt = now;
    fault.unlogged = 0;
  }

  /** Counts an error that was caught at a boundary. Only its name and location are logged, because its message may quote the peer. */
  caught(
    kind: string,
    error: unknown,
    bindings: Readonly<Record<string, string>> = {},
  ): void {
    this.count(kind, locationOf(error), bindings);
  }

  /** The number of faults of a kind, with any bindings. */
  total(kind: string): number {
    let sum = 0;
    for (const [key, { total }] of this.#kinds) {
      const [name] = JSON.parse(key) as [string];
      if (name === kind) sum += total;
    }
    return sum;
  }

  #begin(key: string): Fault {
    const [oldest] = this.#kinds.keys();
    if (this.#kinds.size >= KINDS_LIMIT && oldest !== undefined) {
      this.#kinds.delete(oldest);
    }
    const fault = { total: 0, unlogged: 0, loggedAt: -Infinity };
    this.#kinds.set(key, fault);
    return fault;
  }
}

/** Lines of a stack that are logged. */
const STACK_LINES = 3;

/** The error's name and the location of its throw, without its message. */
function locationOf(error: unknown): string {
  if (!(error instanceof Error)) return `a ${typeof error} was thrown`;
  const { name, message, stack = "" } = error;
  const trace = stack.slice(stack.indexOf(message) + message.length);
  const locations = trace
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line.startsWith("at "));
  return [name, ...locations.slice(0, STACK_LINES)].join(" ");
}
