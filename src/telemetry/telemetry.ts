/**
 * Reports what happens in the server to a listener, for metrics, traces and
 * audits. A listener implements only the methods that it needs; an event without
 * a method costs almost nothing.
 *
 * The server calls a listener in the middle of its work, so a method must return
 * quickly. The reported values never contain code, outputs, tokens or keys.
 */
import type {
  Execution,
  Reason,
  RequestingClient,
} from "../../contract/index.ts";

export interface Telemetry {
  /** An operation of REST or tRPC was answered, or a subscription has ended. */
  readonly operation?: (done: OperationDone) => void;
  readonly sessionCreated?: (session: SessionNamed) => void;
  /** The session is gone, with its journal. */
  readonly sessionDeleted?: (session: SessionNamed) => void;
  /** A kernel has answered for the first time. */
  readonly kernelStarted?: (started: KernelStarted) => void;
  /** A kernel run is over, or its start failed. */
  readonly kernelEnded?: (ended: KernelEnded) => void;
  /** Called for each message, therefore without an object. `bytes`: of its frames and buffers. */
  readonly message?: (
    session_id: string,
    direction: "from_kernel" | "to_kernel",
    channel: string,
    bytes: number,
  ) => void;
  /** A message was refused; only its refusal is kept. */
  readonly refused?: (refused: MessageRefused) => void;
  /** A reader missed entries of a journal: they are no longer kept. */
  readonly gap?: (gap: Gap) => void;
  /** An execution has ended, for any reason. */
  readonly execution?: (ended: ExecutionEnded) => void;
}

export interface OperationDone {
  /** The name in tRPC, such as `sessions.start`. */
  readonly name: string;
  /** `null` if it succeeded. */
  readonly failure: Reason | null;
  readonly duration_ms: number;
  /** The kind of caller: `token`, `anybody` if no token is needed, `nobody` if the caller sent no token, `local`. */
  readonly caller: string;
  readonly client: RequestingClient | null;
  readonly span_id: string;
}

export interface SessionNamed {
  readonly session_id: string;
  /** The name of the kernelspec, if the session was made from one. */
  readonly kernel_name: string | null;
}

export interface KernelStarted extends SessionNamed {
  readonly by: "start" | "adopt" | "autorestart";
  /** From the start to the kernel's first answer. */
  readonly duration_ms: number;
}

export interface KernelEnded extends SessionNamed {
  /** The reason that clients receive. */
  readonly reason: string;
  /** Since the start of the run. */
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
  /** Time in the queue. */
  readonly waited_ms: number;
  /** Time in the kernel; 0 if the kernel never got the request. */
  readonly ran_ms: number;
}

/** Returns a listener whose methods do not throw: an error of `listener` goes only to `caught`. */
export function contained(
  listener: Telemetry,
  caught: (error: unknown) => void,
): Telemetry {
  const safe = Object.keys(METHODS).flatMap((name) => {
    const method = listener[name as keyof Telemetry] as
      ListenerMethod | undefined;
    if (method === undefined) return [];
    const guarded = (...args: never[]) => {
      try {
        method.apply(listener, args);
      } catch (error) {
        caught(error);
      }
    };
    return [[name, guarded] as const];
  });
  return Object.fromEntries(safe);
}

type ListenerMethod = (...args: never[]) => void;

/** A list of all names, because a listener may inherit methods from its class. */
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
