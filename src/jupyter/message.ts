/**
 * A Jupyter message, as this program carries it.
 *
 * The four JSON frames stay the received bytes. They are copied into the output
 * and never encoded again, so that key order and big integers stay unchanged.
 * Only the two headers are parsed. Code that needs the content parses it with
 * `contentOf`.
 */
import { randomUUID } from "node:crypto";

/** client → kernel on shell, control and stdin; kernel → client on all four. */
export const channels = ["shell", "control", "stdin", "iopub"] as const;
export type Channel = (typeof channels)[number];

/** The header of a message. Some kernels omit `date` or add other keys. */
export interface Header {
  readonly msg_id: string;
  readonly msg_type: string;
  readonly session?: string;
  readonly username?: string;
  readonly date?: string;
  readonly version?: string;
  readonly subshell_id?: string | null;
  readonly [extra: string]: unknown;
}

/** The four signed frames, in the order in which they are signed. */
export interface RawFrames {
  readonly header: Uint8Array;
  readonly parent_header: Uint8Array;
  readonly metadata: Uint8Array;
  readonly content: Uint8Array;
}

export interface Message {
  readonly channel: Channel;
  readonly header: Header;
  /** The header of the request; `undefined` if the frame is `{}`. */
  readonly parent_header: Header | undefined;
  readonly raw: RawFrames;
  readonly buffers: readonly Uint8Array[];
  /** The record of a large message, in its own memory and still without its number. The frames are views of it. */
  readonly record?: Buffer;
}

/** The protocol version in headers that this program creates. */
export const PROTOCOL_VERSION = "5.3";

export interface NewMessage {
  readonly channel: Channel;
  readonly msg_type: string;
  readonly content: unknown;
  readonly session: string;
  readonly username: string;
  readonly msg_id?: string;
  /** ISO 8601. Default: now. */
  readonly date?: string;
  readonly version?: string;
  readonly parent?:
    | { readonly header: Header; readonly raw: Pick<RawFrames, "header"> }
    | undefined;
  readonly metadata?: unknown;
  readonly buffers?: readonly Uint8Array[];
}

/** A new message of this program. Default: a new `msg_id` and the current date. */
export function compose(draft: NewMessage): Message {
  const header: Header = {
    msg_id: draft.msg_id ?? randomUUID(),
    msg_type: draft.msg_type,
    session: draft.session,
    username: draft.username,
    date: draft.date ?? new Date().toISOString(),
    version: draft.version ?? PROTOCOL_VERSION,
  };
  return {
    channel: draft.channel,
    header,
    parent_header: draft.parent?.header,
    raw: {
      header: json(header),
      parent_header: draft.parent?.raw.header ?? EMPTY_OBJECT,
      metadata: json(draft.metadata ?? {}),
      content: json(draft.content),
    },
    buffers: draft.buffers ?? [],
  };
}

/** The parsed content; `undefined` if it is not an object. Never throws. */
export function contentOf(
  message: Pick<Message, "raw">,
): Readonly<Record<string, unknown>> | undefined {
  return objectIn(message.raw.content);
}

/** The JSON object in the bytes; `undefined` if they are anything else. Never throws. */
export function objectIn(
  bytes: Uint8Array,
): Readonly<Record<string, unknown>> | undefined {
  try {
    return objectOf(JSON.parse(bufferOf(bytes).toString()));
  } catch {
    return undefined;
  }
}

/** The value if it is an object and not a list. */
export function objectOf(
  value: unknown,
): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}

/** The header in the bytes; `undefined` if they are not a header. Never throws. */
export function headerIn(bytes: Uint8Array): Header | undefined {
  const header = objectIn(bytes);
  return typeof header?.["msg_id"] === "string" &&
    typeof header["msg_type"] === "string"
    ? (header as unknown as Header)
    : undefined;
}

/** The same bytes as a `Buffer`, without a copy. */
export function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Bytes of the four frames and the buffers. */
export function sizeOf({
  raw,
  buffers,
}: Pick<Message, "raw" | "buffers">): number {
  let size =
    raw.header.length +
    raw.parent_header.length +
    raw.metadata.length +
    raw.content.length;
  for (const buffer of buffers) size += buffer.length;
  return size;
}

export const EMPTY_OBJECT: Buffer = Buffer.from("{}");

function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}
