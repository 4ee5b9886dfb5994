/**
 * Events for Jupyter's clients (`/api/events`): actions on kernels, in Jupyter
 * Server's own schema; changes of a kernel's status, in a schema of this server;
 * and events that clients emit. Events are not kept: a client receives those of
 * the time in which it listens.
 */
import {
  type SessionPolicy,
  type SessionStatus,
  SupervisorError,
} from "../../contract/index.ts";

/** One event as clients receive it: its schema, and its members beside it. */
export interface ServerEvent {
  readonly schema_id: string;
  readonly [member: string]: unknown;
}

/** Jupyter Server's schema for what is done with kernels. */
export const KERNEL_ACTIONS =
  "https://events.jupyter.org/jupyter_server/kernel_actions/v1";
/** This server's schema for events in the life of a kernel, with any cause. */
export const KERNEL_STATUS = "urn:kallichore:kernel_status:v1";

/** This server's schema for the warning that a kernel is about to be shut down because nobody uses it. */
export const KERNEL_CULLING = "urn:kallichore:kernel_culling:v1";

/** Schemas of which only the server itself emits events. */
export const OWN_SCHEMAS: readonly string[] = [
  KERNEL_ACTIONS,
  KERNEL_STATUS,
  KERNEL_CULLING,
];

export type KernelAction = "start" | "interrupt" | "shutdown" | "restart";

/** The part of a session that an event is about. */
interface KernelOf {
  readonly id: string;
  readonly spec: {
    readonly kernel_id: string;
    readonly kernel_name: string | undefined;
  };
}

interface StatusOf extends KernelOf {
  readonly status: SessionStatus;
  readonly statusReason: string | null;
}

interface CulledOf extends KernelOf {
  readonly policy: SessionPolicy;
}

export class ServerEvents {
  readonly #listeners = new Set<(event: ServerEvent) => void>();
  /** The last status that was reported, by session. */
  readonly #reported = new WeakMap<KernelOf, string>();

  /** Calls `listener` with each event, until the returned function is called. */
  subscribe(listener: (event: ServerEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  emit(event: ServerEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** Something was done with a kernel. */
  acted(action: KernelAction, { spec }: KernelOf): void {
    this.#emitAction(action, spec, { status: "success" });
  }

  /** Something could not be done with a kernel. */
  failed(action: KernelAction, { spec }: KernelOf, error: unknown): void {
    const status_code = error instanceof SupervisorError ? error.status : 500;
    this.#emitAction(action, spec, { status: "error", status_code });
  }

  #emitAction(
    action: KernelAction,
    { kernel_id, kernel_name = "" }: KernelOf["spec"],
    outcome:
      | { readonly status: "success" }
      | { readonly status: "error"; readonly status_code: number },
  ): void {
    const done = outcome.status === "success" ? "succeeded" : "failed";
    this.emit({
      schema_id: KERNEL_ACTIONS,
      action,
      msg: `The ${action} of kernel ${kernel_id} ${done}`,
      kernel_id,
      kernel_name,
      ...outcome,
    });
  }

  /** The kernel is shut down in so many seconds, unless a client uses it. */
  culling({ id: session_id, spec, policy }: CulledOf, in_s: number): void {
    this.emit({
      schema_id: KERNEL_CULLING,
      kernel_id: spec.kernel_id,
      kernel_name: spec.kernel_name ?? "",
      session_id,
      cull_idle_timeout: policy.cull_idle_timeout,
      in_s,
    });
  }

  /** The status of a session may have changed. */
  changed(session: StatusOf): void {
    const { id: session_id, spec, status, statusReason } = session;
    if (this.#reported.get(session) === status) return;
    this.#reported.set(session, status);
    this.emit({
      schema_id: KERNEL_STATUS,
      kernel_id: spec.kernel_id,
      kernel_name: spec.kernel_name ?? "",
      session_id,
      status,
      ...(status === "exited" &&
        statusReason !== null && { reason: statusReason }),
    });
  }
}
