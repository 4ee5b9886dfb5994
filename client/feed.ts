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
import type { ServerLink } from "./server-link.ts";
import { BEGINNING, subscribe } from "./reader.ts";

export interface FeedListener {
  onEvent(event: SessionEvent): void;
  /** Nothing more will be heard. */
  ended(error: Error): void;
}

export class Feed {
  readonly session_id: string;
  readonly link: ServerLink;
  /** By the `msg_id` of what they asked. */
  readonly #callers = new Map<string, Set<FeedListener>>();
  readonly #listeners = new Set<FeedListener>();
  #opening: Promise<void> | undefined;
  /** What is said stands behind this, while something has to come before it. */
  #held: Promise<void> | undefined;
  #stop: (() => void) | undefined;
  #status: SessionStatus | undefined;
  #seen: Position = BEGINNING;

  constructor(line: ServerLink, session_id: string) {
    this.link = line;
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
  get target(): { readonly journal_id?: string } {
    const { journal_id } = this.#seen;
    return journal_id === undefined ? {} : { journal_id };
  }

  /** Says something once those who wait for the feed to open, and asked before, have had their turn. */
  inOrder<T>(send: () => Promise<T>): Promise<T> {
    // One step behind the same promise, so in the order of the calls; that it does not open is said elsewhere.
    return (this.#held ?? this.#opening ?? Promise.resolve()).then(send, send);
  }

  /** Resolves when it is open, and it is the caller's turn. */
  ready(): Promise<void> {
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
  expect(msg_id: string, caller: FeedListener): () => void {
    const askers = this.#callers.get(msg_id) ?? new Set();
    this.#callers.set(msg_id, askers.add(caller));
    return () => {
      askers.delete(caller);
      const isLast = askers.size === 0 && this.#callers.get(msg_id) === askers;
      if (isLast) this.#callers.delete(msg_id);
    };
  }

  /** Hears everything. */
  listen(listener: FeedListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves once everything up to number `seq` has been heard, or nothing more of that journal will be. */
  async reached(seq: number): Promise<void> {
    if (this.#seen.seq >= seq) return;
    await new Promise<void>((resolve) => {
      const stop = this.listen({
        onEvent(event) {
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

  async #open(isCurrent: () => boolean): Promise<void> {
    const { session_id } = this;
    const { last_seq, journal_id, status } = await this.link.retry(() =>
      this.link.trpc.sessions.get.query({ session_id }),
    );
    if (!isCurrent()) throw detached(session_id);
    this.#status = status;
    this.#seen = { journal_id, seq: last_seq };
    this.#stop = subscribe(this.link, { session_id }, this.#seen, {
      onEvent: (event, position) => this.#onEvent(event, position),
      ended: (error) =>
        this.#over(error ?? failure("session_not_found", { session_id })),
    });
  }

  #onEvent(event: SessionEvent, position: Position): void {
    this.#seen = position;
    if (event.kind === "status") this.#status = event.status;
    for (const hearer of this.#listeners) hearer.onEvent(event);
    for (const asker of this.#concerned(event)) asker.onEvent(event);
  }

  /** Many may wait, and much is said: only those are told whom it concerns. */
  #concerned(event: SessionEvent): Iterable<FeedListener> {
    if (event.kind === "execution") return this.#callersOf(event.execution_id);
    if (event.kind === "refused") {
      return this.#callersOf(event.parent_id ?? undefined);
    }
    if (OF_ALL.has(event.kind)) return this.#all();
    if (!isMessage(event)) return [];
    // A display may be updated by whoever comes later.
    if (event.msg_type === "update_display_data") return this.#all();
    return this.#callersOf(event.parent_header?.msg_id);
  }

  #callersOf(msg_id: string | undefined): Iterable<FeedListener> {
    const askers = msg_id === undefined ? undefined : this.#callers.get(msg_id);
    return askers === undefined ? [] : [...askers];
  }

  #all(): FeedListener[] {
    return [...this.#callers.values()].flatMap((askers) => [...askers]);
  }

  #over(error: Error): void {
    this.#stop = undefined;
    this.#opening = undefined;
    const all = [...this.#all(), ...this.#listeners];
    this.#callers.clear();
    this.#listeners.clear();
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
