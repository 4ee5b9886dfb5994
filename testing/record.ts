/**
 * Records a session: the messages of its kernel, one JSON object per line, with
 * secrets removed. A recording is made from a session's events alone, so that it
 * can be made from any running server. It is written as a stream and needs
 * little memory, whatever its length.
 */
import { toBase64 } from "../client/base64.ts";
import type { SessionEvent as ClientEvent } from "../client/events.ts";
import type { SessionEvent } from "../contract/index.ts";

export interface RecordOptions {
  /** The `kernel_info` of the session. */
  readonly kernel_info?: Readonly<Record<string, unknown>>;
  /** Words that must not be published. Each is replaced wherever it occurs in text or in binary buffers. */
  readonly secrets?: readonly string[];
}

export const FORMAT = "kallichore-recording";
export const VERSION = 1;

const REMOVED = "[removed]";
/** The events about the machine, which contain no message of the kernel. */
const PRIVATE: ReadonlySet<string> = new Set([
  "resource_usage",
  "working_directory",
  "handshake",
  "output",
]);

/**
 * The lines of a recording, from a session's events until they end. The events
 * can be an array, those of a transcript, those of a subscription or of
 * `GET /sessions/{session_id}/events`, or `session.events({ after: 0 })` of the
 * client.
 *
 * Keys, user names, answers to prompts and process output are left out, and
 * `secrets` are replaced. The output of code stays: read a recording before you
 * share it.
 */
export async function* record(
  events:
    | Iterable<SessionEvent | ClientEvent>
    | AsyncIterable<SessionEvent | ClientEvent>,
  { kernel_info, secrets = [] }: RecordOptions = {},
): AsyncGenerator<string, void> {
  const hide = redactor(secrets);
  yield JSON.stringify({
    format: FORMAT,
    version: VERSION,
    kernel_info: hide(kernel_info ?? {}),
  });
  const hideBytes = byteRedactor(secrets);
  for await (const received of events) {
    const event = toWire(received);
    if (PRIVATE.has(event.kind)) continue;
    const written = hide(withoutNames(event)) as SessionEvent;
    yield JSON.stringify(
      written.kind === "jupyter"
        ? { ...written, buffers: written.buffers.map(hideBytes) }
        : written,
    );
  }
}

/** Converts a client's event to the server's event. The client's events differ only in fields that make them easy to switch on. */
function toWire(event: SessionEvent | ClientEvent): SessionEvent {
  if (event.kind === "unreadable") {
    const { seq } = event;
    return { kind: "gap", seq, from: seq, to: seq };
  }
  if (event.kind !== "jupyter" && event.kind !== "other") return event;
  const { seq, channel, header, parent_header, metadata, content } = event;
  return {
    kind: "jupyter",
    seq,
    channel,
    header,
    parent_header,
    metadata,
    content,
    buffers: event.buffers.map((buffer) =>
      typeof buffer === "string" ? buffer : toBase64(buffer),
    ),
  };
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

/** Replaces each secret wherever it occurs, in names and values. */
function redactor(secrets: readonly string[]): (value: unknown) => unknown {
  const words = secrets.filter((secret) => secret !== "");
  if (words.length === 0) return (value) => value;
  const hide = (value: unknown): unknown => {
    if (typeof value === "string") {
      return words.reduce(
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

/** Replaces each secret in a base64 buffer by text of the same length, so that the offsets of other data stay the same. */
function byteRedactor(secrets: readonly string[]): (base64: string) => string {
  const words = secrets
    .filter((secret) => secret !== "")
    .map((secret) => toLatin1(new TextEncoder().encode(secret)));
  if (words.length === 0) return (base64) => base64;
  return (base64) => {
    const bytes = atob(base64);
    return btoa(
      words.reduce(
        (text, word) => text.replaceAll(word, "x".repeat(word.length)),
        bytes,
      ),
    );
  };
}

function toLatin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}
