/**
 * The subscription that all requests of a session share: it passes the session's
 * events to the callers that they concern.
 *
 * It begins at the end of the journal before the first request is sent, so it
 * receives the answer to every request.
 */
import type { SessionStatus } from "../contract/index.ts";
import type { Position } from "../contract/position.ts";
import { isMessage, type SessionEvent } from "./events.ts";
import { failure } from "./failure.ts";
import type { ServerLink } from "./server-link.ts";
import { BEGINNING, subscribe } from "./reader.ts";

export interface FeedListener {
  onEvent(event: SessionEvent): void;
  /** No more events follow. */
  ended(error: Error): void;
}

export class Feed {
  readonly session_id: string;
  readonly link: ServerLink;
  /** By the `msg_id` of their requests. */
  readonly #callers = new Map<string, Set<FeedListener>>();
  readonly #listeners = new Set<FeedListener>();
  #opening: Promise<void> | undefined;
  /** New messages wait for this, while something must be sent before them. */
  #held: Promise<void> | undefined;
  #stop: (() => void) | undefined;
  #status: SessionStatus | undefined;
  #seen: Position = BEGINNING;

  constructor(link: ServerLink, session_id: string) {
    this.link = link;
    this.session_id = session_id;
  }

  /** The last received status. */
  get status(): SessionStatus | undefined {
    return this.#status;
  }

  /** The position up to which all events have been received. */
  get seen(): Position {
    return this.#seen;
  }

  /** The journal's id for messages to the kernel: another session of the same id refuses them. */
  get target(): { readonly journal_id?: string } {
    const { journal_id } = this.#seen;
    return journal_id === undefined ? {} : { journal_id };
  }

  /** Sends a message after those of earlier callers that wait for the feed to open. */
  inOrder<T>(send: () => Promise<T>): Promise<T> {
    // All wait for the same promise, so they run in the order of the calls. Other code reports that the feed does not open.
    return (this.#held ?? this.#opening ?? Promise.resolve()).then(send, send);
  }

  /** Resolves when the feed is open and the caller may send. */
  ready(): Promise<void> {
    if (this.#held === undefined) return this.open();
    if (this.#opening === undefined) {
      this.#hold(this.#held.then(() => this.open()));
    }
    return this.#held;
  }

  /** Later messages are sent after `done` has settled: an interrupt and a later request keep their order. */
  holdUntil(done: Promise<unknown>): void {
    const before = this.#held ?? this.#opening ?? Promise.resolve();
    this.#hold(
      done.then(
        () => before,
        () => before,
      ),
    );
  }

  /** Resolves when it has a position in the journal. Rejects with `session_not_found`. May be called again after it has ended. */
  open(): Promise<void> {
    if (this.#opening !== undefined) return this.#opening;
    const opening = this.#open(() => this.#opening === opening);
    this.#opening = opening;
    opening.catch(() => {
      if (this.#opening === opening) this.#opening = undefined;
    });
    return opening;
  }

  /** Receives the events that `msg_id` caused, and those that concern all callers. Returns a function that ends that. */
  expect(msg_id: string, caller: FeedListener): () => void {
    const callers = this.#callers.get(msg_id) ?? new Set();
    this.#callers.set(msg_id, callers.add(caller));
    return () => {
      callers.delete(caller);
      const isLast =
        callers.size === 0 && this.#callers.get(msg_id) === callers;
      if (isLast) this.#callers.delete(msg_id);
    };
  }

  /** Receives all events. Returns a function that ends that. */
  listen(listener: FeedListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves when all events up to number `seq` have been received, or no more events of that journal follow. */
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

  /** Stops listening. Callers that still wait get an error. */
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
    for (const listener of this.#listeners) listener.onEvent(event);
    for (const caller of this.#concerned(event)) caller.onEvent(event);
  }

  /** The callers that an event concerns. There may be many callers and many events, so not every caller gets every event. */
  #concerned(event: SessionEvent): Iterable<FeedListener> {
    if (event.kind === "execution") return this.#callersOf(event.execution_id);
    if (event.kind === "refused") {
      return this.#callersOf(event.parent_id ?? undefined);
    }
    if (CONCERNS_ALL.has(event.kind)) return this.#all();
    if (!isMessage(event)) return [];
    // A later execution may update a display.
    if (event.msg_type === "update_display_data") return this.#all();
    return this.#callersOf(event.parent_header?.msg_id);
  }

  #callersOf(msg_id: string | undefined): Iterable<FeedListener> {
    const callers =
      msg_id === undefined ? undefined : this.#callers.get(msg_id);
    return callers === undefined ? [] : [...callers];
  }

  #all(): FeedListener[] {
    return [...this.#callers.values()].flatMap((callers) => [...callers]);
  }

  #over(error: Error): void {
    this.#stop = undefined;
    this.#opening = undefined;
    const all = [...this.#all(), ...this.#listeners];
    this.#callers.clear();
    this.#listeners.clear();
    for (const listener of all) listener.ended(error);
  }
}

const CONCERNS_ALL: ReadonlySet<string> = new Set([
  "exited",
  "gap",
  "journal",
  "unreadable",
]);

function detached(session_id: string): Error {
  const why = "before this client detached";
  return failure("no_answer", { session_id, why });
}
