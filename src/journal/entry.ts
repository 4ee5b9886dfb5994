/**
 * One numbered message or event of a session, as a view of its slab. A view is
 * valid in the current turn of the event loop; code that keeps an entry for
 * longer keeps its `copy`.
 */
import type { OwnEvent } from "../../contract/index.ts";
import {
  type Channel,
  contentOf,
  type Header,
  type Message,
  objectIn,
  type RawFrames,
} from "../jupyter/message.ts";
import { recordLength } from "../jupyter/record.ts";
import { framedLength } from "../jupyter/websocket-frame.ts";
import { eventText, Slab } from "./slab.ts";

export class Entry {
  readonly slab: Slab;
  readonly row: number;

  constructor(slab: Slab, row: number) {
    this.slab = slab;
    this.row = row;
  }

  /** An entry that belongs to no journal. Copies the message. */
  static of(seq: number, message: Message): Entry {
    const slab = new Slab(seq, recordLength(message));
    slab.append(message);
    return new Entry(slab, 0);
  }

  /** The same for an event. */
  static ofEvent(seq: number, event: OwnEvent): Entry {
    return Entry.ofEncodedEvent(seq, event.kind, eventText(event, seq));
  }

  /** The same for an event that is already encoded. */
  static ofEncodedEvent(seq: number, kind: string, json: Uint8Array): Entry {
    const slab = new Slab(seq, framedLength(json.length));
    slab.appendEvent(kind, json);
    return new Entry(slab, 0);
  }

  get seq(): number {
    return this.slab.first + this.row;
  }

  /** Bytes that the entry takes in the journal. */
  get size(): number {
    return this.slab.sizeOf(this.row, this.row + 1);
  }

  /** The JSON text that clients read. */
  get text(): Buffer {
    return this.slab.textOf(this.row);
  }

  /** Whether the entry is an event of the server. If not, it is a message, and the members below `event` apply. */
  get isEvent(): boolean {
    return this.slab.isEvent(this.row);
  }

  get event(): OwnEvent {
    const event = JSON.parse(this.text.toString()) as OwnEvent & {
      seq?: number;
    };
    delete event.seq;
    return event;
  }

  get channel(): Channel {
    return this.slab.channelOf(this.row);
  }

  get msg_type(): string {
    return this.slab.typeOf(this.row);
  }

  get msg_id(): string {
    return (objectIn(this.raw.header) as Header).msg_id; // the header was checked on receipt
  }

  /** The `msg_id` of the request that caused it. */
  get parent_id(): string | undefined {
    return this.slab.parentOf(this.row);
  }

  /** The four frames as the kernel sent them. */
  get raw(): RawFrames {
    return this.slab.framesOf(this.row);
  }

  get buffers(): readonly Buffer[] {
    return this.slab.buffersOf(this.row);
  }

  /** The whole message. Its frames are views too. */
  get message(): Message {
    const { channel, raw, buffers } = this;
    const header = objectIn(raw.header) as Header; // it was an object when it arrived
    const parent_header = objectIn(raw.parent_header) as Header | undefined;
    return { channel, header, parent_header, raw, buffers };
  }

  /** The parsed content; `undefined` if it is not an object. */
  get content(): Readonly<Record<string, unknown>> | undefined {
    return contentOf(this);
  }

  /** The same entry in its own memory. */
  copy(): Entry {
    const { rows, bytes, ...rest } = this.slab.partsOf(this.row, this.row + 1);
    return new Entry(
      Slab.of({ ...rest, rows, bytes: new Uint8Array(bytes) }),
      0,
    );
  }
}
