/** The specification of a session. */
import type {
  Labels,
  SessionLimits,
  SessionPolicy,
  VarAction,
} from "../../contract/index.ts";

/** All defaults are filled in. */
export interface SessionSpec {
  readonly session_id: string;
  /** Jupyter's clients use it for the session's kernel; a restart does not change it. */
  readonly kernel_id: string;
  readonly argv: readonly string[];
  readonly display_name: string;
  readonly language: string;
  readonly username: string;
  readonly interrupt_mode: "signal" | "message";
  readonly session_mode: "console" | "notebook" | "background";
  readonly working_directory: string;
  readonly notebook_uri: string | undefined;
  readonly input_prompt: string;
  readonly continuation_prompt: string;
  readonly env: readonly VarAction[];
  readonly spec_env: Readonly<Record<string, string>> | undefined;
  /** The kind of sockets that the kernelspec asks for. Default: the server's setting. */
  readonly kernel_sockets?: "ipc" | "tcp" | undefined;
  /** Seconds; negative: no limit. */
  readonly connection_timeout: number;
  readonly protocol_version: string;
  readonly startup_environment: "none" | "shell" | "command" | "script";
  readonly startup_environment_arg: string | undefined;
  readonly kernel_name: string | undefined;
  /** The client's own id, for the attribution of executions. */
  readonly workspace_id: string | undefined;
  /** Whether the session outlives the server. Default: the server's setting. */
  readonly keep?: boolean | undefined;
  readonly labels: Labels;
  readonly policy: SessionPolicy;
  /** What its kernel may use at most. Absent in what an earlier version saved: no limits. */
  readonly limits?: SessionLimits | undefined;
  /** The kernel's signing key: one for the session's whole life. */
  readonly key: string;
}
