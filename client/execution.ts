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
import type { Execution as Description, Refused } from "../contract/index.ts";
import type { Position } from "../contract/position.ts";
import { SupervisorError } from "../contract/reasons.ts";
import { Outputs, OUTPUTS_LIMIT } from "../outputs/outputs.ts";
import { isMessage, type SessionEvent, weightOf } from "./events.ts";
import { type ExecuteOptions, executeRequest } from "./execute-request.ts";
import { type ExecutionEvent, toEventOf } from "./execution-event.ts";
import {
  type ExecutionResult,
  type Gap,
  kernelExited,
  type Known,
  resultOf,
  sessionReplaced,
  statusOf,
  withdrawn,
} from "./execution-result.ts";
import { type ExecutionInfo, toInfo } from "./executions.ts";
import { failure, unless } from "./failure.ts";
import type { Feed } from "./feed.ts";
import type { CallOptions, Line } from "./line.ts";
import { Queue } from "./queue.ts";
import { BEGINNING, read, type Source, subscribe } from "./reader.ts";
import { uuid } from "./uuid.ts";
import { deferred, whileWanted } from "./wait.ts";

export interface AttachOptions {
  /** Whether `outputs` are fetched for a program that awaits the result. Default: true. */
  readonly collect?: boolean | undefined;
  /** Ends the waiting and the listening here, with the signal's reason. The code goes on. */
  readonly signal?: AbortSignal | undefined;
}

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

interface Question {
  readonly seq: number;
  readonly header: { readonly msg_id: string };
}

export class Execution
  implements PromiseLike<ExecutionResult>, AsyncIterable<ExecutionEvent>
{
  /** By which it is found again: `session.execution(execution_id)`. */
  readonly execution_id: string;
  /** What is run; `undefined` of one that was found by its id, whose `info` tells it. */
  readonly code: string | undefined;
  readonly session_id: string;
  readonly #line: Line;
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
  #trips = 0;

  readonly #said = new Queue<ExecutionEvent>(MOST_WAITING);
  /** After which number too much waited. */
  #lostAfter: number | undefined;
  readonly #outputs = new Outputs(OUTPUTS_LIMIT);
  readonly #gaps: Gap[] = [];
  readonly #refused: Refused[] = [];
  /** The last number that was heard of it. */
  #seen = 0;

  #wasStarted = false;
  #reply: Readonly<Record<string, unknown>> | undefined;
  /** How it ended, as the server says. */
  #ending: Pick<Description, "state" | "reason"> | undefined;

  /** What it asked last. */
  #question: Question | undefined;
  /** Questions up to this number want no answer any more. */
  #settled = 0;
  /** Whether every question is heard here, so that none is open that is not known. */
  #areQuestionsHeard: boolean;

  private constructor(
    feed: Feed,
    execution_id: string,
    {
      code,
      options,
    }: { readonly code: string | undefined; readonly options: ExecuteOptions },
  ) {
    this.#line = feed.line;
    this.#feed = feed;
    this.#options = options;
    this.session_id = feed.session_id;
    this.execution_id = execution_id;
    this.code = code;
    this.#isFound = code === undefined;
    this.#areQuestionsHeard = !this.#isFound;
    this.#stage = this.#isFound ? "accepted" : "unsent";
    if (this.#isFound) this.#accepted.resolve(true);
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
    if (!this.#isFound) {
      for await (const said of this.#begunEvents()) yield this.#told(said);
      return;
    }
    const { signal, leave } = this.#attach();
    try {
      const all = { after: await this.#beginning(signal), signal };
      for await (const event of read(this.#line, this.#id, all)) {
        const said = this.#foundEvent(event);
        if (said !== undefined) yield this.#told(said);
      }
      await this.#foundEnd(signal);
      this.#outcome(NOTHING); // throws where there is none
    } finally {
      leave();
    }
  }

  /** What the server knows of it: its state, its code, what it asks. */
  async info(options: CallOptions = {}): Promise<ExecutionInfo> {
    const isThere = await whileWanted(this.#accepted.promise, options.signal);
    if (!isThere) await this.#end.promise; // which says why the server does not have it
    const { executions } = this.#line.trpc;
    return toInfo(
      await this.#line.ask(executions.get.query(this.#id, options), options),
    );
  }

  /**
   * Answers what the code asks. Resolves once the server has the answer, which
   * is given once, and to the question that was heard last. Rejects with
   * `execution_state` where nothing is asked, or somebody was faster.
   */
  async answer(text: string, options?: CallOptions): Promise<void> {
    const question =
      (this.#question?.seq ?? 0) > this.#settled ? this.#question : undefined;
    if (question === undefined && this.#areQuestionsHeard) {
      const why = `Execution ${this.execution_id} has not asked for anything, or it was answered`;
      throw new SupervisorError("execution_state", why);
    }
    const answer_id = uuid();
    const answer = {
      ...this.#id,
      value: text,
      answer_id,
      ...(question !== undefined && {
        input_request_id: question.header.msg_id,
      }),
    };
    const { executions } = this.#line.trpc;
    try {
      await this.#line.post(
        {
          id: answer_id,
          size: text.length,
          transmit: (signal) =>
            this.#line.ask(executions.answer.mutate(answer, { signal })),
        },
        options,
      );
    } catch (error) {
      if (isRefusal(error)) this.#settle(question?.seq ?? 0); // somebody was faster
      throw error;
    }
    this.#settle(question?.seq ?? 0);
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
    if (!(await whileWanted(this.#accepted.promise, options.signal))) {
      return false;
    }
    return (await this.#refusal("cancel", options)) === undefined;
  }

  get #id() {
    const { session_id, execution_id } = this;
    return { session_id, execution_id };
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
    this.#settle(Infinity);
    this.#leave();
    return true;
  }

  #succeed(result: ExecutionResult): void {
    if (!this.#over()) return;
    this.#end.resolve(result);
    this.#said.end();
    this.#accepted.resolve(false); // unless it was
  }

  #fail(error: unknown): void {
    if (!this.#over()) return;
    this.#end.reject(error);
    this.#said.end();
    this.#accepted.resolve(false);
  }

  /** Takes it back, where it has not been sent. */
  #withdraw(): boolean {
    const { execution_id } = this;
    const isOurs =
      this.#stage === "unsent" ||
      (this.#stage === "sent" && this.#line.withdraw(execution_id));
    if (isOurs) this.#succeed(withdrawn(execution_id));
    return isOurs;
  }

  async #interrupt(options: CallOptions): Promise<void> {
    if (!(await whileWanted(this.#accepted.promise, options.signal))) return;
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
    const { executions } = this.#line.trpc;
    try {
      await this.#line.ask(executions[what].mutate(this.#id, options), options);
      return undefined;
    } catch (error) {
      if (isRefusal(error)) return error;
      throw error;
    }
  }

  // What it asks

  /** Code asks one thing at a time: a new question means that the one before is settled. */
  #asked(question: Question): void {
    const last = this.#question?.seq ?? 0;
    if (last >= question.seq) return;
    this.#settle(last);
    this.#question = question;
  }

  /** As whoever listens is told it now. */
  #told(said: ExecutionEvent): ExecutionEvent {
    if (said.type !== "input_request") return said;
    return { ...said, answered: said.seq <= this.#settled };
  }

  /** Questions up to that number want no answer any more. */
  #settle(seq: number): void {
    this.#settled = Math.max(this.#settled, seq);
  }

  // How it ends

  #note(said: ExecutionEvent): void {
    if (said.type === "running") this.#wasStarted = true;
    if (said.type === "execute_reply") this.#reply = said.message.content;
    if (said.type === "ended") this.#ending = said;
  }

  /** As `#note`, of what the server knows. */
  #learn(known: Description): void {
    this.#wasStarted ||= known.started_at !== null;
    this.#reply ??= known.reply ?? undefined;
    if (isOver(known.state)) this.#ending ??= known;
  }

  /** The outcome, of what was kept. Throws `kernel_exited` where its kernel went away under it. */
  #outcome(kept: Kept): ExecutionResult {
    const { state, reason } = this.#ending ?? { state: "done", reason: null };
    const reply = this.#reply ?? {};
    if (reason === "kernel_exited" && this.#wasStarted) {
      throw kernelExited(this.session_id, reply);
    }
    return resultOf({
      ...kept,
      msg_id: this.execution_id,
      reply,
      status: statusOf({ state, reply }),
      reason,
    });
  }

  async #ask(signal?: AbortSignal): Promise<Description> {
    const { executions } = this.#line.trpc;
    return whileWanted(
      this.#line.askPatiently(() => executions.get.query(this.#id)),
      signal,
    );
  }

  // Code that is begun here

  async #run(): Promise<void> {
    const { signal } = this.#options;
    const { execution_id } = this;
    const abort = () => {
      this.#end.reject(signal?.reason);
      this.#said.end();
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
      await this.#feed.turn();
      if (this.#stage !== "unsent") return;
      const { seq: seen } = this.#feed.seen;
      unlisten = this.#feed.expect(execution_id, {
        heard: (event) => this.#heard(event),
        ended: (error) => this.#fail(error),
      });
      this.#happen("sent");
      const first_seq = await this.#post();
      if (first_seq !== null && first_seq <= seen) {
        unlisten(); // what it said is not on the feed
        this.#takeUp();
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
      const { meant } = this.#feed;
      const request = { session_id, execution_id, code, ...meant };
      const letter = executeRequest(this.#line, request, this.#options);
      const counted = {
        ...letter,
        transmit: (signal: AbortSignal) => {
          this.#trips += 1;
          return letter.transmit(signal);
        },
      };
      return (await this.#line.post(counted)).first_seq;
    } catch (error) {
      if (isBecause(error, "session_replaced")) {
        // This time it was refused; it may have come through before.
        throw sessionReplaced(session_id, this.#trips > 1);
      }
      unless("execution_not_found")(error);
      this.#hearRest(error); // it was accepted before, and is forgotten: it is over
      return null;
    }
  }

  /** It was there before we asked. */
  #takeUp(): void {
    this.#isFound = true;
    this.#areQuestionsHeard = false;
    this.#question = undefined;
    this.#ending = undefined;
    this.#awaitFound();
  }

  #heard(event: SessionEvent): void {
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
      if (this.#outputs.concerns(msg_type, said !== undefined)) {
        this.#outputs.add(msg_type, content, weight);
      }
    }
    if (said === undefined) return;
    this.#seen = event.seq;
    this.#note(said);
    this.#keep(said);
    if (!this.#said.push(said, weight)) {
      this.#lostAfter ??= said.seq;
      this.#said.end();
    }
    this.#conclude();
  }

  #keep(said: ExecutionEvent): void {
    switch (said.type) {
      case "gap":
        this.#gaps.push({ from: said.from, to: said.to });
        void this.#look(said.to);
        return;
      case "unreadable":
        this.#gaps.push({ from: said.seq, to: said.seq });
        void this.#look(said.seq + 1); // its number may be the next
        return;
      case "refused": {
        const { msg_type, reason, size } = said;
        this.#refused.push({ msg_type, reason, size });
        return;
      }
      case "input_request":
        this.#asked(said.message);
        return;
      default:
    }
  }

  #conclude(): void {
    if (this.#ending === undefined || this.#stage === "over") return;
    // Under an id of its own it may be another's, until the server has said so.
    const isOwn = this.#options.execution_id === undefined;
    if (this.#isFound || (this.#stage !== "accepted" && !isOwn)) return;
    const { isClipped: is_clipped, clipped, list: outputs } = this.#outputs;
    const gaps = this.#gaps;
    const refused = this.#refused;
    this.#accepted.resolve(true);
    try {
      const kept = { outputs, gaps, is_clipped, clipped, refused };
      this.#succeed(this.#outcome(kept));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Its end may be among what was not heard, which goes up to number `lost`: the server is asked, once. */
  async #look(lost: number): Promise<void> {
    try {
      const known = await this.#ask();
      const { last_seq } = known;
      if (isOver(known.state) && last_seq !== null && last_seq > lost) {
        await this.#feed.heardUpTo(last_seq); // it is still to come, and something before it
      }
      this.#learn(known);
      this.#conclude();
    } catch (error) {
      const isForgotten = isBecause(error, "execution_not_found");
      if (isForgotten && this.#stage === "accepted") this.#hearRest(error);
      // The rest the feed hears of, too; what is not accepted is on its way.
    }
  }

  /** What the server has forgotten is over: its end is among what is said by now, where it is anywhere. Else it fails for `error`. */
  #hearRest(error: unknown): void {
    const { session_id } = this;
    const { sessions } = this.#line.trpc;
    this.#line
      .askPatiently(() => sessions.get.query({ session_id }))
      .then(({ last_seq }) => this.#feed.heardUpTo(last_seq))
      .then(
        () => this.#fail(error),
        (why: unknown) => this.#fail(why),
      );
  }

  async *#begunEvents(): AsyncGenerator<ExecutionEvent, void> {
    try {
      yield* this.#said.take();
    } finally {
      this.#said.drop();
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
      return read(this.#line, source, {
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
      unless("execution_not_found")(error);
    }
    // Many ran after it: the server has forgotten it, but not what it said.
    await this.#end.promise.catch(() => {});
    if (seen >= this.#seen) return;
    for await (const event of rest({ session_id })) {
      if (event.kind === "journal") return; // what it said went with the one before
      const said = toEventOf(event, this.execution_id);
      if (said !== undefined) yield said;
      if (event.seq >= this.#seen) return;
    }
  }

  // Code that is found

  #awaitFound(): void {
    if (this.#isAwaited) return;
    this.#isAwaited = true;
    const { signal, leave } = this.#attach();
    this.#foundResult(signal)
      .finally(leave)
      .then(
        (result) => this.#end.resolve(result),
        (error: unknown) => this.#end.reject(error),
      )
      .finally(() => this.#leave());
  }

  async #foundResult(signal: AbortSignal): Promise<ExecutionResult> {
    await this.#foundEnd(signal);
    const outcome = this.#outcome(NOTHING);
    if (this.#options.collect === false) return outcome;
    const { executions } = this.#line.trpc;
    const { outputs, gaps, is_clipped, clipped, refused } = await whileWanted(
      this.#line.askPatiently(() => executions.outputs.query(this.#id)),
      signal,
    );
    return this.#outcome({ outputs, gaps, is_clipped, clipped, refused });
  }

  /** Where it is read from, once it is known what it asks. */
  async #beginning(signal: AbortSignal): Promise<Position> {
    const known = await this.#ask(signal);
    this.#learn(known);
    const { last_seq, input_request } = known;
    this.#settle((input_request?.seq ?? (last_seq ?? 0) + 1) - 1);
    this.#areQuestionsHeard = true;
    return BEGINNING;
  }

  #foundEvent(event: SessionEvent): ExecutionEvent | undefined {
    if (event.kind === "journal") throw sessionReplaced(this.session_id, true);
    const said = toEventOf(event, this.execution_id);
    if (said?.type === "input_request") this.#asked(said.message);
    if (said !== undefined) this.#note(said);
    return said;
  }

  /** Resolves when it is known how it ended. */
  async #foundEnd(signal: AbortSignal): Promise<void> {
    if (this.#ending === undefined) {
      const known = await this.#ask(signal);
      this.#learn(known);
      if (!isOver(known.state)) await this.#untilEnd(known, signal);
    }
    // It fell into a gap, or was never heard.
    if (this.#ending === undefined) this.#learn(await this.#ask(signal));
    if (this.#ending === undefined) {
      const why = "to its end: the server ends";
      throw failure("no_answer", { session_id: this.session_id, why });
    }
    this.#over();
  }

  /** Follows it for its end alone: that is heard through lost connections, however long it takes. */
  #untilEnd(
    { last_seq }: Description,
    signal: AbortSignal,
  ): Promise<undefined> {
    const { session_id } = this;
    const { promise, resolve, reject } = deferred<undefined>();
    const after = { journal_id: undefined, seq: last_seq ?? 0 };
    const stop = subscribe(this.#line, this.#id, after, {
      heard: (event) => {
        if (event.kind === "journal") reject(sessionReplaced(session_id, true));
        const said = toEventOf(event, this.execution_id);
        if (said !== undefined) this.#note(said);
      },
      ended: (error) =>
        error === undefined ? resolve(undefined) : reject(error),
    });
    return whileWanted(promise, signal).finally(stop);
  }

  /** A signal that aborts when nobody is to be kept waiting any more: with ours, or when the session is detached from, or gone. */
  #attach(): { readonly signal: AbortSignal; readonly leave: () => void } {
    const { signal } = this.#options;
    const left = new AbortController();
    const abort = () => left.abort(signal?.reason);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted === true) abort();
    const unlisten = this.#feed.listen({
      heard() {},
      ended: (error) => left.abort(error),
    });
    return {
      signal: left.signal,
      leave() {
        unlisten();
        signal?.removeEventListener("abort", abort);
      },
    };
  }
}

type Kept = Pick<
  Known,
  "outputs" | "gaps" | "is_clipped" | "clipped" | "refused"
>;

const NOTHING: Kept = {
  outputs: [],
  gaps: [],
  is_clipped: false,
  clipped: null,
  refused: [],
};

function isBecause(error: unknown, reason: SupervisorError["reason"]): boolean {
  return error instanceof SupervisorError && error.reason === reason;
}

/** Its state does not allow what was asked. */
function isRefusal(error: unknown): error is SupervisorError {
  return error instanceof SupervisorError && error.reason === "execution_state";
}
