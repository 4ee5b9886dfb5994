/** Encodes journal entries for clients of Jupyter's protocols: messages, and those of the server's own events that these protocols can express. */
import { randomUUID } from "node:crypto";
import type { OwnEvent } from "../../../../contract/index.ts";
import { Entries } from "../../../journal/entries.ts";
import { Entry } from "../../../journal/entry.ts";
import type { Slab } from "../../../journal/slab.ts";
import { concernsMainShell } from "../../../jupyter/control-requests.ts";
import {
  bufferOf,
  type Channel,
  compose,
  type Header,
  type Message,
  objectIn,
} from "../../../jupyter/message.ts";
import { NOTICE } from "../../../session/requests.ts";
import type { Session } from "../../../session/session.ts";
import { encodedOnce } from "../../encoded.ts";
import type { Codec } from "../../relay.ts";
import { type KernelProtocol, LARGE, outgoing } from "./frames.ts";

/** The states that Jupyter's clients accept in a `status` message. */
export type KernelState = "starting" | "idle" | "busy" | "restarting" | "dead";

interface Candidate {
  readonly seq: number;
  readonly channel: Channel;
  readonly parent_id: string | undefined;
  /** The `session` in its parent's header: the client that sent the request, if it sets the field. */
  readonly requestedBy: () => string | undefined;
}

export interface CodecOptions {
  /** Whether the client is to receive this message. */
  readonly isForClient: (message: Candidate) => boolean;
  /** Messages on iopub with a higher number are for the client in any case. */
  readonly iopubAfter: number;
}

export function codecOf(
  session: Session,
  protocol: KernelProtocol,
  { isForClient, iopubAfter }: CodecOptions,
): Codec {
  return {
    encode({ reading }, put) {
      if (!("entries" in reading)) return;
      const { slab, from, to } = reading.entries;
      for (let row = from; row < to;) {
        const seq = slab.first + row;
        const end = seq > iopubAfter ? endOfRun(slab, row, to) : row;
        if (end > row) {
          const run = new Entries(slab, row, end);
          // Every client gets what is on iopub.
          const { pieces, memory } = encodedOnce(protocol, run, () =>
            protocol.encodeRun(run),
          );
          put(pieces, slab.first + end - 1, slab.sizeOf(row, end), memory);
          row = end;
          continue;
        }
        put(encodeOne(slab, row), seq, slab.sizeOf(row, row + 1), slab);
        row += 1;
      }
    },
  };

  function encodeOne(slab: Slab, row: number): readonly Buffer[] | undefined {
    if (slab.isEvent(row)) {
      if (slab.typeOf(row) !== "status") return undefined;
      const state = stateIn(new Entry(slab, row).event, session);
      return state === undefined
        ? undefined
        : protocol.encode(outgoing(statusMessage(state)));
    }
    const candidate = {
      seq: slab.first + row,
      channel: slab.channelOf(row),
      parent_id: slab.parentOf(row),
      requestedBy: () => new Entry(slab, row).message.parent_header?.session,
    };
    const notice =
      candidate.channel === "shell" ? noticeIn(slab, row) : undefined;
    const pieces: Buffer[] = [];
    if (
      notice !== undefined &&
      isForClient({ ...candidate, channel: "iopub" })
    ) {
      pieces.push(...protocol.encode(outgoing(notice)));
    }
    if (isForClient(candidate)) {
      pieces.push(...protocol.encode(new Entry(slab, row)));
      // Clients take the state from any `status`; so the last one they receive is the true one.
      if (session.status === "busy" && hidesBusy(slab, row)) {
        pieces.push(...protocol.encode(outgoing(statusMessage("busy"))));
      }
    }
    return pieces.length === 0 ? undefined : pieces;
  }
}

/** The end of the small messages on iopub without buffers that begin with row `from`. */
function endOfRun(slab: Slab, from: number, to: number): number {
  let row = from;
  while (
    row < to &&
    !slab.isEvent(row) &&
    slab.channelOf(row) === "iopub" &&
    !slab.hasBuffers(row) &&
    slab.lengthOf(row) < LARGE &&
    !hidesBusy(slab, row)
  ) {
    row += 1;
  }
  return row;
}

/** Whether it is the `idle` of a request that a kernel answers beside running code. */
function hidesBusy(slab: Slab, row: number): boolean {
  if (slab.typeOf(row) !== "status") return false;
  const { raw, content } = new Entry(slab, row);
  const parent = objectIn(raw.parent_header) as Header | undefined;
  return !concernsMainShell(parent) && content?.["execution_state"] === "idle";
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

/**
 * How a kernel ended, as an output of the code that ran in it: clients show no
 * other reason. The server's reply to that code has the words.
 */
function noticeIn(slab: Slab, row: number): Message | undefined {
  if (slab.typeOf(row) !== "execute_reply") return undefined;
  const { content, parent_header } = slab.framesOf(row);
  if (!bufferOf(content).includes(NOTICE)) return undefined;
  const words = objectIn(content)?.[NOTICE];
  const header = objectIn(parent_header);
  if (typeof words !== "string" || header === undefined) return undefined;
  return compose({
    channel: "iopub",
    msg_type: "stream",
    content: { name: "stderr", text: `${words}\n` },
    session: SERVER,
    username: "kernel",
    parent: { header: header as Header, raw: { header: parent_header } },
  });
}

/**
 * A `status` message that the server writes itself. Kernels are busy and idle for
 * a request, and many clients read its id without looking whether there is one:
 * without a `parent`, it is a request of the server. All other states have none.
 */
export function statusMessage(
  execution_state: KernelState,
  parent = isOfRequest(execution_state) ? ownRequest : undefined,
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

function isOfRequest(state: KernelState): boolean {
  return state === "busy" || state === "idle";
}

/** The `session` in the headers that the server writes. */
const SERVER = randomUUID();

/** The state that a client finds when it connects, with a parent whichever it is. */
export function greeting(state: KernelState): Message {
  return statusMessage(state, ownRequest);
}

/** No kernel gets this request. Its type is none of Jupyter's: JupyterLab ignores the states that belong to `kernel_info_request` and others. */
const ownRequest: Message = compose({
  channel: "shell",
  msg_type: "kernel_status_request",
  content: {},
  session: SERVER,
  username: "kernel",
});
