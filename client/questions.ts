/**
 * What code has asked, and which of its questions want no answer any more.
 * Whoever reads an execution from its beginning meets questions that were
 * answered long ago: an answer given to one of those would go to the next.
 */
import type { ExecutionEvent } from "./execution-event.ts";

interface Question {
  readonly seq: number;
  readonly header: { readonly msg_id: string };
}

export class Questions {
  /** Whether every question is heard here, so that none is open that is not known. */
  areHeard: boolean;
  #last: Question | undefined;
  /** Questions up to this number are settled. */
  #settled = 0;

  constructor({ areHeard }: { readonly areHeard: boolean }) {
    this.areHeard = areHeard;
  }

  /** The one that waits for an answer, as far as is known. */
  get open(): Question | undefined {
    return this.#last !== undefined && this.#last.seq > this.#settled
      ? this.#last
      : undefined;
  }

  /** Code asks one thing at a time: a new question means that the one before is settled. */
  heard(question: Question): void {
    if (this.#last !== undefined && this.#last.seq >= question.seq) return;
    if (this.#last !== undefined) this.settle(this.#last.seq);
    this.#last = question;
  }

  /** Up to this number of the journal. */
  settle(seq: number): void {
    this.#settled = Math.max(this.#settled, seq);
  }

  /** As whoever listens is told it now. */
  told(said: ExecutionEvent): ExecutionEvent {
    if (said.type !== "input_request") return said;
    return { ...said, answered: said.seq <= this.#settled };
  }
}
