/**
 * An execution: code that was given to a session. A program awaits it for its
 * result, loops over it for its events, answers its input requests, interrupts or
 * cancels it. It goes on when clients disconnect, and any client that knows its id
 * can find it again.
 *
 * The server decides when an execution is over, and publishes that as an event in
 * the journal. Only this event ends an execution here.
 *
 * The events of an execution that this client begins come from the feed that all
 * requests of a session share. So thousands of executions may be open at once, and
 * no result is lost with a connection. For an execution that existed before, see
 * `FoundExecution`.
 */
import { isOver } from "../contract/execution-end.ts";
import type { Refused } from "../contract/index.ts";
import type { SupervisorError } from "../contract/reasons.ts";
import { Outputs, OUTPUTS_LIMIT } from "../outputs/outputs.ts";
import { isMessage, type SessionEvent, weightOf } from "./events.ts";
import { type ExecuteOptions, executeRequest } from "./execute-request.ts";
import { type ExecutionEvent, toEventOf } from "./execution-event.ts";
import {
  type ExecutionResult,
  type Gap,
  sessionReplaced,
  withdrawn,
} from "./execution-result.ts";
import {
  fetchInfo,
  fetchDescription,
  type ExecutionId,
  type ExecutionInfo,
} from "./executions.ts";
import { isBecause, rethrowUnless } from "./failure.ts";
import type { Feed } from "./feed.ts";
import {
  type AttachOptions,
  type FoundExecution,
  foundExecution,
} from "./found-execution.ts";
import {
  answer,
  type KnownExecution,
  applyDescription,
  applyEvent,
  resultIn,
  markAnswered,
  withAnswered,
} from "./known-execution.ts";
import type { CallOptions, ServerLink } from "./server-link.ts";
import { Queue } from "./queue.ts";
import { read, type Source } from "./reader.ts";
import { uuid } from "./uuid.ts";
import { deferred, unlessAborted } from "./wait.ts";

/**
 * `unsent`: the request is not in the outbox yet. `sent`: it is in the outbox, or
 * may have reached the server. `accepted`: the server has it. `over`: no more events
 * follow.
 */
type Stage = "unsent" | "sent" | "accepted" | "over";

const transitions = {
  unsent: { sent: "sent", over: "over" },
  sent: { accepted: "accepted", over: "over" },
  accepted: { over: "over" },
  over: {},
} as const satisfies Record<Stage, Partial<Record<string, Stage>>>;

type Trigger = "sent" | "accepted" | "over";

/** The limit of events that the program has not read; estimated bytes. Later events are read from the journal. */
const MAX_WAITING = 8 * 1024 * 1024;
/** Attempts to interrupt or cancel. An execution that begins to run between the two requests escapes both, so once or twice is normal. */
const MAX_ATTEMPTS = 3;

/** An execution: code that was given to a session. Await it for its result, or loop over it for its events. */
export class Execution
  implements PromiseLike<ExecutionResult>, AsyncIterable<ExecutionEvent>
{
  /** The id by which `session.execution(execution_id)` finds it again. */
  readonly execution_id: string;
  /** The code; `undefined` if the execution was found by its id: `info` then has the code. */
  readonly code: string | undefined;
  readonly session_id: string;
  readonly #link: ServerLink;
  readonly #feed: Feed;
  readonly #options: ExecuteOptions;
  #stage: Stage;
  /** Whether it existed before this client requested it, so that it is read from the server by its id. */
  #isFound: boolean;
  /** Resolves with whether the server has it. */
  readonly #accepted = deferred<boolean>();
  readonly #end = deferred<ExecutionResult>();
  #isAwaited = false;
  #isIterated = false;
  /** Stops receiving events. */
  #unsubscribe: () => void = () => {};
  /** How often the request was sent. */
  #attempts = 0;

  readonly #events = new Queue<ExecutionEvent>(MAX_WAITING);
  /** The number of the last event in `#events`, if the queue became full. */
  #queuedUpTo: number | undefined;
  readonly #outputs = new Outputs(OUTPUTS_LIMIT);
  readonly #gaps: Gap[] = [];
  readonly #refused: Refused[] = [];
  /** The number of its last received event. */
  #lastSeq = 0;

  readonly #known: KnownExecution;

  private constructor(
    feed: Feed,
    execution_id: string,
    {
      code,
      options,
    }: { readonly code: string | undefined; readonly options: ExecuteOptions },
  ) {
    this.#link = feed.link;
    this.#feed = feed;
    this.#options = options;
    this.session_id = feed.session_id;
    this.execution_id = execution_id;
    this.code = code;
    this.#isFound = code === undefined;
    this.#stage = this.#isFound ? "accepted" : "unsent";
    if (this.#isFound) this.#accepted.resolve(true);
    const id = { session_id: feed.session_id, execution_id };
    this.#known = { id, answeredSeq: 0, receivesAll: !this.#isFound };
    this.#end.promise.catch(() => {}); // a loop over the events gets the error too
  }

  /** Begins an execution: sends code to the server. */
  static begin(feed: Feed, code: string, options: ExecuteOptions): Execution {
    const { execution_id = uuid() } = options;
    const execution = new Execution(feed, execution_id, { code, options });
    void execution.#run(); // never rejects: its failure ends the execution
    return execution;
  }

  /** Finds an existing execution, of any client. */
  static find(
    feed: Feed,
    execution_id: string,
    options: AttachOptions,
  ): Execution {
    return new Execution(feed, execution_id, { code: undefined, options });
  }

  /** The `msg_id` of the `execute_request`, which is the parent of all messages of the execution: the same as `execution_id`. */
  get msg_id(): string {
    return this.execution_id;
  }

  then<A = ExecutionResult, B = never>(
    fulfilled?: ((result: ExecutionResult) => A | PromiseLike<A>) | null,
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#ended().then(fulfilled, rejected);
  }

  catch<B = never>(
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<ExecutionResult | B> {
    return this.#ended().catch(rejected);
  }

  finally(settled?: (() => void) | null): Promise<ExecutionResult> {
    return this.#ended().finally(settled);
  }

  /** All its events, from its beginning to its end, in order. They can be read once: a second loop throws. */
  async *[Symbol.asyncIterator](): AsyncGenerator<ExecutionEvent, void> {
    if (this.#isIterated) {
      throw new Error("The events of an execution can be read only once");
    }
    this.#isIterated = true;
    await Promise.race([
      this.#accepted.promise,
      this.#end.promise.catch(() => {}),
    ]);
    const all = this.#isFound ? this.#found.events() : this.#liveEvents();
    for await (const event of all) yield withAnswered(this.#known, event);
  }

  /** The server's description: its state, its code, its open input request. */
  async info(options: CallOptions = {}): Promise<ExecutionInfo> {
    const isThere = await unlessAborted(this.#accepted.promise, options.signal);
    if (!isThere) await this.#end.promise; // rejects with the reason
    return fetchInfo(this.#link, this.#id, options);
  }

  /**
   * Answers the last input request that was received. Resolves once the server has
   * the answer, which is given once. Rejects with `execution_state` if no input
   * request is open, or another client has answered it.
   */
  answer(text: string, options?: CallOptions): Promise<void> {
    return answer(this.#link, this.#known, text, options);
  }

  /**
   * Stops this execution, and no other: interrupts it if it runs, and removes it
   * from the queue if it waits. Resolves once the server has accepted the request,
   * or at once if the execution is over. The kernel decides how it ends.
   * Executions that are requested after this call are not dropped.
   */
  async interrupt(options: CallOptions = {}): Promise<void> {
    if (this.#withdraw() || this.#stage === "over") return;
    const interrupted = this.#interrupt(options);
    this.#feed.holdUntil(interrupted);
    await interrupted;
  }

  /** Withdraws it while it waits, here or in the server's queue: it then never runs. Resolves with false if it is too late. */
  async cancel(options: CallOptions = {}): Promise<boolean> {
    if (this.#withdraw()) return true;
    if (this.#stage === "over") return false;
    if (!(await unlessAborted(this.#accepted.promise, options.signal))) {
      return false;
    }
    return (await this.#refusal("cancel", options)) === undefined;
  }

  get #id(): ExecutionId {
    return this.#known.id;
  }

  /** Reads it from the server by its id. */
  get #found(): FoundExecution {
    return foundExecution(this.#feed, this.#known, this.#options, () =>
      this.#over(),
    );
  }

  #ended(): Promise<ExecutionResult> {
    if (this.#isFound) this.#awaitFound();
    return this.#end.promise;
  }

  /** The only place where the stage changes. */
  #apply(trigger: Trigger): boolean {
    const row: Partial<Record<Trigger, Stage>> = transitions[this.#stage];
    const stage = row[trigger];
    if (stage === undefined) return false;
    this.#stage = stage;
    return true;
  }

  #over(): boolean {
    if (!this.#apply("over")) return false;
    markAnswered(this.#known, Infinity);
    this.#unsubscribe();
    return true;
  }

  #succeed(result: ExecutionResult): void {
    if (!this.#over()) return;
    this.#end.resolve(result);
    this.#events.end();
    this.#accepted.resolve(false); // has no effect if it was accepted
  }

  #fail(error: unknown): void {
    if (!this.#over()) return;
    this.#end.reject(error);
    this.#events.end();
    this.#accepted.resolve(false);
  }

  /** Withdraws it if it was not sent. */
  #withdraw(): boolean {
    const { execution_id } = this;
    const isWithdrawn =
      this.#stage === "unsent" ||
      (this.#stage === "sent" && this.#link.withdraw(execution_id));
    if (isWithdrawn) this.#succeed(withdrawn(execution_id));
    return isWithdrawn;
  }

  async #interrupt(options: CallOptions): Promise<void> {
    if (!(await unlessAborted(this.#accepted.promise, options.signal))) return;
    for (let attempt = 1; ; attempt += 1) {
      const refused = await this.#refusal("interrupt", options);
      if (refused === undefined) return;
      if ((await this.#refusal("cancel", options)) === undefined) return;
      // It began to run between the two requests; or it is over; or neither is possible.
      if (isOver((await this.info(options)).state)) return;
      if (attempt === MAX_ATTEMPTS) throw refused;
    }
  }

  /** Resolves with the failure if its state does not allow it. */
  async #refusal(
    operation: "interrupt" | "cancel",
    options: CallOptions,
  ): Promise<SupervisorError | undefined> {
    const { executions } = this.#link.trpc;
    try {
      await this.#link.result(
        executions[operation].mutate(this.#id, options),
        options,
      );
      return undefined;
    } catch (error) {
      if (isBecause("execution_state", error)) return error;
      throw error;
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#options;
    const { execution_id } = this;
    const abort = () => {
      this.#end.reject(signal?.reason);
      this.#events.end();
      void this.interrupt().catch(() => {}); // the caller has the reason of the abort
    };
    let unlisten = () => {};
    this.#unsubscribe = () => {
      unlisten();
      signal?.removeEventListener("abort", abort);
    };
    try {
      signal?.throwIfAborted();
      signal?.addEventListener("abort", abort);
      await this.#feed.ready();
      if (this.#stage !== "unsent") return;
      const { seq: seen } = this.#feed.seen;
      unlisten = this.#feed.expect(execution_id, {
        onEvent: (event) => this.#onEvent(event),
        ended: (error) => this.#fail(error),
      });
      this.#apply("sent");
      const first_seq = await this.#post();
      if (first_seq !== null && first_seq <= seen) {
        unlisten(); // its first events are not on the feed
        this.#becomeFound();
      }
      this.#apply("accepted");
      this.#accepted.resolve(true);
      this.#conclude();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Resolves with the number of its first event, if it has one already. */
  async #post(): Promise<number | null> {
    const { session_id, execution_id, code = "" } = this;
    try {
      const { target } = this.#feed;
      const request = { session_id, execution_id, code, ...target };
      const outgoing = executeRequest(this.#link, request, this.#options);
      const counted = {
        ...outgoing,
        transmit: (signal: AbortSignal) => {
          this.#attempts += 1;
          return outgoing.transmit(signal);
        },
      };
      return (await this.#link.post(counted)).first_seq;
    } catch (error) {
      if (isBecause("session_replaced", error)) {
        // This attempt was refused; an earlier one may have reached the server.
        throw sessionReplaced(session_id, this.#attempts > 1);
      }
      rethrowUnless("execution_not_found")(error);
      this.#receiveRest(error); // it was accepted before, and is no longer kept: it is over
      return null;
    }
  }

  /** It existed before this client requested it. */
  #becomeFound(): void {
    this.#isFound = true;
    this.#known.receivesAll = false;
    this.#known.inputRequest = undefined;
    this.#known.end = undefined;
    this.#awaitFound();
  }

  #onEvent(event: SessionEvent): void {
    if (this.#stage === "over" || this.#isFound) return;
    if (event.kind === "journal") {
      // A request that is not accepted yet will be refused by the server.
      if (this.#stage === "accepted") {
        this.#fail(sessionReplaced(this.session_id, true));
      }
      return;
    }
    const own = toEventOf(event, this.execution_id);
    const weight = own === undefined ? 0 : weightOf(event);
    if (isMessage(event) && this.#options.collect !== false) {
      const { msg_type, content } = event; // another execution may update a display of this one
      if (this.#outputs.isRelevant(msg_type, own !== undefined)) {
        this.#outputs.add(msg_type, content, weight);
      }
    }
    if (own === undefined) return;
    this.#lastSeq = event.seq;
    applyEvent(this.#known, own);
    this.#record(own);
    if (!this.#events.push(own, weight)) {
      this.#queuedUpTo ??= own.seq;
      this.#events.end();
    }
    this.#conclude();
  }

  #record(event: ExecutionEvent): void {
    switch (event.type) {
      case "gap":
        this.#gaps.push({ from: event.from, to: event.to });
        void this.#queryEnd(event.to);
        return;
      case "unreadable":
        this.#gaps.push({ from: event.seq, to: event.seq });
        void this.#queryEnd(event.seq + 1); // its number may be the next one
        return;
      case "refused": {
        const { msg_type, reason, size } = event;
        this.#refused.push({ msg_type, reason, size });
        return;
      }
      default:
    }
  }

  #conclude(): void {
    if (this.#known.end === undefined || this.#stage === "over") return;
    // If the program has chosen the id, this may be an execution of another client until the server has accepted the request.
    const isOwn = this.#options.execution_id === undefined;
    if (this.#isFound || (this.#stage !== "accepted" && !isOwn)) return;
    const { isClipped: is_clipped, clipped, list: outputs } = this.#outputs;
    const gaps = this.#gaps;
    const refused = this.#refused;
    this.#accepted.resolve(true);
    try {
      const kept = { outputs, gaps, is_clipped, clipped, refused };
      this.#succeed(resultIn(this.#known, kept));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Events up to number `missing` were not received, and its end may be among them. So the server is queried once. */
  async #queryEnd(missing: number): Promise<void> {
    try {
      const description = await fetchDescription(this.#link, this.#id);
      const { last_seq } = description;
      if (
        isOver(description.state) &&
        last_seq !== null &&
        last_seq > missing
      ) {
        await this.#feed.reached(last_seq); // its end, and events before it, are still to come
      }
      applyDescription(this.#known, description);
      this.#conclude();
    } catch (error) {
      const isForgotten = isBecause("execution_not_found", error);
      if (isForgotten && this.#stage === "accepted") this.#receiveRest(error);
      // Every other failure ends the feed too; a request that is not accepted yet will be answered.
    }
  }

  /** An execution that the server no longer keeps is over. Its end is among the session's present events, if it is kept at all; otherwise the execution fails with `error`. */
  #receiveRest(error: unknown): void {
    const { session_id } = this;
    const { sessions } = this.#link.trpc;
    this.#link
      .retry(() => sessions.get.query({ session_id }))
      .then(({ last_seq }) => this.#feed.reached(last_seq))
      .then(
        () => this.#fail(error),
        (why: unknown) => this.#fail(why),
      );
  }

  async *#liveEvents(): AsyncGenerator<ExecutionEvent, void> {
    try {
      yield* this.#events.take();
    } finally {
      this.#events.drop();
    }
    if (this.#queuedUpTo !== undefined)
      yield* this.#journalEvents(this.#queuedUpTo);
    await this.#end.promise;
  }

  /** The events after the full queue, read from the journal: the program read too slowly. */
  async *#journalEvents(after: number): AsyncGenerator<ExecutionEvent, void> {
    const { session_id } = this;
    const { journal_id } = this.#feed.seen;
    let seen = after;
    const rest = (source: Source) => {
      const { signal } = this.#options;
      return read(this.#link, source, {
        after: { journal_id, seq: seen },
        signal,
      });
    };
    try {
      for await (const event of rest(this.#id)) {
        if (event.kind === "journal") throw sessionReplaced(session_id, true);
        seen = event.seq;
        const own = toEventOf(event, this.execution_id);
        if (own !== undefined) yield own;
      }
      return;
    } catch (error) {
      rethrowUnless("execution_not_found")(error);
    }
    // After many later executions, the server no longer keeps this one, but still its events.
    await this.#end.promise.catch(() => {});
    if (seen >= this.#lastSeq) return;
    for await (const event of rest({ session_id })) {
      if (event.kind === "journal") return; // its events are gone with the earlier journal
      const own = toEventOf(event, this.execution_id);
      if (own !== undefined) yield own;
      if (event.seq >= this.#lastSeq) return;
    }
  }

  #awaitFound(): void {
    if (this.#isAwaited) return;
    this.#isAwaited = true;
    this.#found
      .result()
      .then(
        (result) => this.#end.resolve(result),
        (error: unknown) => this.#end.reject(error),
      )
      .finally(() => this.#unsubscribe());
  }
}
