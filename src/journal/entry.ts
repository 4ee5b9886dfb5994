/**
 * One numbered thing that a session has said, as a view of the slab that it
 * lies in. It is made for code that must look, and is valid for that turn of
 * the event loop: whoever keeps one keeps its `copy`.
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

  /** A message that is in no journal. Copies it. */
  static of(seq: number, message: Message): Entry {
    const slab = new Slab(seq, recordLength(message));
    slab.append(message);
    return new Entry(slab, 0);
  }

  /** An event that is in no journal. */
  static ofEvent(seq: number, event: OwnEvent): Entry {
    return Entry.ofEncodedEvent(seq, event.kind, eventText(event, seq));
  }

  /** The same of an event that is spelled already. */
  static ofEncodedEvent(seq: number, kind: string, json: Uint8Array): Entry {
    const slab = new Slab(seq, framedLength(json.length));
    slab.appendEvent(kind, json);
    return new Entry(slab, 0);
  }

  get seq(): number {
    return this.slab.first + this.row;
  }

  /** Bytes that it takes in the journal. */
  get size(): number {
    return this.slab.sizeOf(this.row, this.row + 1);
  }

  /** The JSON text that clients read. */
  get text(): Buffer {
    return this.slab.textOf(this.row);
  }

  /** Whether it is an event of ours. Else it is a message, and has all that is below `event`. */
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
    return (objectIn(this.raw.header) as Header).msg_id; // it was one when it came
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

  /** The parsed content, where it is an object. */
  get content(): Readonly<Record<string, unknown>> | undefined {
    return contentOf(this);
  }

  /** The same, in memory of its own. */
  copy(): Entry {
    const { rows, bytes, ...rest } = this.slab.partsOf(this.row, this.row + 1);
    return new Entry(
      Slab.of({ ...rest, rows, bytes: new Uint8Array(bytes) }),
      0,
    );
  }
}
