/** The messages with which a session answers a request in place of its kernel. */
import { compose, type Message } from "../jupyter/message.ts";

/** The reply to a request that will not run, or not to its end, and the `idle` status that follows it. */
export function abortedMessages(
  request: Message,
  content: Readonly<Record<string, unknown>>,
  from: { readonly session: string; readonly username: string },
): readonly [reply: Message, idle: Message] {
  const { channel, header } = request;
  const draft = { ...from, parent: request };
  const msg_type = header.msg_type.replace(/_request$/, "_reply");
  return [
    compose({ ...draft, channel, msg_type, content }),
    compose({
      ...draft,
      channel: "iopub",
      msg_type: "status",
      content: { execution_state: "idle" },
    }),
  ];
}
