/**
 * The whole contract as one value: every operation, its input and its output.
 * It runs in browsers and depends on zod only.
 *
 * @module kallichore/contract
 */
export { type AppRouter, contract } from "./contract.ts";
export { ErrorBody, JupyterErrorBody, StartupErrorBody } from "./error-body.ts";
export { errors, failure } from "./errors.ts";
export {
  isReason,
  type Reason,
  type Startup,
  SupervisorError,
} from "./reasons.ts";
export {
  type ContentOf,
  contents,
  type KernelMessage,
  type MessageType,
} from "./contents.ts";
export { ExecutionState } from "./execution-state.ts";
export { isOver } from "./execution-end.ts";
export { Execution, type RequestingClient } from "./executions.ts";
export type { ExternalKernel } from "./external-kernels.ts";
export { ExecutionHistoryEntry } from "./history.ts";
export type { JupyterKernel, JupyterSession } from "./jupyter.ts";
export type { JupyterRequest } from "./jupyter-requests.ts";
export { Kernelspec } from "./kernelspecs.ts";
export {
  type Attribution,
  Channel,
  ClientMessage,
  ConnectionInfo,
  Header,
  JupyterEvent,
  ResourceUsage,
  SessionEvent,
  type MimeBundle,
  type OwnEvent,
  type Refused,
  type ShownCode,
} from "./messages.ts";
export { fits, LabelFilter, Labels } from "./labels.ts";
export {
  partsOf,
  type Contract,
  type InputOf,
  type Method,
  type Operation,
  type OutputOf,
  type Route,
  type Schema,
  statusOf,
} from "./operation.ts";
export { Clipped, Output } from "./output.ts";
export { LastEventId } from "./journal-id.ts";
export { fromPosition, type Position, toPosition } from "./position.ts";
export { type Access, messageScopes, Scope, scopeOfMessage } from "./scopes.ts";
export {
  Autorestart,
  NO_POLICY,
  type PolicyChange,
  SessionPolicy,
} from "./policy.ts";
export { SessionId } from "./session-id.ts";
export {
  type LimitsRequest,
  NO_LIMITS,
  SessionLimits,
} from "./session-limits.ts";
export { Snapshot } from "./snapshot.ts";
export { LogLevel, ServerConfiguration, ServerStatus } from "./server.ts";
export {
  ActiveSession,
  NewSession,
  VarAction,
  type KernelInfo,
} from "./sessions.ts";
export { SessionStatus } from "./status.ts";
