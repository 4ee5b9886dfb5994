/**
 * The events of a session, as a union to switch on.
 *
 * A kernel's messages differ by `msg_type`. They are typed if their content is
 * valid by the protocol; every other message is of kind `other`, so that no
 * message is hidden and every type is right.
 */
import type {
  Channel,
  ContentOf,
  Header,
  MessageType,
  SessionEvent as WireEvent,
} from "../contract/index.ts";
import { fromBase64 } from "./base64.ts";
import { contents, events } from "./checks.ts";
import { BROKEN, isRecord, NOT_JSON } from "./frames.ts";

interface Envelope {
  /** The event's number in the session's journal. */
  readonly seq: number;
  readonly channel: Channel;
  readonly header: Header;
  readonly parent_header: Header | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly buffers: readonly Uint8Array[];
}

/** A message of a known type. */
export type MessageOf<T extends MessageType> = T extends unknown
  ? Envelope & {
      readonly kind: "jupyter";
      readonly msg_type: T;
      readonly content: ContentOf<T>;
    }
  : never;

/** A message of an unknown type, or with content that is not valid for its type. */
export interface OtherMessage extends Envelope {
  readonly kind: "other";
  readonly msg_type: string;
  readonly content: Readonly<Record<string, unknown>>;
}

export type Message = MessageOf<MessageType> | OtherMessage;

/** The client received an event that it cannot read, or of a kind that it does not know. */
export interface UnreadableEvent {
  readonly kind: "unreadable";
  /** The number of the event before it, if its own is not known. */
  readonly seq: number;
  readonly why: string;
}

/** Any event of a session. Switch on `kind`, and within `jupyter` on `msg_type`. */
export type SessionEvent =
  Message | UnreadableEvent | Exclude<WireEvent, { kind: "jupyter" }>;

export function isMessage(event: SessionEvent): event is Message {
  return event.kind === "jupyter" || event.kind === "other";
}

/** server → client. `seq`: the number of an event that has none of its own. */
export function toEvent(event: unknown, seq: number): SessionEvent {
  if (event === BROKEN) return unreadable(seq, NOT_JSON);
  if (!isRecord(event)) return unreadable(seq, "it is not an object");
  const { kind } = event;
  if (kind === "jupyter") {
    return toMessage(event) ?? unreadable(seq, "it is not a Jupyter message");
  }
  if (isKind(kind) && events[kind](event)) {
    // Checked by the contract. Additional members of a newer server are accepted.
    return event as Exclude<WireEvent, { kind: "jupyter" }>;
  }
  const what = typeof kind === "string" ? kind.slice(0, 64) : "nothing";
  return unreadable(seq, `its kind ${what} is not known here`);
}

export function unreadable(seq: number, why: string): UnreadableEvent {
  return { kind: "unreadable", seq, why };
}

const CHANNELS: ReadonlySet<unknown> = new Set([
  "shell",
  "control",
  "stdin",
  "iopub",
]);

function toMessage(
  event: Readonly<Record<string, unknown>>,
): Message | undefined {
  const { seq, channel, header, parent_header = null, buffers = [] } = event;
  const isMessage =
    Number.isSafeInteger(seq) &&
    CHANNELS.has(channel) &&
    isHeader(header) &&
    (parent_header === null || isRecord(parent_header)) &&
    Array.isArray(buffers);
  if (!isMessage) return undefined;
  const decoded = decodedFrom(buffers);
  if (decoded === undefined) return undefined;
  const { msg_type } = header;
  // A kernel may send any JSON here.
  const content = isRecord(event["content"]) ? event["content"] : {};
  const metadata = isRecord(event["metadata"]) ? event["metadata"] : {};
  const isKnown = isMessageType(msg_type) && contents[msg_type](content);
  // `isKnown` has checked that the content fits its type.
  return {
    kind: isKnown ? "jupyter" : "other",
    seq,
    channel,
    msg_type,
    header,
    parent_header,
    metadata,
    content,
    buffers: decoded,
  } as Message;
}

function isHeader(header: unknown): header is Header {
  return (
    isRecord(header) &&
    typeof header["msg_id"] === "string" &&
    typeof header["msg_type"] === "string"
  );
}

function decodedFrom(buffers: readonly unknown[]): Uint8Array[] | undefined {
  try {
    return buffers.map((buffer) => fromBase64(buffer as string));
  } catch {
    return undefined; // not base64
  }
}

function isKind(kind: unknown): kind is keyof typeof events {
  return typeof kind === "string" && Object.hasOwn(events, kind);
}

export function isMessageType(name: string): name is MessageType {
  return Object.hasOwn(contents, name);
}

/** An estimate of the memory of an event, in bytes; only long members matter. */
export function weightOf(event: SessionEvent): number {
  if (!isMessage(event)) return 256;
  let weight = 512 + weigh(event.content, 3);
  for (const buffer of event.buffers) weight += buffer.byteLength;
  return weight;
}

function weigh(value: unknown, depth: number): number {
  if (typeof value === "string") return value.length;
  if (typeof value !== "object" || value === null || depth === 0) return 8;
  let weight = 8;
  for (const member of Object.values(value)) weight += weigh(member, depth - 1);
  return weight;
}
