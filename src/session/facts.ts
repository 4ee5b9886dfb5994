/** What the events of a session say about its last kernel run. */
import type {
  OwnEvent,
  ResourceUsage,
  SessionStatus,
} from "../../contract/index.ts";
import type { Exit } from "../host/exit.ts";
import type { ShellState } from "../kernel/kernel.ts";

export interface Facts {
  /** The session's last status; `undefined` if there was none. */
  status: SessionStatus | undefined;
  /** The state that the kernel reported last in its last run. */
  state: ShellState | undefined;
  /** The last exit since the last start. */
  exit: Exit | undefined;
  usage: ResourceUsage | undefined;
}

export function noFacts(): Facts {
  return {
    status: undefined,
    state: undefined,
    exit: undefined,
    usage: undefined,
  };
}

export function noteFact(facts: Facts, event: OwnEvent): void {
  switch (event.kind) {
    case "status":
      facts.status = event.status;
      facts.state = stateOf(event.status) ?? facts.state;
      if (event.status === "starting") {
        facts.state = undefined;
        facts.exit = undefined;
      }
      return;
    case "exited":
      facts.exit = exitIn(event);
      facts.state = undefined;
      return;
    case "resource_usage":
      facts.usage = event.usage;
      return;
    default:
  }
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
