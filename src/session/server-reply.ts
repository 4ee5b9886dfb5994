/** Answers a request in place of the kernel. */
import { compose, type Message } from "../jupyter/message.ts";

/** A reply with this content, and the `idle` status that follows it. */
export function serverReply(
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
