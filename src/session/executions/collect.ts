/**
 * One execution from its request to its end, for whoever waits for it: its
 * outputs, its reply, and whether its time was up.
 */
import {
  type Clipped,
  failure,
  type Output,
  type Refused,
} from "../../../contract/index.ts";
import { eventsOf } from "./events.ts";
import type { Execution } from "./execution.ts";
import { OutputsSoFar } from "./outputs.ts";
import type { Session } from "../session.ts";

export interface Collected {
  readonly msg_id: string;
  readonly status: "ok" | "error" | "aborted" | "timeout";
  readonly execution_count: number | null;
  readonly outputs: Output[];
  readonly timed_out: boolean;
  /** Parts of the journal that were no longer kept when they were to be read. */
  readonly gaps: { from: number; to: number }[];
  readonly is_clipped: boolean;
  /** What was left out for the limit. */
  readonly clipped: Clipped | null;
  /** What the kernel sent and could not be accepted. */
  readonly refused: Refused[];
  /** What the kernel answered. */
  readonly reply: Readonly<Record<string, unknown>>;
}

/** How long the kernel may take to end what was interrupted. */
const INTERRUPTED_MS = 5_000;

/** Resolves when it is over, or soon after its deadline even where the kernel does not heed the interrupt. Throws `kernel_exited`. */
export async function collect(
  session: Session,
  execution: Execution,
  signal: AbortSignal,
): Promise<Collected> {
  const outputs = new OutputsSoFar(execution.id);
  const end = new AbortController();
  const timer = setTimeout(
    () => end.abort(),
    (execution.deadline_ms ?? MOST_MS) + INTERRUPTED_MS,
  );
  try {
    const readings = eventsOf(execution, session.journal, {
      signals: [signal, end.signal, session.ended],
      withUpdates: true,
    });
    for await (const reading of readings) outputs.take(reading);
  } finally {
    clearTimeout(timer);
  }
  const { id, isLate, reason, reply = {} } = execution;
  if (reason === "kernel_exited") {
    const why = String(reply["evalue"]);
    throw failure("kernel_exited", { session_id: session.id, why });
  }
  const count = reply["execution_count"];
  return {
    msg_id: id,
    status: isLate ? "timeout" : statusOf(reply),
    execution_count: typeof count === "number" ? count : null,
    outputs: outputs.list,
    timed_out: isLate,
    gaps: outputs.gaps,
    is_clipped: outputs.clipped !== null,
    clipped: outputs.clipped,
    refused: outputs.refused,
    reply,
  };
}

/** As long as a timer can be. */
const MOST_MS = 2 ** 31 - 1 - INTERRUPTED_MS;

function statusOf(
  reply: Readonly<Record<string, unknown>>,
): "ok" | "error" | "aborted" {
  switch (reply["status"]) {
    case "ok":
      return "ok";
    case "error":
      return "error";
    default:
      return "aborted"; // IRkernel says `abort`
  }
}
