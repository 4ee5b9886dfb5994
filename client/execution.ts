/**
 * Code that was given to a session, as a program holds it: to be awaited, or to
 * be listened to, or both; answered, interrupted, taken back. It goes on
 * whoever leaves, and whoever knows its id finds it again.
 */
import { failure, SupervisorError } from "../contract/errors.ts";
import type { ExecutionEvent } from "./execution-event.ts";
import { type ExecutionResult, isOver } from "./execution-result.ts";
import { type ExecutionInfo, toInfo } from "./executions.ts";
import type { CallOptions, Line } from "./line.ts";
import type { Questions } from "./questions.ts";
import { uuid } from "./uuid.ts";
import { whileWanted } from "./wait.ts";

/** Where its end and its events come from: what is begun here is heard on the session's feed, what was found is read by reference. */
export interface ExecutionSource {
  readonly execution_id: string;
  readonly code: string | undefined;
  /** Resolves when it is known whether the server has it. */
  readonly accepted: Promise<boolean>;
  readonly isOver: boolean;
  readonly questions: Questions;
  /** Begins to wait, where that has not begun. */
  ended(): Promise<ExecutionResult>;
  events(): AsyncGenerator<ExecutionEvent, void>;
  /** Takes it back, where it has not been sent. */
  withdraw(): boolean;
  /** What is said to the session from now on is said once `done` has settled. */
  hold(done: Promise<unknown>): void;
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
  readonly #source: ExecutionSource;
  #isListenedTo = false;

  constructor(line: Line, session_id: string, source: ExecutionSource) {
    this.#line = line;
    this.#source = source;
    this.session_id = session_id;
    this.execution_id = source.execution_id;
    this.code = source.code;
  }

  /** Of the `execute_request`, the parent of everything that the code says: the same as `execution_id`. */
  get msg_id(): string {
    return this.execution_id;
  }

  then<A = ExecutionResult, B = never>(
    fulfilled?: ((result: ExecutionResult) => A | PromiseLike<A>) | null,
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#source.ended().then(fulfilled, rejected);
  }

  catch<B = never>(
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<ExecutionResult | B> {
    return this.#source.ended().catch(rejected);
  }

  finally(settled?: (() => void) | null): Promise<ExecutionResult> {
    return this.#source.ended().finally(settled);
  }

  /** Everything that is said on its behalf, from its beginning, in order, until it is over. Once: a second loop is an error. */
  async *[Symbol.asyncIterator](): AsyncGenerator<ExecutionEvent, void> {
    if (this.#isListenedTo) {
      throw new Error("An execution is listened to once: keep what you need");
    }
    this.#isListenedTo = true;
    for await (const said of this.#source.events()) {
      yield this.#source.questions.told(said);
    }
  }

  /** What the server knows of it: its state, its code, what it asks. */
  async info(options: CallOptions = {}): Promise<ExecutionInfo> {
    await this.#accepted(options);
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
    const { questions } = this.#source;
    const question = questions.open;
    if (question === undefined && questions.areHeard) {
      const why = `Execution ${this.execution_id} has not asked for anything, or it was answered`;
      throw failure("execution_state", { why });
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
      if (isRefusal(error)) questions.settle(question?.seq ?? 0); // somebody was faster
      throw error;
    }
    questions.settle(question?.seq ?? 0);
  }

  /**
   * Stops this code, and only this: what runs is interrupted, what waits its
   * turn is taken out of the line and never runs. Resolves once that has been
   * asked for, or at once where it is over. It ends as the kernel says. What
   * is executed after this was called is not dropped with it.
   */
  async interrupt(options: CallOptions = {}): Promise<void> {
    if (this.#source.withdraw() || this.#source.isOver) return;
    const asked = this.#interrupt(options);
    this.#source.hold(asked);
    await asked;
  }

  async #interrupt(options: CallOptions): Promise<void> {
    if (!(await whileWanted(this.#source.accepted, options.signal))) return;
    for (let attempt = 1; ; attempt += 1) {
      const failed = await this.#refused("interrupt", options);
      if (failed === undefined) return;
      if ((await this.#refused("cancel", options)) === undefined) return;
      // Its turn came between the two; or it is over, or beyond reach.
      if (isOver(await this.info(options))) return;
      if (attempt === MOST_ATTEMPTS) throw failed;
    }
  }

  /** Takes it back while it waits, here or in the server's queue: it then never runs. False where that is too late. */
  async cancel(options: CallOptions = {}): Promise<boolean> {
    if (this.#source.withdraw()) return true;
    if (this.#source.isOver) return false;
    if (!(await whileWanted(this.#source.accepted, options.signal))) {
      return false;
    }
    return (await this.#refused("cancel", options)) === undefined;
  }

  get #id() {
    const { session_id, execution_id } = this;
    return { session_id, execution_id };
  }

  /** The failure where its state does not allow it. */
  async #refused(
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

  /** Throws why the server does not have it. */
  async #accepted({ signal }: CallOptions): Promise<void> {
    const isThere = await whileWanted(this.#source.accepted, signal);
    if (!isThere) await this.#source.ended();
  }
}

/** Between being too early to interrupt and too late to cancel it can be caught once or twice. */
const MOST_ATTEMPTS = 3;

/** Its state does not allow what was asked. */
function isRefusal(error: unknown): error is SupervisorError {
  return error instanceof SupervisorError && error.reason === "execution_state";
}
