/**
 * What a program embeds: the server on a port of its own, or under a path of another's.
 *
 * @module kallichore
 */
export {
  startServer,
  type RunningServer,
  type ServerOptions,
} from "./serve.ts";
export {
  embedServer,
  type EmbeddedServer,
  type EmbedOptions,
} from "./embed.ts";
export type {
  ExecutionEnded,
  Gap,
  KernelEnded,
  KernelStarted,
  MessageRefused,
  OperationDone,
  SessionNamed,
  Telemetry,
} from "./telemetry/telemetry.ts";
export type { Prespawn } from "./kernel/warm.ts";
export type { Address } from "./server/bind.ts";
