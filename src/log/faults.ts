/**
 * Faults that a kernel or a client can cause at will: each is counted, and each
 * kind is logged at most once a minute, with how many there were since the last
 * line. So a peer that misbehaves a million times cannot fill a disk.
 */
import type { Log } from "./log.ts";

/** From one line about a kind of fault to the next. */
const INTERVAL_MS = 60_000;
/** The most kinds that are told apart; the oldest is forgotten first. */
const KINDS_LIMIT = 1_000;

interface Fault {
  /** How many there have been. */
  total: number;
  /** How many of them are not logged yet. */
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
   * Counts a fault of a kind, such as `unsigned message`. `bindings` says where
   * it happened (the session's id, the channel) and tells kinds apart; neither
   * it nor `why` may hold what the peer sent.
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

  /** Counts what was caught at a boundary. Only the name and the location of the error are logged: its message may quote the peer. */
  caught(
    kind: string,
    error: unknown,
    bindings: Readonly<Record<string, string>> = {},
  ): void {
    this.count(kind, locationOf(error), bindings);
  }

  /** How many faults of a kind there have been, wherever they happened. */
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

/** How many lines of a stack are logged. */
const STACK_LINES = 3;

/** The error's name and where it was thrown, without a word of its message. */
function locationOf(error: unknown): string {
  if (!(error instanceof Error)) return `a ${typeof error} was thrown`;
  const { name, message, stack = "" } = error;
  const trace = stack.slice(stack.indexOf(message) + message.length);
  const places = trace
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line.startsWith("at "));
  return [name, ...places.slice(0, STACK_LINES)].join(" ");
}
