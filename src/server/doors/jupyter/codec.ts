/** A journal as a client of Jupyter's protocols reads it: messages, and the server's own events as far as Jupyter has a word for them. */
import { randomUUID } from "node:crypto";
import type { OwnEvent } from "../../../../contract/index.ts";
import { Entry } from "../../../journal/entry.ts";
import type { Channel, Message } from "../../../jupyter/message.ts";
import { compose } from "../../../jupyter/message.ts";
import type { Session } from "../../../session/session.ts";
import type { Codec } from "../../relay.ts";
import { type KernelProtocol, outgoing } from "./frames.ts";

/** The states that clients of Jupyter take in a `status` message. */
export type KernelState = "starting" | "idle" | "busy" | "restarting" | "dead";

interface Passing {
  readonly seq: number;
  readonly channel: Channel;
  readonly parent_id: string | undefined;
}

export interface CodecOptions {
  /** Whether the client is to receive this message. */
  readonly isWanted: (message: Passing) => boolean;
}

export function codecOf(
  session: Session,
  protocol: KernelProtocol,
  { isWanted }: CodecOptions,
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
        const passing = {
          seq: slab.first + row,
          channel: slab.channelOf(row),
          parent_id: slab.parentOf(row),
        };
        if (isWanted(passing)) {
          pieces.push(...protocol.encode(new Entry(slab, row)));
        }
      }
      put(pieces.length === 0 ? undefined : pieces, last, size, slab);
    },
  };
}

/**
 * What a change of the session's status is in Jupyter's words. What a kernel
 * says itself is left out: that it is busy or idle is in its own messages.
 */
function stateIn(event: OwnEvent, session: Session): KernelState | undefined {
  if (event.kind !== "status") return undefined;
  switch (event.status) {
    case "starting":
      return "starting";
    case "ready":
      return "idle"; // its own messages about that were caused by the server's request
    case "exited":
      if (session.isAutorestarted) return "restarting";
      // A client that restarts a kernel knows. Told "restarting", it would take that for a crash, and connect again.
      return session.isRunning || session.isRestarting ? undefined : "dead";
    default:
      return undefined;
  }
}

/** A `status` message of the server's own, without a parent unless one is given. */
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

/** The session of headers that the server writes. */
const SERVER = randomUUID();
