/**
 * Collects one execution from its request to its end: its outputs, its reply,
 * and whether its deadline passed.
 */
import { failure } from "../../../contract/index.ts";
import { eventsOf } from "./events.ts";
import type { Execution } from "./execution.ts";
import { outputsIn, type ReadOutputs } from "./outputs.ts";
import type { Session } from "../session.ts";

export interface Collected extends ReadOutputs {
  readonly msg_id: string;
  readonly status: "ok" | "error" | "aborted" | "timeout";
  readonly execution_count: number | null;
  readonly timed_out: boolean;
  /** The content of the kernel's reply. */
  readonly reply: Readonly<Record<string, unknown>>;
}

/** How long the kernel may take to end interrupted code. */
const INTERRUPT_MS = 5_000;

/** Resolves when the execution is over, or soon after its deadline even if the kernel ignores the interrupt. Throws `kernel_exited`. */
export async function collect(
  session: Session,
  execution: Execution,
  signal: AbortSignal,
): Promise<Collected> {
  let read: ReadOutputs;
  const end = new AbortController();
  const timer = setTimeout(
    () => end.abort(),
    (execution.deadline_ms ?? LONGEST_TIMER_MS) + INTERRUPT_MS,
  );
  try {
    const readings = eventsOf(execution, session.journal, {
      signals: [signal, end.signal, session.ended],
      withUpdates: true,
    });
    read = await outputsIn(readings, execution.id);
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
    timed_out: isLate,
    ...read,
    reply,
  };
}

/** The longest time of a timer. */
const LONGEST_TIMER_MS = 2 ** 31 - 1 - INTERRUPT_MS;

function statusOf(
  reply: Readonly<Record<string, unknown>>,
): "ok" | "error" | "aborted" {
  switch (reply["status"]) {
    case "ok":
      return "ok";
    case "error":
      return "error";
    default:
      return "aborted"; // IRkernel sends `abort`
  }
}
