/** Encodes journal entries for clients of Jupyter's protocols: messages, and those of the server's own events that these protocols can express. */
import { randomUUID } from "node:crypto";
import type { OwnEvent } from "../../../../contract/index.ts";
import { Entry } from "../../../journal/entry.ts";
import type { Channel, Message } from "../../../jupyter/message.ts";
import { compose } from "../../../jupyter/message.ts";
import type { Session } from "../../../session/session.ts";
import type { Codec } from "../../relay.ts";
import { type KernelProtocol, outgoing } from "./frames.ts";

/** The states that Jupyter's clients accept in a `status` message. */
export type KernelState = "starting" | "idle" | "busy" | "restarting" | "dead";

interface Candidate {
  readonly seq: number;
  readonly channel: Channel;
  readonly parent_id: string | undefined;
}

export interface CodecOptions {
  /** Whether the client is to receive this message. */
  readonly isForClient: (message: Candidate) => boolean;
}

export function codecOf(
  session: Session,
  protocol: KernelProtocol,
  { isForClient }: CodecOptions,
): Codec {
  return {
    encode({ reading }, put) {
      if (!("entries" in reading)) return;
      const { slab, from, to, last, size } = reading.entries;
      const pieces: Buffer[] = [];
      for (let row = from; row < to; row += 1) {
        if (slab.isEvent(row)) {
          if (slab.typeOf(row) !== "status") continue;
          const state = stateIn(new Entry(slab, row).event, session);
          if (state !== undefined) {
            pieces.push(...protocol.encode(outgoing(statusMessage(state))));
          }
          continue;
        }
        const candidate = {
          seq: slab.first + row,
          channel: slab.channelOf(row),
          parent_id: slab.parentOf(row),
        };
        if (isForClient(candidate)) {
          pieces.push(...protocol.encode(new Entry(slab, row)));
        }
      }
      put(pieces.length === 0 ? undefined : pieces, last, size, slab);
    },
  };
}

/**
 * The Jupyter state for a change of the session's status. Busy and idle are left
 * out, because the kernel's own messages report them.
 */
function stateIn(event: OwnEvent, session: Session): KernelState | undefined {
  if (event.kind !== "status") return undefined;
  switch (event.status) {
    case "starting":
      return "starting";
    case "ready":
      return "idle"; // the kernel's own messages about this have the server's request as their parent
    case "exited":
      if (session.isAutorestarted) return "restarting";
      // A client that restarts a kernel knows that it restarts. It would take "restarting" for a crash, and connect again.
      return session.isRunning || session.isRestarting ? undefined : "dead";
    default:
      return undefined;
  }
}

/** A `status` message that the server writes itself. Default: without a parent. */
export function statusMessage(
  execution_state: KernelState,
  parent?: Message,
): Message {
  return compose({
    channel: "iopub",
    msg_type: "status",
    content: { execution_state },
    session: SERVER,
    username: "kernel",
    parent,
  });
}

/** The `session` in the headers that the server writes. */
const SERVER = randomUUID();
