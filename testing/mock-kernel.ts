/**
 * A scripted kernel: its output for each code, its answers to other requests,
 * and its faults. The value is a plain description. It runs in memory
 * (`MockProvisioner`), or from a kernelspec as a process with real sockets
 * (`installMockKernel`).
 */
import type { ContentOf, MimeBundle } from "../contract/index.ts";
import type { Clock } from "./clock.ts";
import type { Recording } from "./recording.ts";
import type { CommCall, Ending, Reaction } from "./steps.ts";

export interface MockKernel {
  readonly kind: "kallichore mock kernel";
  readonly options: MockKernelOptions;
  /** The recording that the kernel replays. Requests that are not in it are answered by the script. */
  readonly recorded?: Recorded;
}

export interface Recorded {
  readonly recording: Recording;
  /** How many times faster than recorded. */
  readonly speed: number;
  /** Whether the kernel ends where the recorded kernel ended, even if no code was running. */
  readonly ends: boolean;
}

export interface MockKernelOptions {
  /** The reaction to each code, by the code itself or by a pattern; the first that matches is used. */
  readonly on?: On;
  /** The reaction to any other code. Default: an error named `NotScripted`. */
  readonly otherwise?: Reaction;
  readonly language?: string | LanguageInfo;
  readonly display_name?: string;
  /** The fields of `kernel_info_reply` in addition to the language. */
  readonly kernel_info?: Partial<ContentOf<"kernel_info_reply">>;
  /** Words that are offered if they begin with the text before the cursor, or a function that makes the reply. */
  readonly complete?:
    readonly string[] | ((call: CompleteCall) => ReplyOf<"complete_reply">);
  /** Descriptions by name (a string is plain text), or a function that makes the reply. */
  readonly inspect?:
    | Readonly<Record<string, MimeBundle | string>>
    | ((call: CompleteCall) => ReplyOf<"inspect_reply">);
  readonly is_complete?: (code: string) => ReplyOf<"is_complete_reply">;
  /** Makes the reply. Default: the history of the code that was executed. */
  readonly history?: (
    content: Readonly<Record<string, unknown>>,
  ) => ReplyOf<"history_reply">;
  readonly comm_info?: (
    target_name: string | undefined,
  ) => ReplyOf<"comm_info_reply">;
  /** Makes the reply to any other request. Default: no reply. */
  readonly other?: (
    msg_type: string,
    content: Readonly<Record<string, unknown>>,
  ) => Readonly<Record<string, unknown>> | undefined;
  /** The reaction to a client's comm messages, by target name; `*` for all others. */
  readonly comm?: Readonly<Record<string, Reaction<CommCall>>>;
  /** Called at each interrupt. The running code is interrupted in any case. */
  readonly interrupt?: () => void;
  /** Called at each shutdown request, before the kernel ends. */
  readonly shutdown?: (restart: boolean) => void;
  /** Delays in milliseconds: before the kernel's first answer, and before each step. */
  readonly delay?: { readonly start?: number; readonly step?: number };
  readonly faults?: KernelFaults;
  readonly clock?: Clock;
  /** Makes the id of each message. Default: random ids. */
  readonly ids?: () => string;
  /** The kernelspec's interrupt mode. */
  readonly interrupt_mode?: "signal" | "message";
  /** The kernel registers its own ports (JEP 66), in this dialect. */
  readonly registers?: "posit" | "spec";
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** The faults that a kernel can have without a step in its script. */
export interface KernelFaults {
  /** Ignores these requests, or all requests. */
  readonly unresponsive?: true | readonly string[];
  /** The process ends before its first answer. */
  readonly exitsAtStart?: true | Ending;
  /** The kernel ignores shutdown requests and, as a process, SIGTERM. */
  readonly ignoresShutdown?: boolean;
  /** The kernel never reports `idle` after an execution. */
  readonly neverIdle?: boolean;
  /** Milliseconds from each `idle` status to the reply. */
  readonly replyDelay_ms?: number;
  /** The kernel answers executions in pairs, the second one first. */
  readonly repliesOutOfOrder?: boolean;
  /** The kernel never answers heartbeats. */
  readonly noHeartbeat?: boolean;
}

export type On =
  | Readonly<Record<string, Reaction>>
  | readonly (readonly [pattern: string | RegExp, reaction: Reaction])[]
  | ReadonlyMap<string | RegExp, Reaction>;

export interface LanguageInfo {
  readonly name: string;
  readonly version?: string;
  readonly mimetype?: string;
  readonly file_extension?: string;
  readonly [more: string]: unknown;
}

/** A cursor position in code; `cursor_pos` is in code points. */
export interface CompleteCall {
  readonly code: string;
  readonly cursor_pos: number;
  readonly detail_level: number;
}

/** The content of a reply; `status` is added if it is absent. */
export type ReplyOf<
  T extends
    | "complete_reply"
    | "inspect_reply"
    | "is_complete_reply"
    | "history_reply"
    | "comm_info_reply",
> = T extends "is_complete_reply"
  ? ContentOf<T>
  : Omit<ContentOf<T>, "status"> & { status?: string };

/** A kernel that follows a script, for `testServer`, `handlers` and `installMockKernel`. */
export function mockKernel(options: MockKernelOptions = {}): MockKernel {
  return { kind: "kallichore mock kernel", options };
}

export function isMockKernel(value: unknown): value is MockKernel {
  return (
    typeof value === "object" &&
    value !== null &&
    "kind" in value &&
    value.kind === "kallichore mock kernel"
  );
}
