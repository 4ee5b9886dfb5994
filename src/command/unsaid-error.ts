/**
 * An error that the kernel told in its reply alone, as ipykernel does where its
 * text cannot be sent as an output: as the event that would have told it.
 */
import { errorIn } from "../../outputs/outputs.ts";
import type { ExecutionEvent } from "../../client/index.ts";

export class UnsaidError {
  #reply: Extract<ExecutionEvent, { type: "execute_reply" }> | undefined;
  #isSaid = false;

  hear(event: ExecutionEvent): void {
    if (event.type === "error") this.#isSaid = true;
    if (event.type === "execute_reply") this.#reply = event;
  }

  /** When all is heard: reply and outputs come in any order. */
  get event(): ExecutionEvent | undefined {
    const reply = this.#reply;
    if (this.#isSaid || reply?.status !== "error") return undefined;
    const { seq, message } = reply;
    return { seq, type: "error", ...errorIn(message.content), message };
  }
}
