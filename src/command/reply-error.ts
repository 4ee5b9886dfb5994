/**
 * Adds an error event for an error that the kernel sends only in its reply, as
 * ipykernel does if the text cannot be sent as an output.
 */
import { errorIn } from "../../outputs/outputs.ts";
import type { ExecutionEvent } from "../../client/index.ts";

/** Yields the events of one execution, and then the reply's error if no event had an error. */
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
  // Only at the end: reply and outputs arrive in any order.
  if (hasError || reply?.status !== "error") return;
  const { seq, message } = reply;
  yield { seq, type: "error", ...errorIn(message.content), message };
}
