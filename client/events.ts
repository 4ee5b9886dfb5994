/**
 * What a session says, as a union to switch on.
 *
 * A kernel's messages are told apart by `msg_type`, and typed where what came
 * is what the protocol says; everything else that a kernel may say is there
 * too, as `other`, so that nothing is hidden and no type lies.
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
  /** Its place in the session's journal. */
  readonly seq: number;
  readonly channel: Channel;
  readonly header: Header;
  readonly parent_header: Header | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly buffers: readonly Uint8Array[];
}

/** A message of a kind that we know. */
export type MessageOf<T extends MessageType> = T extends unknown
  ? Envelope & {
      readonly kind: "jupyter";
      readonly msg_type: T;
      readonly content: ContentOf<T>;
    }
  : never;

/** A message of another kind, or one that is not what its kind should be. */
export interface OtherMessage extends Envelope {
  readonly kind: "other";
  readonly msg_type: string;
  readonly content: Readonly<Record<string, unknown>>;
}

export type Message = MessageOf<MessageType> | OtherMessage;

/** Something came that could not be read, or is of a kind that is not known here: what it said is missing. */
export interface UnreadableEvent {
  readonly kind: "unreadable";
  /** The number before it, where its own is not known. */
  readonly seq: number;
  readonly why: string;
}

/** Everything a session says. Switch on `kind`, and within `jupyter` on `msg_type`. */
export type SessionEvent =
  Message | UnreadableEvent | Exclude<WireEvent, { kind: "jupyter" }>;

export function isMessage(event: SessionEvent): event is Message {
  return event.kind === "jupyter" || event.kind === "other";
}

/** server → client, whatever it is. `seq` is its number, where it does not say it itself. */
export function toEvent(event: unknown, seq: number): SessionEvent {
  if (event === BROKEN) return unreadable(seq, NOT_JSON);
  if (!isRecord(event)) return unreadable(seq, "it is no object");
  const { kind } = event;
  if (kind === "jupyter") {
    return toMessage(event) ?? unreadable(seq, "it is no Jupyter message");
  }
  if (isKind(kind) && events[kind](event)) {
    // Checked as the contract says; what a newer server says beside that passes.
    return event as Exclude<WireEvent, { kind: "jupyter" }>;
  }
  const what = typeof kind === "string" ? kind.slice(0, 64) : "nothing";
  return unreadable(seq, `as an event of kind ${what} it is not known here`);
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
  // A kernel may write anything that is JSON.
  const content = isRecord(event["content"]) ? event["content"] : {};
  const metadata = isRecord(event["metadata"]) ? event["metadata"] : {};
  const isKnown = isMessageType(msg_type) && contents[msg_type](content);
  // Checked on the line above: the content is what its type says.
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
    return undefined; // no base64
  }
}

function isKind(kind: unknown): kind is keyof typeof events {
  return typeof kind === "string" && Object.hasOwn(events, kind);
}

export function isMessageType(name: string): name is MessageType {
  return Object.hasOwn(contents, name);
}

/** Roughly the memory that it takes; what counts is what is long. */
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
