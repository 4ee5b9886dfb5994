/**
 * An error that the kernel told in its reply alone, as ipykernel does where its
 * text cannot be sent as an output: as the event that would have told it.
 */
import { errorIn } from "../../outputs/outputs.ts";
import type { ExecutionEvent } from "../../client/index.ts";

/** The events of one execution, and after them the error that none of them has told. */
export async function* withReplyError(
  events: AsyncIterable<ExecutionEvent>,
): AsyncGenerator<ExecutionEvent, void> {
  let hasError = false;
  let reply: Extract<ExecutionEvent, { type: "execute_reply" }> | undefined;
  for await (const event of events) {
    if (event.type === "error") hasError = true;
    if (event.type === "execute_reply") reply = event;
    yield event;
  }
  // Only now: reply and outputs come in any order.
  if (hasError || reply?.status !== "error") return;
  const { seq, message } = reply;
  yield { seq, type: "error", ...errorIn(message.content), message };
}
