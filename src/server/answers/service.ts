/**
 * The parts of the server that answers use: the sessions, the kernelspecs, the
 * settings. The value is made once and passed to every door.
 */
import type {
  contract,
  LogLevel,
  OutputOf,
  SessionLimits,
  SessionPolicy,
} from "../../../contract/index.ts";
import type { KernelspecSource } from "../../kernelspecs/kernelspecs.ts";
import type { ConnectionFiles } from "../../host/connection-files.ts";
import type { HostFacts } from "../../host/host.ts";
import type { UsageSampler } from "../../host/usage.ts";
import type { WarmKernels } from "../../kernel/warm.ts";
import type { Telemetry } from "../../telemetry/telemetry.ts";
import type { Log } from "../../log/log.ts";
import type { Guard } from "../../log/guard.ts";
import type { Faults } from "../../log/faults.ts";
import type { ServerEvents } from "../events.ts";
import type { Supervisor } from "../../supervisor/supervisor.ts";
import type { IdleWatch } from "../../supervisor/idle.ts";
import type { UsageWatch } from "../../supervisor/usage-watch.ts";

export interface Service {
  readonly supervisor: Supervisor;
  readonly kernelspecs: KernelspecSource;
  /** The machine on which kernels are started. */
  readonly host: HostFacts;
  /** The default policy of sessions. */
  readonly policy: SessionPolicy;
  /** What a session's kernel may use at most. A client can ask for less. */
  readonly sessionLimits: SessionLimits;
  /** The warm kernels. */
  readonly warm: Pick<
    WarmKernels,
    "state" | "begin" | typeof Symbol.asyncDispose
  >;
  /** What these processes use now, by their ids. */
  readonly sampleUsage: UsageSampler["sample"];
  /** Connection files in Jupyter's runtime directory; `undefined` if the server does not use it. */
  readonly connectionFiles: ConnectionFiles | undefined;
  /** Random bytes as text, for ids and keys. */
  newId(bytes: number): string;
  readonly idle: IdleWatch;
  readonly usage: UsageWatch;
  /** What Jupyter's clients listen to. */
  readonly events: ServerEvents;
  /** The listener for metrics and traces. */
  readonly telemetry: Telemetry;
  readonly log: Log;
  /** Counts the faults of kernels and clients. */
  readonly faults: Faults;
  /** Catches the errors of the server's own callbacks. */
  readonly guard: Guard;
  readonly limits: Limits;
  /** The path under which the server answers, such as `/user/ann`; empty: none. Written in front of paths in answers. */
  readonly basePath: string;
  /** The Kallichore version that the server reports. */
  readonly reportedVersion: string;
  /** The process that clients watch. */
  readonly processId: number;
  readonly version: string;
  logLevel: LogLevel;
  /** Begins the end of the server. Requests that arrive now may still be answered. */
  shutDown(reason: string): void;
}

export type SessionRequest = OutputOf<typeof contract.sessions.create.input>;

export interface Limits {
  /** Bytes of each session's journal that are kept in memory. */
  readonly journal_memory_bytes: number;
  /** Bytes of all journals together that are kept in memory. */
  readonly server_memory_bytes: number;
  /** Bytes of each session's journal that are kept on disk; 0 for none. */
  readonly journal_disk_bytes: number;
  /** Bytes of all journals together that are kept on disk; 0 for none. */
  readonly server_disk_bytes: number;
  /** Bytes that may wait in this process for one reader that does not read. */
  readonly reader_buffer_bytes: number;
  /** A reader that reads nothing for this long is disconnected. */
  readonly reader_timeout_ms: number;
}
