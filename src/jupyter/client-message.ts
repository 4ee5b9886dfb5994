/**
 * Decodes a client's message for the kernel.
 *
 * In a frame of JSON text, content, metadata and headers stay the client's bytes,
 * so that integers such as 2^63 and the order of keys are kept. A frame is read
 * in short steps, and parts that may be large are not parsed.
 */
import { failure } from "../../contract/index.ts";
import { limits } from "../../contract/limits.ts";
import {
  BadText,
  type JsonText,
  jsonText,
  type TextBounds,
} from "./json-text.ts";
import { indexObject } from "./large-json.ts";
import { compose, EMPTY_OBJECT, type Header, type Message } from "./message.ts";

/** Values for header fields that the client omits. */
export interface HeaderDefaults {
  readonly session: string;
  readonly username: string;
  readonly version: string;
}

const clientChannels = ["shell", "control", "stdin"] as const;
type ClientChannel = (typeof clientChannels)[number];
const FRAME = {
  depth: limits.depth,
  values: limits.input_values,
  uncounted: new Set(["content", "metadata", "buffers"]),
};

/** Reads one text frame at once. Throws `bad_message`, which never contains any of the frame. */
export function fromClientText(
  text: Buffer,
  defaults: HeaderDefaults,
): Message {
  const steps = clientMessage(text, defaults);
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/** The same, in short steps. Without `defaultChannel` the client must name a channel. */
export function* clientMessage(
  text: Buffer,
  defaults: HeaderDefaults,
  defaultChannel?: ClientChannel,
): Generator<void, Message> {
  const { kind, members } = yield* read(text, FRAME, "it");
  if (kind !== "object") throw bad("it is not a JSON object");
  if (defaultChannel !== undefined) mendMembers(members);
  const named = members.get("channel");
  const channel =
    named === undefined
      ? defaultChannel
      : clientChannels.find((name) => isText(named, name));
  if (channel === undefined) {
    throw bad(`\`channel\` is not one of ${clientChannels.join(", ")}`);
  }
  const message = yield* fromMembers(
    channel,
    {
      header: members.get("header"),
      parent_header: members.get("parent_header"),
      metadata: members.get("metadata") ?? EMPTY_OBJECT,
      content: members.get("content"),
    },
    defaults,
  );
  const buffers = yield* clientBuffers(members.get("buffers") ?? NONE);
  return { ...message, buffers };
}

/** Clients of Jupyter write `msg_id` and `msg_type` beside the header, some of them only there, and no buffers as `{}`. */
function mendMembers(members: Map<string, Buffer>): void {
  if (members.get("buffers")?.toString("latin1", 0, 3) === "{}") {
    members.delete("buffers");
  }
  const header = headerIn(members.get("header"), "header") ?? {};
  if (typeof header !== "object" || Array.isArray(header)) return;
  if (isHeader(header)) return;
  const msg_id = headerIn(members.get("msg_id"), "msg_id");
  const msg_type = headerIn(members.get("msg_type"), "msg_type");
  members.set("header", bytesOf({ msg_id, msg_type, ...header }));
}

/** The parts of a message, received separately. */
export interface ClientParts {
  readonly channel: string;
  /** JSON texts. */
  readonly header: Buffer;
  readonly parent_header: Buffer;
  readonly metadata: Buffer;
  readonly content: Buffer;
  readonly buffers: readonly Buffer[];
}

/** Reads the parts in short steps. Throws `bad_message`. */
export function* fromClientParts(
  { buffers, channel: named, ...texts }: ClientParts,
  defaults: HeaderDefaults,
): Generator<void, Message> {
  const channel = clientChannels.find((name) => name === named);
  if (channel === undefined) {
    throw bad(`the channel is not one of ${clientChannels.join(", ")}`);
  }
  for (const [name, text] of Object.entries(texts)) {
    yield* read(text, { depth: limits.depth }, `\`${name}\``);
  }
  const message = yield* fromMembers(channel, texts, defaults);
  return { ...message, buffers };
}

/** A message of members that are JSON, each for itself; without buffers. Throws `bad_message`. */
function* fromMembers(
  channel: ClientChannel,
  members: {
    readonly [Name in keyof Message["raw"]]: Buffer | undefined;
  },
  defaults: HeaderDefaults,
): Generator<void, Omit<Message, "buffers">> {
  const header = headerIn(members.header, "header");
  if (!isHeader(header)) {
    throw bad("`header` is not an object with a `msg_id` and a `msg_type`");
  }
  const parent = headerIn(members.parent_header, "parent_header");
  const content = objectBytes(members.content, "content");
  const metadata = objectBytes(members.metadata, "metadata");
  yield* indexObject(content);
  yield* indexObject(metadata);
  const [whole, bytes] = completed(
    header,
    members.header ?? EMPTY_OBJECT,
    defaults,
  );
  return {
    channel,
    header: whole,
    parent_header: isHeader(parent) ? parent : undefined,
    raw: {
      header: bytes,
      parent_header: isHeader(parent)
        ? (members.parent_header ?? EMPTY_OBJECT)
        : EMPTY_OBJECT,
      metadata,
      content,
    },
  };
}

/** The unparsed members of a message: JSON objects and buffers as bytes. */
export interface RawMembers {
  readonly header?: Uint8Array | undefined;
  readonly parent_header?: Uint8Array | undefined;
  readonly content?: Uint8Array | undefined;
  readonly metadata?: Uint8Array | undefined;
  readonly buffers?: readonly Uint8Array[] | undefined;
}

/** A message that was parsed before, for example by tRPC. Throws `bad_message`. */
export function fromClientValue(
  value: {
    readonly channel: ClientChannel;
    readonly header: Readonly<Record<string, unknown>>;
    readonly parent_header?:
      Readonly<Record<string, unknown>> | null | undefined;
    readonly metadata?: Readonly<Record<string, unknown>> | undefined;
    readonly content: Readonly<Record<string, unknown>>;
    readonly buffers?: readonly string[] | undefined;
  },
  defaults: HeaderDefaults,
  unread: RawMembers = {},
): Message {
  const { header, parent_header, metadata, buffers } = value;
  if (!isHeader(header)) {
    throw bad("`header` is not an object with a `msg_id` and a `msg_type`");
  }
  const [whole, bytes] = completed(
    header,
    unread.header ?? bytesOf(header),
    defaults,
  );
  const parent = isHeader(parent_header) ? parent_header : undefined;
  return {
    channel: value.channel,
    header: whole,
    parent_header: parent,
    raw: {
      header: bytes,
      parent_header:
        parent === undefined
          ? EMPTY_OBJECT
          : (unread.parent_header ?? bytesOf(parent)),
      metadata:
        unread.metadata ??
        (metadata === undefined ? EMPTY_OBJECT : bytesOf(metadata)),
      content: unread.content ?? bytesOf(value.content),
    },
    buffers: unread.buffers ?? (buffers ?? []).map(fromBase64),
  };
}

/** A request that the server sends for a client. */
export function request(
  msg_type: string,
  content: Readonly<Record<string, unknown>>,
  options: HeaderDefaults & {
    readonly channel?: "shell" | "control";
    readonly metadata?: Readonly<Record<string, unknown>> | undefined;
    readonly msg_id?: string;
    /** A JSON object that replaces `content`. */
    readonly unread?: Uint8Array | undefined;
  },
): Message {
  const message = compose({ channel: "shell", ...options, msg_type, content });
  const { unread = message.raw.content } = options;
  return { ...message, raw: { ...message.raw, content: unread } };
}

const NONE = Buffer.from("[]");
const OPENING_BRACE = 0x7b;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Reads the text to its end. Throws `bad_message`. */
function* read(
  text: Buffer,
  bounds: TextBounds,
  name: string,
): Generator<void, JsonText> {
  try {
    return yield* jsonText(text, bounds);
  } catch (cause) {
    if (!(cause instanceof BadText)) throw cause;
    const isJson = cause.reason !== "not_json";
    throw bad(isJson ? cause.message : `${name} is not JSON`, cause);
  }
}

/** Whether the JSON text is this string, in any encoding of its characters. */
function isText(bytes: Buffer | undefined, text: string): boolean {
  if (bytes === undefined || bytes.length > 6 * text.length + 2) return false;
  return JSON.parse(bytes.toString()) === text;
}

function headerIn(bytes: Buffer | undefined, name: string): unknown {
  if (bytes === undefined) return undefined;
  if (bytes.length > limits.header_bytes) {
    throw bad(`\`${name}\` is larger than ${limits.header_bytes} bytes`);
  }
  return JSON.parse(bytes.toString());
}

/** The bytes of an object; `{}` for `null`. */
function objectBytes(bytes: Buffer | undefined, name: string): Buffer {
  if (bytes === undefined) throw bad(`\`${name}\` is missing`);
  if (bytes[0] === OPENING_BRACE) return bytes;
  if (bytes.length === 4 && bytes.toString() === "null") return EMPTY_OBJECT;
  throw bad(`\`${name}\` is not an object`);
}

/** Characters of base64 that are decoded in one step. */
const STEP = 64 * 1024;

/** As many frames as a message of a kernel may have. */
const MOST_BUFFERS = 65_536;

/** The buffers in a JSON list of base64 texts. Throws `bad_message`. */
export function* clientBuffers(
  list: Buffer,
): Generator<void, readonly Uint8Array[]> {
  if (list.length <= 2) return emptyList(list);
  const bounds = { depth: 2, items: MOST_BUFFERS };
  const { kind, items } = yield* read(list, bounds, "`buffers`");
  if (kind !== "array") throw bad("`buffers` is not a list");
  const buffers: Uint8Array[] = [];
  for (const item of items) {
    if (item[0] !== QUOTE) throw bad("a buffer is not a text");
    buffers.push(yield* decoded(base64In(item)));
    yield;
  }
  return buffers;
}

function emptyList(list: Buffer): readonly Uint8Array[] {
  if (list.toString() !== "[]") throw bad("`buffers` is not a list");
  return [];
}

/** The text between the quotes. Some encoders write `\/` for a slash. */
function base64In(text: Buffer): Buffer {
  const inner = text.subarray(1, -1);
  if (!inner.includes(BACKSLASH)) return inner;
  if (text.length > limits.input_bytes) {
    throw bad("a large buffer has escapes in its text");
  }
  return Buffer.from(JSON.parse(text.toString()) as string);
}

function* decoded(base64: Buffer): Generator<void, Uint8Array> {
  if (base64.length <= STEP) return fromBase64(base64.toString("latin1"));
  const bytes = Buffer.allocUnsafe(Math.ceil(base64.length / 4) * 3);
  let size = 0;
  for (let at = 0; at < base64.length; at += STEP) {
    const text = base64.toString("latin1", at, at + STEP);
    const isLast = at + STEP >= base64.length;
    if (!isLast && text.endsWith("=")) throw bad("a buffer is not base64");
    const piece = fromBase64(text);
    bytes.set(piece, size);
    size += piece.length;
    yield;
  }
  return bytes.subarray(0, size);
}

/** Fills in missing header fields. A complete header keeps its bytes. */
function completed(
  header: Header,
  bytes: Uint8Array,
  defaults: HeaderDefaults,
): [Header, Uint8Array] {
  const isWhole =
    typeof header.session === "string" &&
    typeof header.username === "string" &&
    typeof header.date === "string" &&
    typeof header.version === "string";
  if (isWhole) return [header, bytes];
  const { session, username, version } = defaults;
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

function fromBase64(text: string): Uint8Array {
  const buffer = Buffer.from(text, "base64");
  // Node skips characters that are not base64; the lengths then differ.
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  if (
    text.length % 4 !== 0 ||
    buffer.length !== (text.length / 4) * 3 - padding
  ) {
    throw bad("a buffer is not padded base64");
  }
  return buffer;
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

/** The depth of the value was checked on receipt. */
function bytesOf(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function bad(what: string, cause?: unknown) {
  const why = `The message was not sent to the kernel: ${what}`;
  return failure("bad_message", { why }, { cause });
}
