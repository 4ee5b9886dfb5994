/**
 * Code on its way through a kernel: to be awaited, or to be listened to.
 *
 * It is over when its reply and its idle have both been heard, in either
 * order: they travel on different sockets. An error in the code is an outcome,
 * not a failure; what rejects is that nobody can answer any more.
 */
import { failure } from "../contract/errors.ts";
import type { Header, MimeBundle, Output } from "../contract/index.ts";
import { errorIn, Outputs, OUTPUTS_LIMIT } from "../contract/outputs.ts";
import { isMessage, type SessionEvent, weightOf } from "./events.ts";
import {
  type ExecutionEvent,
  type ReplyStatus,
  toExecutionEvent,
  toOwnExecutionEvent,
} from "./execution-event.ts";
import type { Feed } from "./feed.ts";
import type { Line } from "./line.ts";
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
  /** Whether `outputs` are kept for whoever awaits; true unless said. For output without end, listen instead. */
  readonly collect?: boolean | undefined;
  /** Interrupts the code, and rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

interface Ended {
  readonly msg_id: string;
  readonly execution_count: number | null;
  /** In nbformat's shapes. */
  readonly outputs: readonly Output[];
  /** The value of the last expression, where there is one. */
  readonly result: MimeBundle | undefined;
  /** The content of the kernel's reply. */
  readonly reply: Readonly<Record<string, unknown>>;
}

/** How code ended. `aborted`: it did not run, because what ran before it failed or was interrupted. */
export type ExecutionResult =
  | (Ended & { readonly status: "ok" | "aborted"; readonly error?: undefined })
  | (Ended & { readonly status: "error"; readonly error: CodeError });

export interface CodeError {
  readonly ename: string;
  readonly evalue: string;
  readonly traceback: readonly string[];
}

/** What may wait for whoever listens; estimated bytes. What comes later is read again from the journal. */
const MOST_WAITING = 8 * 1024 * 1024;
/** How long the news of a kernel's end may take, once its end is all that an answer can mean. */
const NEWS_OF_EXIT_MS = 5_000;

/** Where the request is: not in line yet, in line or with the server, with the kernel, done with. */
type Stage = "unsent" | "posted" | "running" | "over";
type ExitedEvent = Extract<SessionEvent, { kind: "exited" }>;

export class Execution
  implements PromiseLike<ExecutionResult>, AsyncIterable<ExecutionEvent>
{
  /** Of the `execute_request`: the parent of everything that the code says. */
  readonly msg_id = uuid();
  readonly code: string;
  readonly #line: Line;
  readonly #feed: Feed;
  readonly #options: ExecuteOptions;
  readonly #outputs = new Outputs(OUTPUTS_LIMIT);
  readonly #end: Promise<ExecutionResult>;
  /** Resolves when there is nothing more to hear, even if whoever waits has been told before. */
  readonly #finished: Promise<void>;
  #resolve!: (result: ExecutionResult) => void;
  #reject!: (error: unknown) => void;
  #finish!: () => void;
  #stage: Stage = "unsent";
  #isAccepted = false;
  #wasQueued = false;
  #interruptsAtStart = false;
  #isIdle = false;
  #reply: Extract<ExecutionEvent, { type: "execute_reply" }> | undefined;
  #question: Header | undefined;
  /** What nobody has listened to yet. */
  #waiting: ExecutionEvent[] = [];
  #weight = 0;
  /** The number after which the journal has to be read again; nothing waits beyond it. */
  #lostAfter: number | undefined;
  /** The signs of the end that whoever listens has been told, or is about to be. */
  readonly #told = { reply: false, idle: false };
  #isListenedTo = false;
  #isIgnored = false;
  #wake: () => void = () => {};
  #outcome: { readonly error?: unknown } | undefined;
  #news: ReturnType<typeof setTimeout> | undefined;

  constructor(line: Line, feed: Feed, code: string, options: ExecuteOptions) {
    this.#line = line;
    this.#feed = feed;
    this.code = code;
    this.#options = options;
    this.#end = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#finished = new Promise((resolve) => (this.#finish = resolve));
    this.#end.catch(() => {}); // who only listens hears of it there
    void this.#run(); // its failure is the execution's
  }

  then<A = ExecutionResult, B = never>(
    fulfilled?: ((result: ExecutionResult) => A | PromiseLike<A>) | null,
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#end.then(fulfilled, rejected);
  }

  catch<B = never>(
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<ExecutionResult | B> {
    return this.#end.catch(rejected);
  }

  finally(settled?: (() => void) | null): Promise<ExecutionResult> {
    return this.#end.finally(settled);
  }

  /** Everything that is said on its behalf, in order, until it is over. Once: a second loop is an error. */
  async *[Symbol.asyncIterator](): AsyncGenerator<ExecutionEvent, void> {
    if (this.#isListenedTo) {
      throw new Error("An execution is listened to once: keep what you need");
    }
    this.#isListenedTo = true;
    try {
      for (;;) {
        const taken = this.#waiting;
        this.#waiting = [];
        this.#weight = 0;
        yield* taken;
        if (this.#waiting.length > 0) continue;
        if (this.#lostAfter !== undefined) {
          yield* this.#readAgain(this.#lostAfter);
          return;
        }
        if (this.#outcome !== undefined) {
          if ("error" in this.#outcome) throw this.#outcome.error;
          return;
        }
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      this.#isIgnored = true;
      this.#waiting = [];
    }
  }

  /** Answers what the code asked for. Resolves once the server has the answer. Throws where nothing was asked. */
  async answer(text: string): Promise<void> {
    const question = this.#question;
    if (question === undefined) {
      throw new Error("The code has not asked for anything");
    }
    this.#question = undefined;
    await this.#line.outbox.post({
      session_id: this.#feed.session_id,
      channel: "stdin",
      header: { msg_id: uuid(), msg_type: "input_reply" },
      parent_header: question,
      content: { value: text, status: "ok" },
    });
  }

  /**
   * Stops this code, and only this: what runs is interrupted, what has not been
   * sent is withdrawn, what waits its turn is interrupted when that comes.
   * Resolves once that has been asked for. It ends as the kernel says.
   */
  async interrupt(): Promise<void> {
    if (this.#withdraw()) return;
    if (this.#stage === "posted") this.#interruptsAtStart = true;
    if (this.#stage === "running") await this.#interruptNow();
  }

  /** Takes the request back. False where the server has it already: it then runs in its turn, unless it is interrupted. */
  cancel(): boolean {
    return this.#withdraw();
  }

  async #run(): Promise<void> {
    const { signal } = this.#options;
    const abort = () => {
      this.#fail(signal?.reason);
      this.interrupt().catch(() => {}); // whoever aborted has been told, and waits no more
    };
    let leave = () => {};
    try {
      signal?.throwIfAborted();
      signal?.addEventListener("abort", abort);
      await this.#feed.open();
      if (this.#stage !== "unsent") return;
      leave = this.#feed.expect(this.msg_id, {
        heard: (event) => this.#heard(event),
        ended: (error) => this.#over(() => this.#fail(error)),
      });
      this.#stage = "posted";
      await this.#line.outbox.post(this.#request());
      this.#isAccepted = true;
      await this.#finished;
    } catch (error) {
      this.#over(() => this.#fail(error));
    } finally {
      leave();
      signal?.removeEventListener("abort", abort);
    }
  }

  #request() {
    const { silent = false, metadata } = this.#options;
    const { store_history = !silent, allow_stdin = true } = this.#options;
    const { stop_on_error = true, user_expressions = {} } = this.#options;
    return {
      session_id: this.#feed.session_id,
      channel: "shell" as const,
      header: { msg_id: this.msg_id, msg_type: "execute_request" },
      ...(metadata !== undefined && { metadata }),
      content: {
        code: this.code,
        silent,
        store_history,
        user_expressions,
        allow_stdin,
        stop_on_error,
      },
    };
  }

  #heard(event: SessionEvent): void {
    if (this.#stage === "over") return;
    if (event.kind === "exited") {
      this.#died(event);
      return;
    }
    if (!isMessage(event)) {
      const said = toOwnExecutionEvent(event, this.msg_id);
      if (said?.type === "queued") this.#wasQueued = true;
      if (said?.type === "gap") void this.#missed(said);
      if (said !== undefined) this.#tell(said, event);
      return;
    }
    const said = toExecutionEvent(event);
    const isOurs = event.parent_header?.msg_id === this.msg_id;
    const { msg_type, content } = event;
    const isKept = this.#options.collect !== false;
    if (isKept && this.#outputs.concerns(msg_type, isOurs)) {
      this.#outputs.add(msg_type, content, weightOf(event));
    }
    if (!isOurs) return;
    if (said.type !== "execute_reply" && this.#stage !== "running") {
      const isStart = said.type !== "status" || said.execution_state === "busy";
      if (isStart) this.#started();
    }
    if (said.type === "input_request") this.#question = event.header;
    this.#tell(said, event);
    if (said.type === "execute_reply") this.#reply = said;
    this.#isIdle ||= said.type === "status" && said.execution_state === "idle";
    if (this.#reply !== undefined && this.#isIdle) this.#answered(this.#reply);
  }

  #started(): void {
    this.#stage = "running";
    if (this.#interruptsAtStart) {
      this.#interruptNow().catch(() => {}); // it ended meanwhile, and that is said as ever
    }
  }

  #answered(reply: Extract<ExecutionEvent, { type: "execute_reply" }>): void {
    const { status, execution_count, message } = reply;
    if (status === "aborted" && this.#isWordOfExit(message.header)) {
      this.#news ??= setTimeout(() => {
        const why = "as it seems; it did not say how";
        const { session_id } = this.#feed;
        this.#over(() =>
          this.#fail(failure("kernel_exited", { session_id, why })),
        );
      }, NEWS_OF_EXIT_MS);
      return;
    }
    const content: Readonly<Record<string, unknown>> = message.content;
    const ended = {
      msg_id: this.msg_id,
      execution_count,
      outputs: this.#outputs.list,
      result: resultIn(this.#outputs.list),
      reply: content,
    };
    this.#over(() => this.#succeed(resultOf(status, ended, content)));
  }

  /**
   * The supervisor answers for kernels that cannot any more, with a header of
   * the session's own. For a request that never waited, that means one thing.
   */
  #isWordOfExit({ session }: Header): boolean {
    return session === this.#feed.session_id && !this.#wasQueued;
  }

  #died({ signal, exit_code }: ExitedEvent): void {
    const why = signal ?? `exit code ${exit_code}`;
    const { session_id } = this.#feed;
    this.#over(() => this.#fail(failure("kernel_exited", { session_id, why })));
  }

  /** Its end may be in what is no longer kept. */
  async #missed({ from, to }: { from: number; to: number }): Promise<void> {
    const { session_id } = this.#feed;
    try {
      const { execution_queue: queue } = await this.#line.askPatiently(() =>
        this.#line.trpc.sessions.get.query({ session_id }),
      );
      const known = [queue.active, ...queue.pending];
      if (known.some((one) => one?.header.msg_id === this.msg_id)) return;
    } catch {
      return; // the feed will hear of it
    }
    if (!this.#isAccepted) return;
    const why = `in what is still kept: ${from} to ${to} of its journal are gone`;
    this.#over(() => this.#fail(failure("no_answer", { session_id, why })));
  }

  #tell(said: ExecutionEvent, event: SessionEvent): void {
    if (this.#isIgnored || this.#lostAfter !== undefined) return;
    this.#waiting.push(said);
    this.#noteEnd(said);
    this.#weight += weightOf(event);
    if (this.#weight > MOST_WAITING) this.#lostAfter = event.seq;
    this.#wake();
  }

  /** A reply may come before the outputs that it belongs to: they travel on different sockets. */
  #noteEnd(said: ExecutionEvent): void {
    this.#told.reply ||= said.type === "execute_reply";
    this.#told.idle ||=
      said.type === "status" && said.execution_state === "idle";
  }

  /** The listener was too slow for us to keep everything: the journal has it. */
  async *#readAgain(after: number): AsyncGenerator<ExecutionEvent, void> {
    const { session_id } = this.#feed;
    const { signal } = this.#options;
    if (this.#wasToldAll()) {
      await this.#end;
      return;
    }
    for await (const event of read(this.#line, session_id, { after, signal })) {
      const isOurs =
        isMessage(event) && event.parent_header?.msg_id === this.msg_id;
      const said = isOurs
        ? toExecutionEvent(event)
        : toOwnExecutionEvent(event, this.msg_id);
      if (said !== undefined) {
        yield said;
        this.#noteEnd(said);
      }
      if (this.#wasToldAll() || event.kind === "exited") break;
      if (event.kind === "gap" && this.#outcome !== undefined) break;
    }
    await this.#end;
  }

  #wasToldAll(): boolean {
    return this.#told.reply && this.#told.idle;
  }

  async #interruptNow(): Promise<void> {
    const { session_id } = this.#feed;
    await this.#line.ask(
      this.#line.trpc.sessions.interrupt.mutate({ session_id }),
    );
  }

  #withdraw(): boolean {
    const isOurs =
      this.#stage === "unsent" ||
      (this.#stage === "posted" && this.#line.outbox.withdraw(this.msg_id));
    if (!isOurs) return false;
    const reply = { status: "aborted" };
    this.#over(() =>
      this.#succeed({
        status: "aborted",
        msg_id: this.msg_id,
        execution_count: null,
        outputs: [],
        result: undefined,
        reply,
      }),
    );
    return true;
  }

  #succeed(result: ExecutionResult): void {
    this.#outcome ??= {};
    this.#resolve(result);
    this.#wake();
  }

  #fail(error: unknown): void {
    this.#outcome ??= { error };
    this.#reject(error);
    this.#wake();
  }

  #over(how: () => void): void {
    if (this.#stage === "over") return;
    this.#stage = "over";
    clearTimeout(this.#news);
    how();
    this.#finish();
  }
}

function resultIn(outputs: readonly Output[]): MimeBundle | undefined {
  return outputs.findLast(
    ({ output_type }) => output_type === "execute_result",
  )?.["data"] as MimeBundle | undefined;
}

function resultOf(
  status: ReplyStatus,
  ended: Ended,
  content: Readonly<Record<string, unknown>>,
): ExecutionResult {
  if (status !== "error") return { ...ended, status };
  return { ...ended, status, error: errorIn(content) };
}
