/** The commands of a server to its keeper. */
import type { ConnectionInfo } from "../../contract/index.ts";
import type { LimitsChange, Recipe } from "../kernel/kernel.ts";

export type Verb =
  | "launch"
  | "adopt"
  | "interrupt"
  | "stop"
  | "kill"
  | "resize"
  | "cancel"
  | "is_alive"
  | "progress"
  | "reserve"
  | "release"
  | "retire"
  | "end";

export interface Command {
  /** A command with an id that the keeper has seen is answered as the first time. */
  readonly id: string;
  readonly verb: Verb;
  readonly run_id?: string | undefined;
  /** `release` */
  readonly session_id?: string | undefined;
  /** `launch`, `adopt`, `reserve` */
  readonly recipe?: Recipe | undefined;
  /** `launch`, `adopt`, `reserve`: the variables that the kernel inherits. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** `adopt` */
  readonly connection?: ConnectionInfo | undefined;
  /** `stop` */
  readonly restart?: boolean | undefined;
  /** `resize`, from version 2 of the protocol on */
  readonly limits?: LimitsChange | undefined;
  /** `is_alive` */
  readonly timeout_ms?: number | undefined;
}

/** The result of `progress`. */
export interface RunProgress {
  /** The number of the run's newest event. */
  readonly newest: number;
  /** Whether a message of its kernel is being received. */
  readonly is_receiving: boolean;
}
