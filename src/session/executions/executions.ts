/**
 * The executions of one session: all that are not over, and the last ones that
 * are over. Their number and the bytes of their requests are limited; the oldest
 * are removed.
 */
import { failure } from "../../../contract/index.ts";
import { sizeOf } from "../../jupyter/message.ts";
import type { Execution } from "./execution.ts";

export interface HistoryLimits {
  /** Executions that are over. */
  readonly executions: number;
  /** Bytes of their requests. */
  readonly bytes: number;
}

export const HISTORY: HistoryLimits = {
  executions: 100,
  bytes: 16 * 1024 * 1024,
};

export class Executions implements Iterable<Execution> {
  readonly #limits: HistoryLimits;
  /** In the order in which they were accepted. */
  readonly #all = new Map<string, Execution>();
  /** The executions that are over, in the order of their ends. */
  readonly #over: Execution[] = [];
  #bytes = 0;
  #removed = 0;

  constructor(limits: HistoryLimits = HISTORY) {
    this.#limits = limits;
  }

  [Symbol.iterator](): IterableIterator<Execution> {
    return this.#all.values();
  }

  /** The number of executions that are no longer kept. */
  get forgotten(): number {
    return this.#removed;
  }

  /** The executions that the kernel runs. */
  get running(): readonly Execution[] {
    return [...this].filter(
      ({ state }) => state === "running" || state === "waiting_for_input",
    );
  }

  find(execution_id: string | undefined): Execution | undefined {
    return execution_id === undefined ? undefined : this.#all.get(execution_id);
  }

  /** Throws `execution_not_found`. */
  get(execution_id: string): Execution {
    const execution = this.#all.get(execution_id);
    if (execution === undefined) {
      throw failure("execution_not_found", { execution_id });
    }
    return execution;
  }

  add(execution: Execution): void {
    this.#all.set(execution.id, execution);
  }

  /** Removes an execution that was not accepted. */
  remove(execution: Execution): void {
    execution.dispose();
    this.#all.delete(execution.id);
  }

  /** An execution of an earlier process is no longer kept. */
  forget(): void {
    this.#removed += 1;
  }

  /** The execution is over. Removes the oldest ended executions beyond the limits. */
  ended(execution: Execution): void {
    this.#over.push(execution);
    this.#bytes += sizeOf(execution.request);
    while (
      this.#over.length > this.#limits.executions ||
      (this.#bytes > this.#limits.bytes && this.#over.length > 1)
    ) {
      const oldest = this.#over.shift();
      if (oldest === undefined) return;
      this.#bytes -= sizeOf(oldest.request);
      this.#all.delete(oldest.id);
      this.#removed += 1;
    }
  }

  dispose(): void {
    for (const execution of this) execution.dispose();
  }
}
