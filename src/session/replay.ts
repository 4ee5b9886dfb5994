/**
 * Reads the journal of a kept session from its beginning, and gives the session
 * the state that follows from it: displays, comms, executions, and the facts
 * about its last kernel run.
 */
import type {
  OwnEvent,
  ResourceUsage,
  SessionStatus,
} from "../../contract/index.ts";
import type { Exit } from "../host/exit.ts";
import type { Journal } from "../journal/journal.ts";
import type { Entry } from "../journal/entry.ts";
import type { ShellState } from "../kernel/kernel.ts";
import { noteComm, type OpenComms } from "./comms.ts";
import { type Displays, isDisplay, noteDisplay } from "./displays.ts";
import type { Requests } from "./requests.ts";

export interface Replayed {
  /** The session's last status; `undefined` if the journal has none. */
  readonly status: SessionStatus | undefined;
  /** The state that the kernel reported last in its last run. */
  readonly state: ShellState | undefined;
  /** The last exit since the last start. */
  readonly exit: Exit | undefined;
  readonly usage: ResourceUsage | undefined;
}

export interface ReplayTarget {
  readonly journal: Journal;
  readonly displays: Displays;
  readonly comms: OpenComms;
  readonly requests: Requests;
}

/** Reads up to number `last`. The entries after it are of this process. */
export async function replay(
  { journal, displays, comms, requests }: ReplayTarget,
  last: number,
): Promise<Replayed> {
  const found: {
    status: SessionStatus | undefined;
    state: ShellState | undefined;
    exit: Exit | undefined;
    usage: ResourceUsage | undefined;
  } = {
    status: undefined,
    state: undefined,
    exit: undefined,
    usage: undefined,
  };
  const replayEvent = (seq: number, event: OwnEvent): void => {
    switch (event.kind) {
      case "status":
        found.status = event.status;
        found.state = stateOf(event.status) ?? found.state;
        if (event.status === "starting") {
          found.state = undefined;
          found.exit = undefined;
        }
        return;
      case "exited":
        found.exit = exitIn(event);
        found.state = undefined;
        comms.clear();
        return;
      case "resource_usage":
        found.usage = event.usage;
        return;
      case "execution":
        requests.replayEvent(seq, event.execution_id, event.state);
        return;
      case "execution_requested":
        requests.replayEvent(seq, event.msg_id, undefined);
        return;
      case "refused":
        if (event.parent_id !== null) {
          requests.replayEvent(seq, event.parent_id, undefined);
        }
        return;
      default:
    }
  };
  const replayMessage = (entry: Entry): void => {
    const { msg_type, channel } = entry;
    if (isDisplay(msg_type)) noteDisplay(displays, entry);
    if (msg_type === "comm_open" || msg_type === "comm_close") {
      noteComm(comms, entry.message, "iopub");
    }
    const isIdle =
      channel === "iopub" &&
      msg_type === "status" &&
      entry.content?.["execution_state"] === "idle";
    requests.replay(entry, isIdle);
  };
  for (let seen = 0; seen < last;) {
    const reading = await journal.read(seen);
    if (reading === undefined) break;
    if ("gap" in reading) {
      seen = reading.gap.to;
      continue;
    }
    for (const entry of reading.entries) {
      if (entry.seq > last) break;
      requests.replayComms(entry.seq);
      if (entry.isEvent) replayEvent(entry.seq, entry.event);
      else replayMessage(entry);
      seen = entry.seq;
    }
  }
  return found;
}

function exitIn({
  exit_code,
  signal,
  output,
  oom,
  limit,
}: Extract<OwnEvent, { kind: "exited" }>): Exit {
  return {
    exit_code,
    signal,
    output,
    ...(oom !== undefined && { oom }),
    ...(limit !== undefined && { limit }),
  };
}

function stateOf(status: SessionStatus): ShellState | undefined {
  if (status === "busy") return "busy";
  return status === "idle" || status === "ready" ? "idle" : undefined;
}
