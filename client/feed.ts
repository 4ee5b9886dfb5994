/**
 * The one subscription that a session's requests share: what the session says,
 * handed to whoever asked for it.
 *
 * It begins at the journal's end of the moment before the first request is
 * sent, so the answer to every request is in what it hears.
 */
import type { SessionStatus } from "../contract/index.ts";
import type { Position } from "../contract/position.ts";
import { isMessage, type SessionEvent } from "./events.ts";
import { failure } from "./failure.ts";
import type { Line } from "./line.ts";
import { BEGINNING, subscribe } from "./reader.ts";

export interface Hearer {
  heard(event: SessionEvent): void;
  /** Nothing more will be heard. */
  ended(error: Error): void;
}

export class Feed {
  readonly session_id: string;
  readonly line: Line;
  /** By the `msg_id` of what they asked. */
  readonly #askers = new Map<string, Set<Hearer>>();
  readonly #hearers = new Set<Hearer>();
  #opening: Promise<void> | undefined;
  /** What is said stands behind this, while something has to come before it. */
  #held: Promise<void> | undefined;
  #stop: (() => void) | undefined;
  #status: SessionStatus | undefined;
  #seen: Position = BEGINNING;

  constructor(line: Line, session_id: string) {
    this.line = line;
    this.session_id = session_id;
  }

  /** As last heard. */
  get status(): SessionStatus | undefined {
    return this.#status;
  }

  /** The place up to which everything has been heard. */
  get seen(): Position {
    return this.#seen;
  }

  /** Which session it is, for what is said to its kernel: another one shall not take it. */
  get meant(): { readonly journal_id?: string } {
    const { journal_id } = this.#seen;
    return journal_id === undefined ? {} : { journal_id };
  }

  /** Says something once those who wait for the feed to open, and asked before, have had their turn. */
  inTurn<T>(say: () => Promise<T>): Promise<T> {
    // One step behind the same promise, so in the order of the calls; that it does not open is said elsewhere.
    return (this.#held ?? this.#opening ?? Promise.resolve()).then(say, say);
  }

  /** Resolves when it is open, and it is the caller's turn. */
  turn(): Promise<void> {
    if (this.#held === undefined) return this.open();
    if (this.#opening === undefined) {
      this.#hold(this.#held.then(() => this.open()));
    }
    return this.#held;
  }

  /** What is said from now on is said once `done` has settled: who interrupts, and then asks, means it in that order. */
  holdUntil(done: Promise<unknown>): void {
    const before = this.#held ?? this.#opening ?? Promise.resolve();
    this.#hold(
      done.then(
        () => before,
        () => before,
      ),
    );
  }

  /** Resolves once it has a place in the journal. Rejects with `session_not_found`. May be called again after it has ended. */
  open(): Promise<void> {
    if (this.#opening !== undefined) return this.#opening;
    const opening = this.#open(() => this.#opening === opening);
    this.#opening = opening;
    opening.catch(() => {
      if (this.#opening === opening) this.#opening = undefined;
    });
    return opening;
  }

  /** Hears what `msg_id` caused, and what concerns everybody. Returns what ends that. */
  expect(msg_id: string, asker: Hearer): () => void {
    const askers = this.#askers.get(msg_id) ?? new Set();
    this.#askers.set(msg_id, askers.add(asker));
    return () => {
      askers.delete(asker);
      const isLast = askers.size === 0 && this.#askers.get(msg_id) === askers;
      if (isLast) this.#askers.delete(msg_id);
    };
  }

  /** Hears everything. */
  listen(hearer: Hearer): () => void {
    this.#hearers.add(hearer);
    return () => this.#hearers.delete(hearer);
  }

  /** Resolves once everything up to number `seq` has been heard, or nothing more of that journal will be. */
  async heardUpTo(seq: number): Promise<void> {
    if (this.#seen.seq >= seq) return;
    await new Promise<void>((resolve) => {
      const stop = this.listen({
        heard(event) {
          if (event.seq < seq && event.kind !== "journal") return;
          stop();
          resolve();
        },
        ended: () => resolve(),
      });
    });
  }

  /** Stops listening; who still waits is told. */
  close(): void {
    this.#stop?.();
    this.#over(detached(this.session_id));
  }

  #hold(held: Promise<void>): void {
    this.#held = held;
    const free = () => {
      if (this.#held === held) this.#held = undefined;
    };
    held.then(free, free);
  }

  async #open(isWanted: () => boolean): Promise<void> {
    const { session_id } = this;
    const { last_seq, journal_id, status } = await this.line.askPatiently(() =>
      this.line.trpc.sessions.get.query({ session_id }),
    );
    if (!isWanted()) throw detached(session_id);
    this.#status = status;
    this.#seen = { journal_id, seq: last_seq };
    this.#stop = subscribe(this.line, { session_id }, this.#seen, {
      heard: (event, position) => this.#heard(event, position),
      ended: (error) =>
        this.#over(error ?? failure("session_not_found", { session_id })),
    });
  }

  #heard(event: SessionEvent, position: Position): void {
    this.#seen = position;
    if (event.kind === "status") this.#status = event.status;
    for (const hearer of this.#hearers) hearer.heard(event);
    for (const asker of this.#concerned(event)) asker.heard(event);
  }

  /** Many may wait, and much is said: only those are told whom it concerns. */
  #concerned(event: SessionEvent): Iterable<Hearer> {
    if (event.kind === "execution") return this.#asked(event.execution_id);
    if (event.kind === "refused") {
      return this.#asked(event.parent_id ?? undefined);
    }
    if (OF_ALL.has(event.kind)) return this.#all();
    if (!isMessage(event)) return [];
    // A display may be updated by whoever comes later.
    if (event.msg_type === "update_display_data") return this.#all();
    return this.#asked(event.parent_header?.msg_id);
  }

  #asked(msg_id: string | undefined): Iterable<Hearer> {
    const askers = msg_id === undefined ? undefined : this.#askers.get(msg_id);
    return askers === undefined ? [] : [...askers];
  }

  #all(): Hearer[] {
    return [...this.#askers.values()].flatMap((askers) => [...askers]);
  }

  #over(error: Error): void {
    this.#stop = undefined;
    this.#opening = undefined;
    const all = [...this.#all(), ...this.#hearers];
    this.#askers.clear();
    this.#hearers.clear();
    for (const hearer of all) hearer.ended(error);
  }
}

const OF_ALL: ReadonlySet<string> = new Set([
  "exited",
  "gap",
  "journal",
  "unreadable",
]);

function detached(session_id: string): Error {
  const why = "while this client was attached: it has detached";
  return failure("no_answer", { session_id, why });
}
