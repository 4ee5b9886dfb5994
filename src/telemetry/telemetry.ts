/**
 * What happens in the server, told to whoever counts or traces it: the one
 * place where metrics, traces and audits listen. A listener has the methods
 * that it wants; what nobody listens to costs a look at an absent member.
 *
 * A listener is called in the midst of things: it takes note, and returns. None
 * of what it is told holds code, outputs, tokens or keys.
 */
import type {
  Execution,
  Reason,
  RequestingClient,
} from "../../contract/index.ts";

export interface Telemetry {
  /** An operation was answered, or a subscription has ended; by REST or tRPC. */
  readonly operation?: (done: OperationDone) => void;
  readonly sessionCreated?: (session: SessionNamed) => void;
  /** The session is gone, with its journal. */
  readonly sessionDeleted?: (session: SessionNamed) => void;
  /** A kernel has answered for the first time. */
  readonly kernelStarted?: (started: KernelStarted) => void;
  /** A kernel run is over, or did not come to be. */
  readonly kernelEnded?: (ended: KernelEnded) => void;
  /** For each message, so without an object of its own. Bytes of its frames and buffers. */
  readonly message?: (
    session_id: string,
    direction: "from_kernel" | "to_kernel",
    channel: string,
    bytes: number,
  ) => void;
  /** A message was not accepted, and is known by its refusal only. */
  readonly refused?: (refused: MessageRefused) => void;
  /** A reader missed entries of a journal: they are no longer kept. */
  readonly gap?: (gap: Gap) => void;
  /** An execution has ended, however that was. */
  readonly execution?: (ended: ExecutionEnded) => void;
}

export interface OperationDone {
  /** As tRPC calls it, such as `sessions.start`. */
  readonly name: string;
  /** `null` where it succeeded. */
  readonly failure: Reason | null;
  readonly duration_ms: number;
  /** How they came to ask: `token`, `anybody` where none is needed, `nobody` where none was shown, `local`. */
  readonly who: string;
  readonly client: RequestingClient | null;
  readonly span_id: string;
}

export interface SessionNamed {
  readonly session_id: string;
  /** The kernelspec, where it came from one. */
  readonly kernel_name: string | null;
}

export interface KernelStarted extends SessionNamed {
  readonly by: "start" | "adopt" | "autorestart";
  /** Until its first answer. */
  readonly duration_ms: number;
}

export interface KernelEnded extends SessionNamed {
  /** What clients hear. */
  readonly reason: string;
  /** Since the run began. */
  readonly duration_ms: number;
}

export interface MessageRefused {
  readonly session_id: string;
  readonly from: "kernel" | "client";
  readonly reason: string;
}

export interface Gap {
  readonly session_id: string;
  readonly from: number;
  readonly to: number;
}

export interface ExecutionEnded extends Pick<
  Execution,
  "execution_id" | "session_id" | "state" | "reason" | "output_bytes"
> {
  readonly client: RequestingClient | null;
  readonly span_id: string | null;
  /** In the queue. */
  readonly waited_ms: number;
  /** With the kernel; 0 where it never was. */
  readonly ran_ms: number;
}

/** The same, but that what a listener throws is its own: `caught` hears it, and nobody else. */
export function contained(
  listener: Telemetry,
  caught: (error: unknown) => void,
): Telemetry {
  const safe = Object.keys(METHODS).flatMap((name) => {
    const method = listener[name as keyof Telemetry] as Method | undefined;
    if (method === undefined) return [];
    const safely = (...given: never[]) => {
      try {
        method.apply(listener, given);
      } catch (error) {
        caught(error);
      }
    };
    return [[name, safely] as const];
  });
  return Object.fromEntries(safe);
}

type Method = (...given: never[]) => void;

/** Also those that a listener inherits from its class. */
const METHODS: Readonly<Record<keyof Telemetry, true>> = {
  operation: true,
  sessionCreated: true,
  sessionDeleted: true,
  kernelStarted: true,
  kernelEnded: true,
  message: true,
  refused: true,
  gap: true,
  execution: true,
};
