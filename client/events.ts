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
import { contents } from "../contract/messages.ts";
import { fromBase64 } from "./base64.ts";

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

/** Everything a session says. Switch on `kind`, and within `jupyter` on `msg_type`. */
export type SessionEvent = Message | Exclude<WireEvent, { kind: "jupyter" }>;

export function isMessage(event: SessionEvent): event is Message {
  return event.kind === "jupyter" || event.kind === "other";
}

/** server → client */
export function toEvent(event: WireEvent): SessionEvent {
  if (event.kind !== "jupyter") return event;
  const { seq, channel, header, parent_header, metadata, content } = event;
  const { msg_type } = header;
  const isKnown =
    isMessageType(msg_type) && contents[msg_type].safeParse(content).success;
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
    buffers: event.buffers.map(fromBase64),
  } as Message;
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
