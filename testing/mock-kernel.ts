/**
 * A kernel by script: what it says to which code, how it answers everything
 * else, and its vices. The value is a plain description. In memory it runs
 * beneath a session (`MockProvisioner`), and from a kernelspec as a process
 * behind real sockets (`installMockKernel`).
 */
import type { ContentOf, MimeBundle } from "../contract/index.ts";
import type { Clock } from "./clock.ts";
import type { Recording } from "./recording.ts";
import type { CommCall, Ending, Reaction } from "./steps.ts";

export interface MockKernel {
  readonly kind: "kallichore mock kernel";
  readonly options: MockKernelOptions;
  /** What it repeats, before it acts by script. */
  readonly recorded?: Recorded;
}

export interface Recorded {
  readonly recording: Recording;
  /** How much faster than it was. */
  readonly speed: number;
  /** Whether it ends where the recorded kernel did, also where nothing ran. */
  readonly ends: boolean;
}

export interface MockKernelOptions {
  /** What happens at which code: by the code itself, or by pattern; the first that fits. */
  readonly on?: On;
  /** At any other code. Unless given, that is an error named `NotScripted`. */
  readonly otherwise?: Reaction;
  readonly language?: string | LanguageInfo;
  readonly display_name?: string;
  /** What `kernel_info_reply` says beside the language. */
  readonly kernel_info?: Partial<ContentOf<"kernel_info_reply">>;
  /** Words by their beginning, or the answer itself. */
  readonly complete?:
    readonly string[] | ((asked: CompleteCall) => ReplyOf<"complete_reply">);
  /** By name, a string for plain text; or the answer itself. */
  readonly inspect?:
    | Readonly<Record<string, MimeBundle | string>>
    | ((asked: CompleteCall) => ReplyOf<"inspect_reply">);
  readonly is_complete?: (code: string) => ReplyOf<"is_complete_reply">;
  /** What was executed is remembered, and told, unless this says otherwise. */
  readonly history?: (
    content: Readonly<Record<string, unknown>>,
  ) => ReplyOf<"history_reply">;
  readonly comm_info?: (
    target_name: string | undefined,
  ) => ReplyOf<"comm_info_reply">;
  /** The content of the reply to a request that has no place here; it goes without one unless given. */
  readonly other?: (
    msg_type: string,
    content: Readonly<Record<string, unknown>>,
  ) => Readonly<Record<string, unknown>> | undefined;
  /** What happens at a client's comm messages, by target name; `*` for all others. */
  readonly comm?: Readonly<Record<string, Reaction<CommCall>>>;
  /** Told of each interrupt; what runs is interrupted in any case. */
  readonly interrupt?: () => void;
  /** Told of each wish that it end, before it does. */
  readonly shutdown?: (restart: boolean) => void;
  /** Milliseconds: before the kernel's first answer, and before each step. */
  readonly delay?: { readonly start?: number; readonly step?: number };
  readonly vices?: Vices;
  readonly clock?: Clock;
  /** A new id for each message; random unless given. */
  readonly ids?: () => string;
  /** From a kernelspec: how it is interrupted. */
  readonly interrupt_mode?: "signal" | "message";
  /** From a kernelspec: the kernel registers its own ports (JEP 66), in this dialect. */
  readonly registers?: "posit" | "spec";
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** Every vice that a script can have without a step that says so. */
export interface Vices {
  /** Hears none of these requests, or none at all. */
  readonly deaf?: true | readonly string[];
  /** Ends before its first answer. */
  readonly stillborn?: true | Ending;
  /** Does not end when it is asked to; nor, as a process, at SIGTERM. */
  readonly stubborn?: boolean;
  /** Never says that an execution is over. */
  readonly forgetful?: boolean;
  /** Milliseconds from each idle to its reply. */
  readonly late?: number;
  /** Answers executions two by two, the second first. */
  readonly disorderly?: boolean;
  /** Its heart does not beat from the beginning. */
  readonly heartless?: boolean;
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

/** A place in code; `cursor_pos` in code points. */
export interface CompleteCall {
  readonly code: string;
  readonly cursor_pos: number;
  readonly detail_level: number;
}

/** A reply's content; `status` is added where it has none. */
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
