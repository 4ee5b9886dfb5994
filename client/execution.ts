/**
 * Code that was given to a session, as a program holds it: to be awaited, or to
 * be listened to, or both; answered, interrupted, taken back. It goes on
 * whoever leaves, and whoever knows its id finds it again.
 *
 * The server decides when it is over, and says so in the journal: that event is
 * believed, and nothing else. Code that is begun here is heard on the feed that
 * all requests of a session share, so thousands may be under way at once, and
 * none of their outcomes is lost with a connection. Code that is found is read
 * by reference, and nothing is asked before somebody wants to know something.
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
  askInfo,
  askKnown,
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
  settle,
  withAnswered,
} from "./known-execution.ts";
import type { CallOptions, ServerLink } from "./server-link.ts";
import { Queue } from "./queue.ts";
import { read, type Source } from "./reader.ts";
import { uuid } from "./uuid.ts";
import { deferred, unlessAborted } from "./wait.ts";

/**
 * `unsent`: the request is not in line yet. `sent`: it is, or may be with the
 * server. `accepted`: the server has it. `over`: there is nothing more to hear.
 */
type Stage = "unsent" | "sent" | "accepted" | "over";

const life = {
  unsent: { sent: "sent", over: "over" },
  sent: { accepted: "accepted", over: "over" },
  accepted: { over: "over" },
  over: {},
} as const satisfies Record<Stage, Partial<Record<string, Stage>>>;

type Happening = "sent" | "accepted" | "over";

/** What listeners have not taken; estimated bytes. The rest is left to the journal. */
const MOST_WAITING = 8 * 1024 * 1024;
/** Between being too early to interrupt and too late to cancel it can be caught once or twice. */
const MOST_ATTEMPTS = 3;

/** Code that was given to a session. Await it for its result, or loop over it for its events. */
export class Execution
  implements PromiseLike<ExecutionResult>, AsyncIterable<ExecutionEvent>
{
  /** By which it is found again: `session.execution(execution_id)`. */
  readonly execution_id: string;
  /** What is run; `undefined` of one that was found by its id, whose `info` tells it. */
  readonly code: string | undefined;
  readonly session_id: string;
  readonly #link: ServerLink;
  readonly #feed: Feed;
  readonly #options: ExecuteOptions;
  #stage: Stage;
  /** Whether it is read by reference: it was there before we asked for it. */
  #isFound: boolean;
  /** Resolves when it is known whether the server has it. */
  readonly #accepted = deferred<boolean>();
  readonly #end = deferred<ExecutionResult>();
  #isAwaited = false;
  #isListenedTo = false;
  /** Stops hearing. */
  #leave: () => void = () => {};
  /** How often it was sent. */
  #attempts = 0;

  readonly #events = new Queue<ExecutionEvent>(MOST_WAITING);
  /** After which number too much waited. */
  #lostAfter: number | undefined;
  readonly #outputs = new Outputs(OUTPUTS_LIMIT);
  readonly #gaps: Gap[] = [];
  readonly #refused: Refused[] = [];
  /** The last number that was heard of it. */
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
    this.#known = { id, settled: 0, isLive: !this.#isFound };
    this.#end.promise.catch(() => {}); // whoever only listens hears of it there
  }

  /** Code that this client asks to be run. */
  static begin(feed: Feed, code: string, options: ExecuteOptions): Execution {
    const { execution_id = uuid() } = options;
    const execution = new Execution(feed, execution_id, { code, options });
    void execution.#run(); // never rejects: a failure is the execution's
    return execution;
  }

  /** One that is there already, whoever asked for it. */
  static find(
    feed: Feed,
    execution_id: string,
    options: AttachOptions,
  ): Execution {
    return new Execution(feed, execution_id, { code: undefined, options });
  }

  /** Of the `execute_request`, the parent of everything that the code says: the same as `execution_id`. */
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

  /** Everything that is said on its behalf, from its beginning, in order, until it is over. Once: a second loop is an error. */
  async *[Symbol.asyncIterator](): AsyncGenerator<ExecutionEvent, void> {
    if (this.#isListenedTo) {
      throw new Error("An execution is listened to once: keep what you need");
    }
    this.#isListenedTo = true;
    await Promise.race([
      this.#accepted.promise,
      this.#end.promise.catch(() => {}),
    ]);
    const all = this.#isFound ? this.#found.events() : this.#begunEvents();
    for await (const said of all) yield withAnswered(this.#known, said);
  }

  /** What the server knows of it: its state, its code, what it asks. */
  async info(options: CallOptions = {}): Promise<ExecutionInfo> {
    const isThere = await unlessAborted(this.#accepted.promise, options.signal);
    if (!isThere) await this.#end.promise; // which says why the server does not have it
    return askInfo(this.#link, this.#id, options);
  }

  /**
   * Answers what the code asks. Resolves once the server has the answer, which
   * is given once, and to the question that was heard last. Rejects with
   * `execution_state` where nothing is asked, or somebody was faster.
   */
  answer(text: string, options?: CallOptions): Promise<void> {
    return answer(this.#link, this.#known, text, options);
  }

  /**
   * Stops this code, and only this: what runs is interrupted, what waits its
   * turn is taken out of the line and never runs. Resolves once that has been
   * asked for, or at once where it is over. It ends as the kernel says. What
   * is executed after this was called is not dropped with it.
   */
  async interrupt(options: CallOptions = {}): Promise<void> {
    if (this.#withdraw() || this.#stage === "over") return;
    const asked = this.#interrupt(options);
    this.#feed.holdUntil(asked);
    await asked;
  }

  /** Takes it back while it waits, here or in the server's queue: it then never runs. False where that is too late. */
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

  /** As it is read by reference. */
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
  #happen(happening: Happening): boolean {
    const row: Partial<Record<Happening, Stage>> = life[this.#stage];
    const stage = row[happening];
    if (stage === undefined) return false;
    this.#stage = stage;
    return true;
  }

  #over(): boolean {
    if (!this.#happen("over")) return false;
    settle(this.#known, Infinity);
    this.#leave();
    return true;
  }

  #succeed(result: ExecutionResult): void {
    if (!this.#over()) return;
    this.#end.resolve(result);
    this.#events.end();
    this.#accepted.resolve(false); // unless it was
  }

  #fail(error: unknown): void {
    if (!this.#over()) return;
    this.#end.reject(error);
    this.#events.end();
    this.#accepted.resolve(false);
  }

  /** Takes it back, where it has not been sent. */
  #withdraw(): boolean {
    const { execution_id } = this;
    const isOurs =
      this.#stage === "unsent" ||
      (this.#stage === "sent" && this.#link.withdraw(execution_id));
    if (isOurs) this.#succeed(withdrawn(execution_id));
    return isOurs;
  }

  async #interrupt(options: CallOptions): Promise<void> {
    if (!(await unlessAborted(this.#accepted.promise, options.signal))) return;
    for (let attempt = 1; ; attempt += 1) {
      const refused = await this.#refusal("interrupt", options);
      if (refused === undefined) return;
      if ((await this.#refusal("cancel", options)) === undefined) return;
      // Its turn came between the two; or it is over, or beyond reach.
      if (isOver((await this.info(options)).state)) return;
      if (attempt === MOST_ATTEMPTS) throw refused;
    }
  }

  /** The failure where its state does not allow it. */
  async #refusal(
    what: "interrupt" | "cancel",
    options: CallOptions,
  ): Promise<SupervisorError | undefined> {
    const { executions } = this.#link.trpc;
    try {
      await this.#link.ask(executions[what].mutate(this.#id, options), options);
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
      void this.interrupt().catch(() => {}); // whoever aborted has been told
    };
    let unlisten = () => {};
    this.#leave = () => {
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
      this.#happen("sent");
      const first_seq = await this.#post();
      if (first_seq !== null && first_seq <= seen) {
        unlisten(); // what it said is not on the feed
        this.#readByReference();
      }
      this.#happen("accepted");
      this.#accepted.resolve(true);
      this.#conclude();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Resolves with the first number that it caused, where it caused one already. */
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
        // This time it was refused; it may have come through before.
        throw sessionReplaced(session_id, this.#attempts > 1);
      }
      rethrowUnless("execution_not_found")(error);
      this.#receiveRest(error); // it was accepted before, and is forgotten: it is over
      return null;
    }
  }

  /** It was there before we asked. */
  #readByReference(): void {
    this.#isFound = true;
    this.#known.isLive = false;
    this.#known.request = undefined;
    this.#known.end = undefined;
    this.#awaitFound();
  }

  #onEvent(event: SessionEvent): void {
    if (this.#stage === "over" || this.#isFound) return;
    if (event.kind === "journal") {
      // What was not accepted is on its way, and the server refuses it.
      if (this.#stage === "accepted") {
        this.#fail(sessionReplaced(this.session_id, true));
      }
      return;
    }
    const said = toEventOf(event, this.execution_id);
    const weight = said === undefined ? 0 : weightOf(event);
    if (isMessage(event) && this.#options.collect !== false) {
      const { msg_type, content } = event; // may be another's, of a display here
      if (this.#outputs.isRelevant(msg_type, said !== undefined)) {
        this.#outputs.add(msg_type, content, weight);
      }
    }
    if (said === undefined) return;
    this.#lastSeq = event.seq;
    applyEvent(this.#known, said);
    this.#record(said);
    if (!this.#events.push(said, weight)) {
      this.#lostAfter ??= said.seq;
      this.#events.end();
    }
    this.#conclude();
  }

  #record(said: ExecutionEvent): void {
    switch (said.type) {
      case "gap":
        this.#gaps.push({ from: said.from, to: said.to });
        void this.#askServer(said.to);
        return;
      case "unreadable":
        this.#gaps.push({ from: said.seq, to: said.seq });
        void this.#askServer(said.seq + 1); // its number may be the next
        return;
      case "refused": {
        const { msg_type, reason, size } = said;
        this.#refused.push({ msg_type, reason, size });
        return;
      }
      default:
    }
  }

  #conclude(): void {
    if (this.#known.end === undefined || this.#stage === "over") return;
    // Under an id of its own it may be another's, until the server has said so.
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

  /** Its end may be among what was not heard, which goes up to number `lost`: the server is asked, once. */
  async #askServer(lost: number): Promise<void> {
    try {
      const known = await askKnown(this.#link, this.#id);
      const { last_seq } = known;
      if (isOver(known.state) && last_seq !== null && last_seq > lost) {
        await this.#feed.reached(last_seq); // it is still to come, and something before it
      }
      applyDescription(this.#known, known);
      this.#conclude();
    } catch (error) {
      const isForgotten = isBecause("execution_not_found", error);
      if (isForgotten && this.#stage === "accepted") this.#receiveRest(error);
      // The rest the feed hears of, too; what is not accepted is on its way.
    }
  }

  /** What the server has forgotten is over: its end is among what is said by now, where it is anywhere. Else it fails for `error`. */
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

  async *#begunEvents(): AsyncGenerator<ExecutionEvent, void> {
    try {
      yield* this.#events.take();
    } finally {
      this.#events.drop();
    }
    if (this.#lostAfter !== undefined) yield* this.#readAgain(this.#lostAfter);
    await this.#end.promise;
  }

  /** The listener was too slow for us to keep everything: the journal has it. */
  async *#readAgain(lostAfter: number): AsyncGenerator<ExecutionEvent, void> {
    const { session_id } = this;
    const { journal_id } = this.#feed.seen;
    let seen = lostAfter;
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
        const said = toEventOf(event, this.execution_id);
        if (said !== undefined) yield said;
      }
      return;
    } catch (error) {
      rethrowUnless("execution_not_found")(error);
    }
    // Many ran after it: the server has forgotten it, but not what it said.
    await this.#end.promise.catch(() => {});
    if (seen >= this.#lastSeq) return;
    for await (const event of rest({ session_id })) {
      if (event.kind === "journal") return; // what it said went with the one before
      const said = toEventOf(event, this.execution_id);
      if (said !== undefined) yield said;
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
      .finally(() => this.#leave());
  }
}
