/**
 * Code that this client asked to be run. The request waits in line with
 * everything else that is said, and what the code says is heard on the feed
 * that all requests of a session share: so thousands may be under way at once,
 * and none of their outcomes is lost with a connection.
 *
 * It is over when its reply and its idle have both been heard, in either order:
 * they travel on different sockets. Where the feed leaves that in doubt, the
 * server is asked.
 */
import { failure, SupervisorError } from "../contract/errors.ts";
import type { Execution as Description } from "../contract/index.ts";
import { Outputs, OUTPUTS_LIMIT } from "../contract/outputs.ts";
import { Backlog } from "./backlog.ts";
import { isMessage, type SessionEvent, weightOf } from "./events.ts";
import {
  type ExecutionEvent,
  type ReplyStatus,
  statusIn,
  toEventOf,
} from "./execution-event.ts";
import {
  type EndReason,
  type ExecutionResult,
  type Gap,
  isOver,
  kernelExited,
  resultOf,
  statusOf,
  withdrawn,
} from "./execution-result.ts";
import { unless } from "./failure.ts";
import type { Feed } from "./feed.ts";
import { FoundExecution } from "./found-execution.ts";
import type { Line } from "./line.ts";
import type { Letter } from "./outbox.ts";
import { Questions } from "./questions.ts";
import { read } from "./reader.ts";
import { uuid } from "./uuid.ts";

export interface ExecuteOptions {
  /** No outputs of the result, no history. */
  readonly silent?: boolean | undefined;
  /** True unless `silent`. */
  readonly store_history?: boolean | undefined;
  /** Whether the code may ask for input; true unless said. Somebody then has to `answer`, or the code waits for ever. */
  readonly allow_stdin?: boolean | undefined;
  /** Whether requests that wait are dropped when this one fails; true unless said. */
  readonly stop_on_error?: boolean | undefined;
  /** Expressions to be evaluated after the code, by name; their values are in the reply. */
  readonly user_expressions?: Readonly<Record<string, string>> | undefined;
  /** Travels with the request, such as a notebook's cell id. */
  readonly metadata?: Record<string, unknown> | undefined;
  /** Milliseconds from its acceptance by the server on, the wait in the queue included. Then it is interrupted, or leaves the queue. No bound where absent. */
  readonly deadline_ms?: number | undefined;
  /** Of your own, to be able to repeat yourself: where the server knows it, that execution is taken up, and nothing runs twice. */
  readonly execution_id?: string | undefined;
  /** Whether `outputs` are kept for whoever awaits; true unless said. For output without end, listen instead. */
  readonly collect?: boolean | undefined;
  /** Interrupts the code, and rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** How long a sign of its end may be missing, while nothing else is heard of it, before the server is asked. */
const DOUBT_MS = 3_000;

/** Where the request is: not in line yet; in line, or with the server; done with. */
type Stage = "unsent" | "posted" | "over";
type Reply = Extract<ExecutionEvent, { type: "execute_reply" }>;

export class BegunExecution {
  readonly execution_id: string;
  readonly code: string;
  /** Resolves when it is known whether the server has it. */
  readonly accepted: Promise<boolean>;
  readonly #line: Line;
  readonly #feed: Feed;
  readonly #options: ExecuteOptions;
  readonly #questions = new Questions({ areHeard: true });
  readonly #outputs = new Outputs(OUTPUTS_LIMIT);
  readonly #gaps: Gap[] = [];
  readonly #backlog = new Backlog();
  readonly #end: Promise<ExecutionResult>;
  /** Resolves when there is nothing more to hear, even if whoever waits has been told before. */
  readonly #finished: Promise<void>;
  #resolve!: (result: ExecutionResult | Promise<ExecutionResult>) => void;
  #reject!: (error: unknown) => void;
  #accept!: (isAccepted: boolean) => void;
  #finish!: () => void;
  #stage: Stage = "unsent";
  #isAccepted = false;
  /** It was there before we asked, and what it said then is not on the feed. */
  #found: FoundExecution | undefined;
  #hasWaited = false;
  #hasBegun = false;
  #isIdle = false;
  #reply: Reply | undefined;
  /** The last number that was heard of it. */
  #seen = 0;
  #heardAt = 0;
  #isConcluding = false;
  #doubt: ReturnType<typeof setTimeout> | undefined;
  /** How it ended, as the server says; it is over once all of it was heard. */
  #ended: Description | undefined;

  constructor(line: Line, feed: Feed, code: string, options: ExecuteOptions) {
    this.#line = line;
    this.#feed = feed;
    this.code = code;
    this.#options = options;
    this.execution_id = options.execution_id ?? uuid();
    this.#end = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.accepted = new Promise((resolve) => (this.#accept = resolve));
    this.#finished = new Promise((resolve) => (this.#finish = resolve));
    this.#end.catch(() => {}); // who only listens hears of it there
  }

  ended(): Promise<ExecutionResult> {
    return this.#end;
  }

  get isOver(): boolean {
    return this.#found?.isOver ?? this.#stage === "over";
  }

  get questions(): Questions {
    return this.#found?.questions ?? this.#questions;
  }

  /** Sends it. `aborted` is called when its signal aborts and it is not over. */
  async run(aborted: () => void): Promise<void> {
    const { signal } = this.#options;
    const abort = () => {
      this.#fail(signal?.reason);
      aborted();
    };
    let leave = () => {};
    try {
      signal?.throwIfAborted();
      signal?.addEventListener("abort", abort);
      await this.#feed.open();
      if (this.#stage !== "unsent") return;
      const { seen } = this.#feed;
      leave = this.#feed.expect(this.execution_id, {
        heard: (event) => this.#heard(event),
        ended: (error) => this.#over(() => this.#fail(error)),
      });
      this.#stage = "posted";
      const first_seq = await this.#post();
      this.#isAccepted = true;
      this.#accept(true);
      if (first_seq !== null && first_seq <= seen) this.#takeUp();
      this.#concludeOnceHeard();
      await this.#finished;
      await this.#found?.ended();
    } catch (error) {
      this.#over(() => this.#fail(error));
    } finally {
      leave();
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Takes it back, where it has not been sent. */
  withdraw(): boolean {
    const isOurs =
      this.#stage === "unsent" ||
      (this.#stage === "posted" &&
        this.#line.outbox.withdraw(this.execution_id));
    if (!isOurs) return false;
    this.#over(() => this.#succeed(withdrawn(this.execution_id)));
    return true;
  }

  /** Everything that is said on its behalf, in order, until it is over. Once. */
  async *events(): AsyncGenerator<ExecutionEvent, void> {
    await Promise.race([this.accepted, this.#end.catch(() => {})]);
    if (this.#found !== undefined) {
      yield* this.#found.events();
      return;
    }
    const lostAfter = yield* this.#backlog.take();
    if (lostAfter !== undefined) yield* this.#readAgain(lostAfter);
    await this.#end;
  }

  /** The listener was too slow for us to keep everything: the journal has it. */
  async *#readAgain(after: number): AsyncGenerator<ExecutionEvent, void> {
    const { execution_id } = this;
    const { session_id } = this.#feed;
    const { signal } = this.#options;
    let seen = after;
    try {
      const source = { session_id, execution_id };
      for await (const event of read(this.#line, source, { after, signal })) {
        seen = event.seq;
        const said = toEventOf(event, execution_id);
        if (said !== undefined) yield said;
      }
      return;
    } catch (error) {
      unless("execution_not_found")(error);
    }
    // Many ran after it: the server has forgotten it, but not what it said.
    await this.#finished;
    if (seen >= this.#seen) return;
    const rest = { after: seen, signal };
    for await (const event of read(this.#line, { session_id }, rest)) {
      const said = toEventOf(event, execution_id);
      if (said !== undefined) yield said;
      if (event.seq >= this.#seen) return;
    }
  }

  /** Resolves with the first number that it caused, where it caused one already. */
  async #post(): Promise<number | null> {
    try {
      return (await this.#line.post(this.#letter())).first_seq;
    } catch (error) {
      unless("execution_not_found")(error);
      // It was accepted before, and is forgotten: its end is on its way to us, unless it was long ago.
      this.#wonder();
      return null;
    }
  }

  #letter(): Letter<Pick<Description, "first_seq">> {
    const { code, execution_id } = this;
    const { silent = false, metadata = {}, deadline_ms } = this.#options;
    const { store_history = !silent, allow_stdin = true } = this.#options;
    const { stop_on_error = true, user_expressions = {} } = this.#options;
    const asked = {
      session_id: this.#feed.session_id,
      execution_id,
      code,
      silent,
      store_history,
      allow_stdin,
      stop_on_error,
      user_expressions,
      metadata,
      ...(deadline_ms !== undefined && { deadline_ms }),
    };
    return {
      id: execution_id,
      size: code.length + JSON.stringify(metadata).length,
      transmit: (signal) =>
        this.#line.ask(
          this.#line.trpc.executions.create.mutate(asked, { signal }),
        ),
    };
  }

  #takeUp(): void {
    const { collect, signal } = this.#options;
    const options = { collect, signal };
    const found = new FoundExecution(this.#feed, this.execution_id, options);
    this.#found = found;
    this.#over(() => this.#resolve(found.ended()));
  }

  #heard(event: SessionEvent): void {
    if (this.#stage === "over") return;
    if (event.kind === "exited") return; // what it had is answered in its place
    const isOwn =
      isMessage(event) && event.parent_header?.msg_id === this.execution_id;
    const weight = weightOf(event);
    if (isMessage(event)) this.#keep(event, isOwn, weight);
    const said = toEventOf(event, this.execution_id);
    if (said === undefined) return;
    this.#seen = event.seq;
    this.#heardAt = Date.now();
    this.#note(said);
    this.#backlog.push(said, weight);
    this.#concludeOnceHeard();
  }

  #keep(
    { msg_type, content }: Extract<SessionEvent, { msg_type: string }>,
    isOwn: boolean,
    weight: number,
  ): void {
    if (this.#options.collect === false) return;
    if (this.#outputs.concerns(msg_type, isOwn)) {
      this.#outputs.add(msg_type, content, weight);
    }
  }

  #note(said: ExecutionEvent): void {
    switch (said.type) {
      case "queued":
        this.#hasWaited = true;
        return;
      case "gap": // its end may be in it
        this.#gaps.push({ from: said.from, to: said.to });
        void this.#look();
        return;
      case "execute_reply":
        this.#reply = said;
        break;
      case "status":
        this.#isIdle ||= said.execution_state === "idle";
        this.#hasBegun ||= said.execution_state === "busy";
        break;
      case "input_request":
        this.#questions.heard(said.message);
        break;
      default:
        this.#hasBegun = true;
    }
    if (this.#reply !== undefined || this.#isIdle) this.#wonder();
  }

  #concludeOnceHeard(): void {
    if (this.#isConcluding || this.#stage === "over") return;
    // Under an id of its own it may be another's, until the server has said so.
    if (!this.#isAccepted && this.#options.execution_id !== undefined) return;
    if (this.#reply !== undefined && this.#isIdle) {
      this.#conclude(this.#reply.message.content);
    } else if (
      this.#ended !== undefined &&
      this.#seen >= (this.#ended.last_seq ?? 0)
    ) {
      const { reply, reason } = this.#ended;
      const said = this.#reply?.message.content ?? reply ?? {};
      this.#settle(said, { reason, status: statusOf(this.#ended) });
    }
  }

  #conclude(reply: Readonly<Record<string, unknown>>): void {
    const { reason } = reply;
    // Our own word for a kernel that cannot answer says why; a kernel's does not say who interrupted it.
    if (statusIn(reply) === "ok") this.#settle(reply, { reason: null });
    else if (typeof reason === "string") {
      this.#settle(reply, { reason: reason as EndReason });
    } else {
      this.#isConcluding = true;
      void this.#settleByServer(reply);
    }
  }

  async #settleByServer(
    reply: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    let reason: EndReason | null = null;
    try {
      ({ reason } = await this.#ask());
    } catch {
      // It is forgotten, or nobody can be asked any more: how it ended is known.
    }
    this.#settle(reply, { reason });
  }

  #settle(
    reply: Readonly<Record<string, unknown>>,
    how: { readonly reason: EndReason | null; readonly status?: ReplyStatus },
  ): void {
    const hadKernel = this.#hasBegun || !this.#hasWaited;
    if (how.reason === "kernel_exited" && hadKernel) {
      const { session_id } = this.#feed;
      this.#over(() => this.#fail(kernelExited(session_id, reply)));
      return;
    }
    const result = resultOf({
      ...how,
      msg_id: this.execution_id,
      reply,
      outputs: this.#outputs.list,
      gaps: this.#gaps,
      is_clipped: this.#outputs.isClipped,
    });
    this.#over(() => this.#succeed(result));
  }

  /** Something of its end has not come: the server is asked, once nothing more comes. */
  #wonder(): void {
    this.#doubt ??= setTimeout(() => {
      this.#doubt = undefined;
      if (this.#stage === "over") return;
      if (Date.now() - this.#heardAt < DOUBT_MS) this.#wonder();
      else void this.#look();
    }, DOUBT_MS);
  }

  async #look(): Promise<void> {
    try {
      const known = await this.#ask();
      if (isOver(known)) {
        this.#ended = known;
        this.#concludeOnceHeard();
      } else if (this.#reply !== undefined || this.#isIdle) this.#wonder();
    } catch (error) {
      const isForgotten =
        error instanceof SupervisorError &&
        error.reason === "execution_not_found";
      if (!isForgotten || !this.#isAccepted) return; // the rest the feed hears of, too
      const { session_id } = this.#feed;
      const why = "in what is still kept of its journal";
      const failed = failure("no_answer", { session_id, why });
      this.#over(() => this.#fail(failed));
    }
  }

  #ask(): Promise<Description> {
    const { execution_id } = this;
    const { session_id } = this.#feed;
    return this.#line.askPatiently(() =>
      this.#line.trpc.executions.get.query({ session_id, execution_id }),
    );
  }

  #succeed(result: ExecutionResult): void {
    this.#resolve(result);
    this.#backlog.end();
  }

  #fail(error: unknown): void {
    this.#reject(error);
    this.#backlog.end();
  }

  #over(how: () => void): void {
    if (this.#stage === "over") return;
    this.#stage = "over";
    clearTimeout(this.#doubt);
    this.#questions.settle(Infinity);
    how();
    this.#accept(false); // unless it was
    this.#finish();
  }
}
