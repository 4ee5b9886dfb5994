/**
 * An execution that is there already, whoever asked for it: it is read by
 * reference, from the server's record of it and from the journal. Nothing is
 * asked before somebody wants to know something.
 */
import { failure } from "../contract/errors.ts";
import type { Execution as Description } from "../contract/index.ts";
import { type ExecutionEvent, toEventOf } from "./execution-event.ts";
import {
  type ExecutionResult,
  isOver,
  kernelExited,
  resultOf,
  sessionReplaced,
  statusOf,
} from "./execution-result.ts";
import type { Feed } from "./feed.ts";
import { Questions } from "./questions.ts";
import { BEGINNING, read, subscribe } from "./reader.ts";
import { whileWanted } from "./wait.ts";

export interface AttachOptions {
  /** Whether `outputs` are fetched for whoever awaits; true unless said. */
  readonly collect?: boolean | undefined;
  /** Ends the waiting and the listening here, with the signal's reason. The code goes on. */
  readonly signal?: AbortSignal | undefined;
}

export class FoundExecution {
  readonly execution_id: string;
  readonly code = undefined;
  readonly accepted = Promise.resolve(true);
  readonly questions = new Questions({ areHeard: false });
  readonly #feed: Feed;
  readonly #options: AttachOptions;
  #end: Promise<ExecutionResult> | undefined;
  #isOver = false;

  constructor(feed: Feed, execution_id: string, options: AttachOptions) {
    this.#feed = feed;
    this.execution_id = execution_id;
    this.#options = options;
  }

  ended(): Promise<ExecutionResult> {
    this.#end ??= this.#whileAttached((signal) => this.#conclude(signal));
    return this.#end;
  }

  /** As far as is known. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** It has been sent by whoever began it. */
  withdraw(): boolean {
    return false;
  }

  hold(done: Promise<unknown>): void {
    this.#feed.holdUntil(done);
  }

  /** From its beginning to its end, as often as somebody wants to hear it. */
  async *events(): AsyncGenerator<ExecutionEvent, void> {
    const { execution_id, questions } = this;
    const { line, session_id } = this.#feed;
    const { signal, leave } = this.#attach();
    try {
      const { last_seq, input_request } = await this.#ask(signal);
      questions.settle((input_request?.seq ?? (last_seq ?? 0) + 1) - 1);
      questions.areHeard = true;
      const source = { session_id, execution_id };
      const all = { after: BEGINNING, signal };
      for await (const event of read(line, source, all)) {
        if (event.kind === "journal") throw sessionReplaced(session_id, true);
        const said = toEventOf(event, execution_id);
        if (said?.type === "input_request") questions.heard(said.message);
        if (said !== undefined) yield said;
      }
      await this.#over(signal);
    } finally {
      leave();
    }
  }

  async #conclude(signal: AbortSignal): Promise<ExecutionResult> {
    const over = await this.#over(signal);
    const { reply, reason } = over;
    const kept =
      this.#options.collect === false ? nothing : await this.#outputs(signal);
    return resultOf({
      ...kept,
      msg_id: this.execution_id,
      reply: reply ?? {},
      status: statusOf(over),
      reason,
    });
  }

  async #outputs(signal: AbortSignal) {
    const { execution_id } = this;
    const { line, session_id } = this.#feed;
    const { outputs, gaps, is_clipped, clipped, refused } = await whileWanted(
      line.askPatiently(() =>
        line.trpc.executions.outputs.query({ session_id, execution_id }),
      ),
      signal,
    );
    return { outputs, gaps, is_clipped, clipped, refused };
  }

  /** Resolves when it is over. Throws `kernel_exited` where its kernel went away under it. */
  async #over(signal: AbortSignal): Promise<Description> {
    const { session_id } = this.#feed;
    let known = await this.#ask(signal);
    if (!isOver(known)) {
      await this.#ended(known.last_seq ?? 0, signal);
      known = await this.#ask(signal);
    }
    if (!isOver(known)) {
      const why = "to its end: the server ends";
      throw failure("no_answer", { session_id, why });
    }
    this.#isOver = true;
    this.questions.settle(Infinity);
    if (known.reason === "kernel_exited" && known.started_at !== null) {
      throw kernelExited(session_id, known.reply);
    }
    return known;
  }

  /** Follows it for its end alone: that is heard through lost connections, however long it takes. */
  #ended(after: number, signal: AbortSignal): Promise<void> {
    const { execution_id } = this;
    const { line, session_id } = this.#feed;
    let stop = () => {};
    const end = new Promise<void>((resolve, reject) => {
      const place = { journal_id: undefined, seq: after };
      stop = subscribe(line, { session_id, execution_id }, place, {
        heard(event) {
          if (event.kind !== "journal") return;
          reject(sessionReplaced(session_id, true));
        },
        ended: (error) => (error === undefined ? resolve() : reject(error)),
      });
    });
    return whileWanted(end, signal).finally(() => stop());
  }

  #ask(signal: AbortSignal): Promise<Description> {
    const { execution_id } = this;
    const { line, session_id } = this.#feed;
    return whileWanted(
      line.askPatiently(() =>
        line.trpc.executions.get.query({ session_id, execution_id }),
      ),
      signal,
    );
  }

  async #whileAttached<T>(use: (signal: AbortSignal) => Promise<T>) {
    const { signal, leave } = this.#attach();
    try {
      return await use(signal);
    } finally {
      leave();
    }
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

const nothing = {
  outputs: [],
  gaps: [],
  is_clipped: false,
  clipped: null,
  refused: [],
};
