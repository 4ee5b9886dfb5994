/**
 * What a client says, as a message for the kernel.
 *
 * In a frame of JSON text, content, metadata and headers stay the bytes that
 * the client wrote: a client that means 2^63 or keeps its keys in order is
 * taken at its word.
 */
import { failure } from "../../contract/index.ts";
import { compose, EMPTY_OBJECT, type Header, type Message } from "./message.ts";
import { membersOf, NotAnObject } from "./json-members.ts";

/** Who speaks, where the client does not say. */
export interface Defaults {
  readonly session: string;
  readonly username: string;
  readonly version: string;
}

const clientChannels = ["shell", "control", "stdin"] as const;

/** Reads one text frame. Throws `bad_message`, which never holds what was in it. */
export function fromClientText(text: Buffer, defaults: Defaults): Message {
  const members = namesAndBytes(text);
  const channel = clientChannels.find(
    (name) => name === parsed(members.get("channel"), "channel"),
  );
  if (channel === undefined) {
    throw bad(`\`channel\` is none of ${clientChannels.join(", ")}`);
  }
  const header = parsed(members.get("header"), "header");
  if (!isHeader(header)) {
    throw bad("`header` is no object with a `msg_id` and a `msg_type`");
  }
  const parent = parsed(members.get("parent_header") ?? NULL, "parent_header");
  const content = objectBytes(members.get("content"), "content");
  const metadata = objectBytes(members.get("metadata"), "metadata");
  const [whole, bytes] = completed(
    header,
    members.get("header") ?? EMPTY_OBJECT,
    defaults,
  );
  return {
    channel,
    header: whole,
    parent_header: isHeader(parent) ? parent : undefined,
    raw: {
      header: bytes,
      parent_header: isHeader(parent)
        ? (members.get("parent_header") ?? EMPTY_OBJECT)
        : EMPTY_OBJECT,
      metadata,
      content,
    },
    buffers: fromBase64(parsed(members.get("buffers") ?? NONE, "buffers")),
  };
}

/** A message that was parsed on its way here, as by tRPC. Throws `bad_message`. */
export function fromClientValue(
  value: {
    readonly channel: "shell" | "control" | "stdin";
    readonly header: Readonly<Record<string, unknown>>;
    readonly parent_header?:
      Readonly<Record<string, unknown>> | null | undefined;
    readonly metadata?: Readonly<Record<string, unknown>> | undefined;
    readonly content: Readonly<Record<string, unknown>>;
    readonly buffers?: readonly string[] | undefined;
  },
  defaults: Defaults,
): Message {
  const { header, parent_header, content, metadata, buffers } = value;
  if (!isHeader(header)) {
    throw bad("`header` is no object with a `msg_id` and a `msg_type`");
  }
  const [whole, bytes] = completed(header, bytesOf(header), defaults);
  const parent = isHeader(parent_header) ? parent_header : undefined;
  return {
    channel: value.channel,
    header: whole,
    parent_header: parent,
    raw: {
      header: bytes,
      parent_header: parent === undefined ? EMPTY_OBJECT : bytesOf(parent),
      metadata: metadata === undefined ? EMPTY_OBJECT : bytesOf(metadata),
      content: bytesOf(content),
    },
    buffers: fromBase64(buffers ?? []),
  };
}

/** A request that the server makes on a client's behalf. */
export function request(
  msg_type: string,
  content: Readonly<Record<string, unknown>>,
  options: Defaults & {
    readonly channel?: "shell" | "control";
    readonly metadata?: Readonly<Record<string, unknown>> | undefined;
    readonly msg_id?: string;
  },
): Message {
  return compose({ channel: "shell", ...options, msg_type, content });
}

const NULL = Buffer.from("null");
const NONE = Buffer.from("[]");

function namesAndBytes(text: Buffer): Map<string, Buffer> {
  try {
    return membersOf(text);
  } catch (cause) {
    if (cause instanceof NotAnObject) throw bad("it is no JSON object", cause);
    throw cause;
  }
}

function parsed(bytes: Buffer | undefined, name: string): unknown {
  if (bytes === undefined) throw bad(`\`${name}\` is missing`);
  try {
    return JSON.parse(bytes.toString());
  } catch (cause) {
    throw bad(`\`${name}\` is no JSON`, cause);
  }
}

/** The bytes, once they are known to be an object; absent or `null` is `{}`. */
function objectBytes(bytes: Buffer | undefined, name: string): Uint8Array {
  if (bytes === undefined && name === "metadata") return EMPTY_OBJECT;
  const value = parsed(bytes, name);
  if (value === null) return EMPTY_OBJECT;
  if (typeof value !== "object" || Array.isArray(value)) {
    throw bad(`\`${name}\` is no object`);
  }
  return bytes ?? EMPTY_OBJECT;
}

/** What the header lacks is filled in; one that lacks nothing stays the bytes it was. */
function completed(
  header: Header,
  bytes: Uint8Array,
  { session, username, version }: Defaults,
): [Header, Uint8Array] {
  const isWhole = ["session", "username", "date", "version"].every(
    (name) => typeof header[name] === "string",
  );
  if (isWhole) return [header, bytes];
  const whole = {
    session,
    username,
    version,
    ...header,
    date:
      typeof header.date === "string" ? header.date : new Date().toISOString(),
  };
  return [whole, bytesOf(whole)];
}

function fromBase64(buffers: unknown): readonly Uint8Array[] {
  if (!Array.isArray(buffers)) throw bad("`buffers` is no list");
  return buffers.map((text: unknown) => {
    if (typeof text !== "string") throw bad("a buffer is no text");
    const buffer = Buffer.from(text, "base64");
    // Node skips what is no base64; the lengths then disagree.
    const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
    if (
      text.length % 4 !== 0 ||
      buffer.length !== (text.length / 4) * 3 - padding
    ) {
      throw bad("a buffer is no padded base64");
    }
    return buffer;
  });
}

function isHeader(value: unknown): value is Header {
  if (typeof value !== "object" || value === null) return false;
  const { msg_id, msg_type } = value as Record<string, unknown>;
  return (
    typeof msg_id === "string" &&
    msg_id !== "" &&
    typeof msg_type === "string" &&
    msg_type !== ""
  );
}

function bytesOf(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function bad(what: string, cause?: unknown) {
  const why = `The message was not sent to the kernel: ${what}`;
  return failure("bad_message", { why }, { cause });
}
