/**
 * One numbered thing that a session has said.
 *
 * A Jupyter message becomes the JSON text that clients read, once, by splicing
 * the bytes that the kernel sent: this is the one copy between the kernel's
 * socket and a client's. Where each frame lies in the text is kept, so that a
 * protocol that wants the frames themselves gets those very bytes.
 */
import type { OwnEvent } from "../../contract/index.ts";
import {
  type Channel,
  contentOf,
  type Message,
  type RawFrames,
} from "../jupyter/message.ts";

export type Entry = MessageEntry | EventEntry;

/** Bytes that an entry costs beside its text: the objects around it, roughly. */
const OVERHEAD = 200;

export class EventEntry {
  readonly seq: number;
  readonly event: OwnEvent;
  readonly size: number;

  constructor(seq: number, event: OwnEvent) {
    this.seq = seq;
    this.event = event;
    this.size = OVERHEAD + JSON.stringify(event).length;
  }

  /** The event as clients read it. */
  get json(): readonly Buffer[] {
    return [Buffer.from(JSON.stringify({ ...this.event, seq: this.seq }))];
  }
}

/** What a message entry is made of. */
export type MessageParts = Pick<
  MessageEntry,
  | "seq"
  | "channel"
  | "msg_type"
  | "msg_id"
  | "parent_id"
  | "buffers"
  | "text"
  | "places"
>;

export class MessageEntry {
  readonly seq: number;
  readonly channel: Channel;
  readonly msg_type: string;
  readonly msg_id: string;
  /** The `msg_id` of the request that caused it. */
  readonly parent_id: string | undefined;
  /** Views of copies, never of a socket's read buffer. */
  readonly buffers: readonly Buffer[];
  /** JSON text up to and including `"buffers":[`, and `]}` where there are none. */
  readonly text: Buffer;
  /** Where header, parent_header, metadata and content begin and end in the text. */
  readonly places: readonly number[];
  readonly size: number;

  constructor(parts: MessageParts) {
    this.seq = parts.seq;
    this.channel = parts.channel;
    this.msg_type = parts.msg_type;
    this.msg_id = parts.msg_id;
    this.parent_id = parts.parent_id;
    this.buffers = parts.buffers;
    this.text = parts.text;
    this.places = parts.places;
    let size = OVERHEAD + parts.text.length;
    for (const buffer of parts.buffers) size += buffer.length;
    this.size = size;
  }

  /** Copies what it keeps of a message that was admitted. */
  static of(seq: number, message: Message): MessageEntry {
    return new MessageEntry({
      seq,
      channel: message.channel,
      msg_type: message.header.msg_type,
      msg_id: message.header.msg_id,
      parent_id: message.parent_header?.msg_id,
      buffers: message.buffers.map((buffer) => Buffer.from(buffer)),
      ...splice(seq, message),
    });
  }

  /**
   * The message as clients read it, in pieces that follow each other. Without
   * buffers it is one piece, and nothing is copied; buffers are spelled as
   * base64 at each call.
   */
  get json(): readonly Buffer[] {
    if (this.buffers.length === 0) return [this.text];
    const pieces = [this.text];
    for (const [index, buffer] of this.buffers.entries()) {
      pieces.push(
        Buffer.from(`${index === 0 ? "" : ","}"${buffer.toString("base64")}"`),
      );
    }
    pieces.push(END);
    return pieces;
  }

  /** The four frames as the kernel sent them. */
  get raw(): RawFrames {
    const [header, parent_header, metadata, content] = [0, 2, 4, 6].map((at) =>
      this.text.subarray(this.places[at], this.places[at + 1]),
    ) as [Buffer, Buffer, Buffer, Buffer];
    return {
      header,
      parent_header: this.parent_id === undefined ? EMPTY : parent_header,
      metadata,
      content,
    };
  }

  /** The parsed content, where it is an object. */
  get content(): Readonly<Record<string, unknown>> | undefined {
    return contentOf(this);
  }
}

const EMPTY = Buffer.from("{}");
const NULL = Buffer.from("null");
const PARENT = Buffer.from(',"parent_header":');
const METADATA = Buffer.from(',"metadata":');
const CONTENT = Buffer.from(',"content":');
const OPEN_BUFFERS = Buffer.from(',"buffers":[');
const END = Buffer.from("]}");

function splice(
  seq: number,
  { channel, raw, parent_header, buffers }: Message,
): { text: Buffer; places: number[] } {
  const pieces: Uint8Array[] = [
    Buffer.from(
      `{"kind":"jupyter","seq":${seq},"channel":"${channel}","header":`,
    ),
    raw.header,
    PARENT,
    parent_header === undefined ? NULL : raw.parent_header,
    METADATA,
    raw.metadata,
    CONTENT,
    raw.content,
    OPEN_BUFFERS,
  ];
  if (buffers.length === 0) pieces.push(END);
  const places: number[] = [];
  let at = 0;
  for (const [index, piece] of pieces.entries()) {
    if (index % 2 === 1) places.push(at, at + piece.length);
    at += piece.length;
  }
  return { text: Buffer.concat(pieces, at), places };
}
