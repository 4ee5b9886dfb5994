/** The replies that callers wait for, by the `msg_id` of the request. */
import { failure } from "../../contract/index.ts";
import type { Message } from "../jupyter/message.ts";
import type { Entry } from "../journal/entry.ts";

export interface Replies {
  /** Calls `send`, and resolves with the reply. Rejects with `no_answer` at the timeout, with the error that `send` throws, or as the methods below say. */
  await(request: Message, timeout_ms: number, send: () => void): Promise<Entry>;
  /** The ids of the requests that wait. */
  ids(): readonly string[];
  isAwaited(msg_id: string): boolean;
  received(msg_id: string, reply: Entry): void;
  /** The reply arrived and was refused: rejects with `bad_answer`. */
  refused(msg_id: string, why: string): void;
  /** The kernel is gone, or did not start: rejects with `kernel_exited`. */
  kernelGone(msg_id: string, why: string): void;
}

interface PendingReply {
  readonly resolve: (reply: Entry) => void;
  readonly reject: (failure: Error) => void;
}

export function repliesOf(session_id: string): Replies {
  const awaited = new Map<string, PendingReply>();
  return {
    async await({ header: { msg_id, msg_type } }, timeout_ms, send) {
      let timer: NodeJS.Timeout | undefined;
      try {
        return await new Promise<Entry>((resolve, reject) => {
          awaited.set(msg_id, { resolve, reject });
          timer = setTimeout(() => {
            const why = `the ${msg_type} within ${timeout_ms / 1000} s`;
            reject(failure("no_answer", { session_id, why }));
          }, timeout_ms);
          send();
        });
      } finally {
        clearTimeout(timer);
        awaited.delete(msg_id);
      }
    },
    ids: () => [...awaited.keys()],
    isAwaited: (msg_id) => awaited.has(msg_id),
    received(msg_id, reply) {
      awaited.get(msg_id)?.resolve(reply.copy());
    },
    refused(msg_id, why) {
      const refusal = failure("bad_answer", { session_id, why });
      awaited.get(msg_id)?.reject(refusal);
    },
    kernelGone(msg_id, why) {
      const gone = failure("kernel_exited", { session_id, why });
      awaited.get(msg_id)?.reject(gone);
    },
  };
}
