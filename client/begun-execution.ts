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
import { SupervisorError } from "../contract/errors.ts";
import type { Execution as Description, Refused } from "../contract/index.ts";
import { Outputs, OUTPUTS_LIMIT } from "../outputs/outputs.ts";
import { Backlog } from "./backlog.ts";
import { Doubt } from "./doubt.ts";
import { type ExecuteOptions, executeRequest } from "./execute-request.ts";
import {
  isMessage,
  type Message,
  type SessionEvent,
  weightOf,
} from "./events.ts";
import {
  type EndReason,
  type ExecutionEvent,
  type ReplyStatus,
  statusIn,
  toEventOf,
} from "./execution-event.ts";
import {
  type ExecutionResult,
  type Gap,
  isOver,
  kernelExited,
  resultOf,
  sessionReplaced,
  statusOf,
  withdrawn,
} from "./execution-result.ts";
import { unless } from "./failure.ts";
import type { Feed } from "./feed.ts";
import { FoundExecution } from "./found-execution.ts";
import type { Line } from "./line.ts";
import { Questions } from "./questions.ts";
import { read } from "./reader.ts";
import { uuid } from "./uuid.ts";

/** Where the request is: not in line yet; in line, or with the server; done with. */
type Stage = "unsent" | "posted" | "over";

function isReplaced(error: unknown): boolean {
  return (
    error instanceof SupervisorError && error.reason === "session_replaced"
  );
}

function refusedIn({ msg_type, reason, size }: Refused): Refused {
  return { msg_type, reason, size };
}

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
  readonly #refused: Refused[] = [];
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
  /** How often it was sent. */
  #trips = 0;
  /** It was there before we asked, and what it said then is not on the feed. */
  #found: FoundExecution | undefined;
  #hasWaited = false;
  #hasBegun = false;
  #isIdle = false;
  #isSaidToBeOver = false;
  #reply: Reply | undefined;
  /** The last number that was heard of it. */
  #seen = 0;
  #isConcluding = false;
  /** Something of its end has not come: the server is asked, once nothing more comes. */
  readonly #doubt = new Doubt(() => void this.#look());
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
      await this.#feed.turn();
      if (this.#stage !== "unsent") return;
      const { seq: seen } = this.#feed.seen;
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

  hold(done: Promise<unknown>): void {
    this.#feed.holdUntil(done);
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
  async *#readAgain(lostAfter: number): AsyncGenerator<ExecutionEvent, void> {
    const { execution_id } = this;
    const { session_id, seen: place } = this.#feed;
    const { signal } = this.#options;
    let seen = lostAfter;
    const { journal_id } = place;
    const rest = () => ({ after: { journal_id, seq: seen }, signal });
    try {
      const source = { session_id, execution_id };
      for await (const event of read(this.#line, source, rest())) {
        if (event.kind === "journal") throw sessionReplaced(session_id, true);
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
    for await (const event of read(this.#line, { session_id }, rest())) {
      if (event.kind === "journal") return; // what it said went with the one before
      const said = toEventOf(event, execution_id);
      if (said !== undefined) yield said;
      if (event.seq >= this.#seen) return;
    }
  }

  /** Resolves with the first number that it caused, where it caused one already. */
  async #post(): Promise<number | null> {
    try {
      const { session_id } = this.#feed;
      const { execution_id, code } = this;
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
      if (isReplaced(error)) {
        // This time it was refused; it may have come through before.
        throw sessionReplaced(this.#feed.session_id, this.#trips > 1);
      }
      unless("execution_not_found")(error);
      // It was accepted before, and is forgotten: its end is on its way to us, unless it was long ago.
      this.#doubt.begin();
      return null;
    }
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
    if (event.kind === "journal") {
      // What was not accepted is on its way, and the server refuses it.
      if (this.#isAccepted) {
        const error = sessionReplaced(this.#feed.session_id, true);
        this.#over(() => this.#fail(error));
      }
      return;
    }
    const said = toEventOf(event, this.execution_id);
    if (said === undefined) {
      if (isMessage(event)) this.#keep(event, false, 0); // another's, of a display here
      return;
    }
    const weight = weightOf(event);
    if (isMessage(event)) this.#keep(event, true, weight);
    this.#seen = event.seq;
    this.#doubt.heard();
    this.#note(said);
    this.#backlog.push(said, weight);
    this.#concludeOnceHeard();
  }

  #keep({ msg_type, content }: Message, isOwn: boolean, weight: number): void {
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
      case "running":
        return;
      case "ended":
        this.#isSaidToBeOver = true;
        return;
      case "gap": // its end may be in it
        this.#gaps.push({ from: said.from, to: said.to });
        void this.#look();
        return;
      case "unreadable": // likewise
        this.#gaps.push({ from: said.seq, to: said.seq });
        void this.#look();
        return;
      case "refused":
        this.#refused.push(refusedIn(said));
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
    if (this.#reply !== undefined || this.#isIdle) this.#doubt.begin();
  }

  #concludeOnceHeard(): void {
    if (this.#isConcluding || this.#stage === "over") return;
    // Under an id of its own it may be another's, until the server has said so.
    if (!this.#isAccepted && this.#options.execution_id !== undefined) return;
    if (this.#isSaidToBeOver) {
      this.#conclude(this.#reply?.message.content ?? { status: "ok" });
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
    const status = statusIn(reply);
    if (status === "ok") this.#settle(reply, { reason: null });
    else if (status === "aborted" && typeof reason === "string") {
      // The server's own word, for what will not run, says why; a kernel's does not say who interrupted it.
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
      clipped: this.#outputs.clipped,
      refused: this.#refused,
    });
    this.#over(() => this.#succeed(result));
  }

  async #look(): Promise<void> {
    try {
      const known = await this.#ask();
      if (isOver(known)) {
        this.#ended = known;
        this.#concludeOnceHeard();
      } else if (this.#reply !== undefined || this.#isIdle) this.#doubt.begin();
    } catch (error) {
      const isForgotten =
        error instanceof SupervisorError &&
        error.reason === "execution_not_found";
      if (!isForgotten || !this.#isAccepted) return; // the rest the feed hears of, too
      await this.#hearAll();
      this.#over(() => this.#fail(error));
    }
  }

  /** What the server has forgotten is over: its end is among what is said by now, where it is anywhere. */
  async #hearAll(): Promise<void> {
    const { session_id } = this.#feed;
    const { last_seq } = await this.#line.askPatiently(() =>
      this.#line.trpc.sessions.get.query({ session_id }),
    );
    await this.#feed.heardUpTo(last_seq);
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
    this.#doubt.stop();
    this.#questions.settle(Infinity);
    how();
    this.#accept(false); // unless it was
    this.#finish();
  }
}
