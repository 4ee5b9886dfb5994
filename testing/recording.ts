/**
 * A session, written down: what its kernel said, one JSON object per line,
 * secrets removed. Made from a session's events alone, so that a running server
 * can be asked for it, and repeated by a mocked kernel.
 */
import type { Channel, Header, SessionEvent } from "../contract/index.ts";
import {
  type MockKernel,
  mockKernel,
  type MockKernelOptions,
} from "./mock-kernel.ts";

export interface RecordedMessage {
  readonly channel: Channel;
  readonly header: Header;
  readonly parent_header: Header | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly content: Readonly<Record<string, unknown>>;
  /** As base64. */
  readonly buffers: readonly string[];
}

export interface Recording {
  readonly messages: readonly RecordedMessage[];
  readonly kernel_info: Readonly<Record<string, unknown>>;
  /** How the kernel ended, where it did so by itself. */
  readonly ended?:
    { readonly exit_code: number; readonly signal: string | null } | undefined;
  /** How much faster than it was; without a bound unless given. */
  readonly speed?: number;
}

export interface RecordOptions {
  readonly kernel_info?: Readonly<Record<string, unknown>>;
  /** Words that must not leave the house; each is replaced wherever it stands in a text. */
  readonly secrets?: readonly string[];
}

const FORMAT = "kallichore-recording";
const REMOVED = "[removed]";
/** The events that tell of the machine, and nothing of what the kernel said. */
const PRIVATE: ReadonlySet<string> = new Set([
  "resource_usage",
  "working_directory",
  "handshake",
  "output",
]);

/**
 * The lines of a recording, from a session's events: the array, or what a
 * subscription or `GET /sessions/{session_id}/events` yields, until it ends.
 *
 * Keys, usernames, answers to password prompts and process output are left
 * out; `secrets` are replaced. What code printed stays: look before you share.
 */
export async function* record(
  events: Iterable<SessionEvent> | AsyncIterable<SessionEvent>,
  { kernel_info, secrets = [] }: RecordOptions = {},
): AsyncGenerator<string, void> {
  const hide = hider(secrets);
  yield JSON.stringify({
    format: FORMAT,
    version: 1,
    kernel_info: hide(kernel_info ?? {}),
  });
  for await (const event of events) {
    if (PRIVATE.has(event.kind)) continue;
    yield JSON.stringify(hide(withoutNames(event)));
  }
}

/** Reads what `record` wrote. Throws a `SyntaxError` that says which line is none. */
export function readRecording(ndjson: string | Iterable<string>): Recording {
  const lines = typeof ndjson === "string" ? ndjson.split("\n") : [...ndjson];
  const messages: RecordedMessage[] = [];
  let kernel_info: Readonly<Record<string, unknown>> = {};
  let ended: Recording["ended"];
  for (const [index, line] of lines.entries()) {
    if (line.trim() === "") continue;
    const value = parsed(line, index);
    if (index === 0) {
      if (value["format"] !== FORMAT) {
        throw new SyntaxError("Line 1 says that this is no recording");
      }
      kernel_info = (value["kernel_info"] ?? {}) as typeof kernel_info;
      continue;
    }
    const event = value as SessionEvent;
    if (event.kind === "jupyter") messages.push(event);
    if (event.kind === "exited") {
      ended = { exit_code: event.exit_code, signal: event.signal };
    }
  }
  return { messages, kernel_info, ...(ended !== undefined && { ended }) };
}

export interface ReplayOptions extends Omit<MockKernelOptions, "on"> {
  /** 1 is as fast as it was, 10 ten times as fast; without waiting at all unless given. */
  readonly speed?: number;
  /** The kernel ends as the recorded one did, after the last exchange; otherwise it stays. */
  readonly ends?: boolean;
}

/** A kernel that says again what was recorded. What is asked beyond that is answered by script. */
export function replay(
  recording: Recording | string | Iterable<string>,
  { speed, ends = false, ...options }: ReplayOptions = {},
): MockKernel {
  const { ended, ...read } = isRecording(recording)
    ? recording
    : readRecording(recording);
  return {
    ...mockKernel(options),
    recording: {
      ...read,
      ...(speed !== undefined && { speed }),
      ...(ends && { ended }),
    },
  };
}

function isRecording(value: object | string): value is Recording {
  return typeof value === "object" && "messages" in value;
}

function parsed(line: string, index: number): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch (cause) {
    throw new SyntaxError(`Line ${index + 1} is no JSON`, { cause });
  }
}

function withoutNames(event: SessionEvent): SessionEvent {
  if (event.kind === "exited") return { ...event, output: "" };
  if (event.kind !== "jupyter") return event;
  return {
    ...event,
    header: { ...event.header, username: "" },
    parent_header:
      event.parent_header === null
        ? null
        : { ...event.parent_header, username: "" },
  };
}

/** Replaces each secret wherever it stands, in names and values. */
function hider(secrets: readonly string[]): (value: unknown) => unknown {
  const wanted = secrets.filter((secret) => secret !== "");
  if (wanted.length === 0) return (value) => value;
  const hide = (value: unknown): unknown => {
    if (typeof value === "string") {
      return wanted.reduce(
        (text, word) => text.replaceAll(word, REMOVED),
        value,
      );
    }
    if (Array.isArray(value)) return value.map(hide);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, inner]) => [
        String(hide(name)),
        hide(inner),
      ]),
    );
  };
  return hide;
}
