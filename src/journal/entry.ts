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

export type Entry = MessageEntry | EventEntry;

abstract class View {
  readonly slab: Slab;
  readonly row: number;

  constructor(slab: Slab, row: number) {
    this.slab = slab;
    this.row = row;
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
}

export class EventEntry extends View {
  /** One that is in no journal. */
  static of(seq: number, event: OwnEvent): EventEntry {
    return EventEntry.spelled(seq, event.kind, eventText(event, seq));
  }

  /** The same of an event that is spelled already. */
  static spelled(seq: number, kind: string, json: Uint8Array): EventEntry {
    const slab = new Slab(seq, framedLength(json.length));
    slab.appendEvent(kind, json);
    return new EventEntry(slab, 0);
  }

  get event(): OwnEvent {
    const event = JSON.parse(this.text.toString()) as OwnEvent & {
      seq?: number;
    };
    delete event.seq;
    return event;
  }
}

export class MessageEntry extends View {
  /** One that is in no journal. Copies the message. */
  static of(seq: number, message: Message): MessageEntry {
    const slab = new Slab(seq, recordLength(message));
    slab.append(message);
    return new MessageEntry(slab, 0);
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
  copy(): MessageEntry {
    const { rows, bytes, ...rest } = this.slab.partsOf(this.row, this.row + 1);
    return new MessageEntry(
      Slab.of({ ...rest, rows, bytes: new Uint8Array(bytes) }),
      0,
    );
  }
}
