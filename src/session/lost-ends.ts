/**
 * Executions whose ends may have been lost together with other events of the
 * kernel. A kernel answers the requests of its main shell in order. So when it
 * answers a request that it got after the code, the code is over.
 */
import type { Message } from "../jupyter/message.ts";
import type { Execution } from "./executions/execution.ts";

export class LostEnds {
  readonly #suspected = new Set<Execution>();
  /** By the `msg_id` of the request that came after them. */
  readonly #asked = new Map<string, readonly Execution[]>();
  #isAsked = true;

  /** Whether the kernel was asked after the last loss. */
  get isAsked(): boolean {
    return this.#isAsked;
  }

  /** The requests whose executions the kernel was not asked about. */
  get suspected(): readonly Message[] {
    return [...this.#suspected].map(({ request }) => request);
  }

  /** Events were lost. */
  suspect(executions: Iterable<Execution>): void {
    this.#isAsked = false;
    for (const execution of executions) {
      const isSuspected = !execution.isOver && !execution.isInSubshell;
      if (isSuspected) this.#suspected.add(execution);
    }
  }

  /** Returns those that the kernel is to be asked about. */
  take(executions: readonly Execution[]): readonly Execution[] {
    return executions.filter((execution) => this.#suspected.delete(execution));
  }

  /** The kernel gets request `msg_id` after these. */
  asked(msg_id: string, executions: readonly Execution[]): void {
    this.#isAsked = true;
    this.#asked.set(msg_id, executions);
  }

  /** The kernel has answered a request. Returns the executions that are over. */
  answered(msg_id: string): readonly Execution[] {
    const over = this.#asked.get(msg_id) ?? [];
    this.#asked.delete(msg_id);
    return over;
  }

  /** The kernel is gone. */
  clear(): void {
    this.#suspected.clear();
    this.#asked.clear();
    this.#isAsked = true;
  }
}
