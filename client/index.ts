/**
 * What a TypeScript program imports to talk to a kallichore server, in Node,
 * browsers, Deno and Bun. `connect`, then `client.start("python3")`, then
 * `session.execute("6 * 7")`. See docs/client.md.
 *
 * @module kallichore/client
 */
export { SupervisorError } from "../contract/reasons.ts";
export type {
  ActiveSession,
  AppRouter,
  Clipped,
  Autorestart,
  ExecutionState,
  Kernelspec,
  KernelInfo,
  LimitsRequest,
  MimeBundle,
  Output,
  PolicyChange,
  Reason,
  Refused,
  SessionLimits,
  SessionPolicy,
  SessionStatus,
} from "../contract/index.ts";
export {
  Client,
  type ClientOptions,
  connect,
  type ConnectOptions,
  createClient,
  type KernelspecList,
  type NewSession,
  type ServerStatus,
  Sessions,
  type VarAction,
} from "./client.ts";
export { Comm, type CommMessage, type CommOptions, Comms } from "./comms.ts";
export type { ConnectionState, ConnectionView } from "./connection.ts";
export type {
  Message,
  MessageOf,
  OtherMessage,
  SessionEvent,
  UnreadableEvent,
} from "./events.ts";
export type { ExecuteOptions } from "./execute-request.ts";
export type {
  EndReason,
  ExecutionEvent,
  InputRequest,
} from "./execution-event.ts";
export type { CodeError, ExecutionResult, Gap } from "./execution-result.ts";
export { Execution } from "./execution.ts";
export type { AttachOptions } from "./found-execution.ts";
export {
  type ExecutionInfo,
  type ExecutionList,
  Executions,
} from "./executions.ts";
export type { Accepted, CallOptions } from "./server-link.ts";
export { ConnectionError, KernelError } from "./failure.ts";
export type { ReplyTo, RequestOptions, RequestType } from "./requests.ts";
export {
  type Completions,
  type EventsOptions,
  type HistoryEntry,
  type HistoryOptions,
  type OutgoingMessage,
  Session,
} from "./session.ts";
export type { Snapshot } from "./snapshot.ts";
