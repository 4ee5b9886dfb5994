/**
 * Requests with a reply: sent like all messages, once and in order. The reply is
 * read from the session's feed, so it survives a lost connection, as outputs do.
 */
import type { MessageType } from "../contract/index.ts";
import { SupervisorError } from "../contract/reasons.ts";
import { errorIn } from "../outputs/outputs.ts";
import {
  isMessage,
  isMessageType,
  type Message,
  type MessageOf,
} from "./events.ts";
import { failure, KernelError } from "./failure.ts";
import type { Feed } from "./feed.ts";
import type { ServerLink } from "./server-link.ts";
import { uuid } from "./uuid.ts";

export interface RequestOptions {
  readonly channel?: "shell" | "control" | undefined;
  /** Milliseconds until `no_answer`; default: 10 000. */
  readonly timeout_ms?: number | undefined;
  /** Stops the wait, without a message to the kernel. */
  readonly signal?: AbortSignal | undefined;
}

const TIMEOUT_MS = 10_000;

export type RequestType = `${string}_request`;
/** The reply to a request, if the protocol defines it. */
export type ReplyTo<T extends RequestType> = T extends `${infer Name}_request`
  ? `${Name}_reply` extends infer Reply extends MessageType
    ? MessageOf<Reply>
    : Message
  : never;

/**
 * Rejects with a `KernelError` if the kernel answers with an error, with
 * `kernel_exited` if it has ended, with `no_answer` if it does not answer.
 */
export async function request<T extends RequestType>(
  link: ServerLink,
  feed: Feed,
  { msg_type, content }: KernelRequest<T>,
  options: RequestOptions = {},
): Promise<ReplyTo<T>> {
  const { channel = "shell", timeout_ms = TIMEOUT_MS, signal } = options;
  const { session_id } = feed;
  signal?.throwIfAborted();
  const msg_id = uuid();
  const ends: (() => void)[] = [];
  try {
    return await new Promise<ReplyTo<T>>((resolve, reject) => {
      const timer = setTimeout(() => {
        link.withdraw(msg_id);
        const why = `the ${msg_type} within ${timeout_ms / 1000} s`;
        reject(failure("no_answer", { session_id, why }));
      }, timeout_ms);
      ends.push(() => clearTimeout(timer));
      const abort = () => {
        link.withdraw(msg_id);
        reject(signal?.reason as Error);
      };
      signal?.addEventListener("abort", abort);
      ends.push(() => signal?.removeEventListener("abort", abort));
      const send = async () => {
        await feed.open();
        ends.push(feed.expect(msg_id, { onEvent, ended: reject }));
        await link.send({
          session_id,
          ...feed.target,
          channel,
          header: { msg_id, msg_type },
          content,
        });
      };
      const onEvent: Parameters<Feed["expect"]>[1]["onEvent"] = (event) => {
        if (event.kind === "exited") {
          const why = event.signal ?? `exit code ${event.exit_code}`;
          reject(failure("kernel_exited", { session_id, why }));
        }
        if (event.kind === "journal") {
          link.withdraw(msg_id);
          const why = `the ${msg_type} was for the earlier session`;
          reject(failure("session_replaced", { session_id, why }));
        }
        if (!isMessage(event) || event.channel === "iopub") return;
        if (event.parent_header?.msg_id !== msg_id) return;
        if (!event.msg_type.endsWith("_reply")) return;
        const failed = errorFrom(event);
        if (failed !== undefined) reject(failed);
        else resolve(event as ReplyTo<T>); // the type of the protocol's reply; a reply that is not valid was refused above
      };
      send().catch(reject);
    });
  } finally {
    for (const end of ends) end();
  }
}

interface KernelRequest<T extends RequestType> {
  readonly msg_type: T;
  readonly content: Readonly<Record<string, unknown>>;
}

function errorFrom(reply: Message): Error | undefined {
  const content: Readonly<Record<string, unknown>> = reply.content;
  if (content["status"] === "error") {
    const { ename, evalue, traceback } = errorIn(content);
    return new KernelError(ename, evalue, traceback);
  }
  if (content["status"] === "aborted" || content["status"] === "abort") {
    return new KernelError("Aborted", "an earlier request failed");
  }
  if (reply.kind === "jupyter" || !isMessageType(reply.msg_type))
    return undefined;
  return new SupervisorError(
    "bad_message",
    `The kernel's ${reply.msg_type} is not valid by the protocol`,
  );
}
