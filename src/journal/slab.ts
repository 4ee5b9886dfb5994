/**
 * A slab: consecutive entries of a journal as bytes, with an index.
 * Only this file knows the layout; `docs/journal-format.md` describes it.
 *
 * A record is a WebSocket text frame as a server sends it: the frame's header,
 * then the JSON text that clients read. The server sends a range of records to a
 * WebSocket client, and writes it to disk, without a change. A message is copied
 * into its record once, from the memory into which the socket reads.
 *
 * The index has a row of eight words for each record. Numbers are dense: the
 * record in row `i` has the number `first + i`.
 */
import type { OwnEvent } from "../../contract/index.ts";
import {
  type Channel,
  channels,
  EMPTY_OBJECT,
  type Message,
  type RawFrames,
} from "../jupyter/message.ts";
import {
  SEPARATORS_LENGTH,
  type Burst,
  BURST_ROW,
  END,
  framesIn,
  separators,
  NUMBER_END,
  parentBytes,
  prefixOf,
  writeNumber,
  writeRecord,
} from "../jupyter/record.ts";
import { runAtOnce } from "../time/request-scheduler.ts";
import { writeFrameHeader } from "../jupyter/websocket-frame.ts";
import {
  type PinnedMemory,
  releaseMemory,
  takeMemory,
} from "../jupyter/record-memory.ts";

/** Words of a row. */
const ROW = 8;
/** The words of a row: offsets and lengths in bytes; names by their index in the slab's names. */
const OFFSET = 0;
const LENGTH = 1;
const HEADER = 2;
const PARENT_HEADER = 3;
const METADATA = 4;
const CONTENT = 5;
/** The index of the type's name in the low 24 bits; above them the channel's index in `channels`, and flags. */
const TYPE = 6;
/** The index of the name that is the `msg_id` of the request; 0 for none. */
const PARENT = 7;
const TYPE_MASK = 0xff_ffff;
const CHANNEL_SHIFT = 24;
const CHANNEL_MASK = 3;
const IS_EVENT = 1 << 26;
const HAS_BUFFERS = 1 << 27;

/** Bytes of a row, and the estimated bytes of a name. */
const ROW_SIZE = ROW * 4;
const NAME_SIZE = 128;

/** The index and the bytes of some records, as they are written to disk. */
export interface SlabParts {
  readonly first: number;
  readonly count: number;
  /** Little endian, 32 bytes a row. */
  readonly rows: Uint8Array;
  readonly names: readonly string[];
  readonly bytes: Uint8Array;
}

/** Where the frames of a message are in a slab. `separators` are between them. */
export interface Layout {
  channel: Channel;
  /** The offset of the header. */
  at: number;
  /** Bytes of each frame. */
  header: number;
  parent_header: number;
  metadata: number;
  content: number;
  /** If not, the client gets an empty parent header, whatever is there. */
  hasParent: boolean;
}

export class Slab implements PinnedMemory {
  /** The number of the first record. */
  readonly first: number;
  readonly #capacity: number;
  #bytes: Buffer;
  #end = 0;
  #rows: Int32Array;
  #count = 0;
  /** Types and ids, each once. Index 0 stands for none. */
  #names: string[];
  readonly #indexes = new Map<string, number>();
  #pins = 0;
  #isDropped = false;

  /** `capacity` is in bytes; `rows` is the expected number of records. */
  constructor(first: number, capacity: number, rows = 2) {
    this.first = first;
    this.#capacity = capacity;
    this.#bytes = takeMemory(capacity);
    this.#rows = new Int32Array(ROW * rows);
    this.#names = [""];
  }

  /** The slab keeps the bytes. Throws a `RangeError` if the index does not match them. */
  static of({ first, count, rows, names, bytes }: SlabParts): Slab {
    const slab = new Slab(first, 0);
    slab.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    slab.#end = bytes.length;
    slab.#count = count;
    slab.#rows = new Int32Array(count * ROW);
    new Uint8Array(slab.#rows.buffer).set(rows);
    slab.#names = [...names];
    slab.#check();
    return slab;
  }

  get count(): number {
    return this.#count;
  }

  /** The number of the last record; `first - 1` if there is none. */
  get last(): number {
    return this.first + this.#count - 1;
  }

  /** Bytes of the records and the index. */
  get size(): number {
    return (
      this.#end + this.#count * ROW_SIZE + (this.#names.length - 1) * NAME_SIZE
    );
  }

  /** Whether a record of `length` bytes fits. */
  hasRoom(length: number): boolean {
    return this.#end + length <= this.#capacity;
  }

  /** Copies the message. The caller has checked `hasRoom`. */
  append(message: Message): void {
    const offset = this.#end;
    const end = runAtOnce(writeRecord(this.#bytes, offset, message));
    this.#addMessage(message, offset, end);
  }

  /** A slab with one message, whose record exists already. The slab owns the record's memory. */
  static around(message: Message, record: Buffer, first: number): Slab {
    const slab = new Slab(first, 0);
    slab.#bytes = Buffer.from(record.buffer);
    slab.#addMessage(message, 0, record.length);
    return slab;
  }

  /** Adds the number and the row of a message whose record is written. */
  #addMessage(message: Message, offset: number, end: number): void {
    const { channel, header, parent_header, raw, buffers } = message;
    const text = offset + frameHeaderOf(end - offset);
    writeNumber(this.#bytes, text + NUMBER_END, this.first + this.#count);
    const row = this.#newRow(offset, end);
    row[HEADER] = raw.header.length;
    row[PARENT_HEADER] = parentBytes(message).length;
    row[METADATA] = raw.metadata.length;
    row[CONTENT] = raw.content.length;
    row[TYPE] =
      this.#nameOf(header.msg_type) |
      (channels.indexOf(channel) << CHANNEL_SHIFT) |
      (buffers.length > 0 ? HAS_BUFFERS : 0);
    row[PARENT] =
      parent_header === undefined ? 0 : this.#nameOf(parent_header.msg_id);
  }

  /** Copies the messages of a burst from row `start` on that fit. Returns their number. */
  appendBurst(burst: Burst, start: number): number {
    const { rows, records, count, msg_type, parent_id } = burst;
    const type =
      this.#nameOf(msg_type) | (channels.indexOf("iopub") << CHANNEL_SHIFT);
    const parent = this.#nameOf(parent_id);
    const origin = rows[0] as number;
    const from = rows[start * BURST_ROW] as number;
    const room = this.#capacity - this.#end;
    let end = from;
    let taken = 0;
    for (; start + taken < count; taken += 1) {
      const at = (start + taken) * BURST_ROW;
      const after = (rows[at] as number) + (rows[at + 1] as number);
      if (after - from > room) break;
      end = after;
    }
    if (taken === 0) return 0;
    this.#bytes.set(records.subarray(from - origin, end - origin), this.#end);
    const shift = this.#end - from;
    this.#reserve(taken);
    const own = this.#rows;
    const bytes = this.#bytes;
    for (let index = 0; index < taken; index += 1) {
      const at = (start + index) * BURST_ROW;
      const row = (this.#count + index) * ROW;
      const offset = (rows[at] as number) + shift;
      const length = rows[at + 1] as number;
      own[row + OFFSET] = offset;
      own[row + LENGTH] = length;
      own[row + HEADER] = rows[at + 2] as number;
      own[row + PARENT_HEADER] = rows[at + 3] as number;
      own[row + METADATA] = rows[at + 4] as number;
      own[row + CONTENT] = rows[at + 5] as number;
      own[row + TYPE] = type;
      own[row + PARENT] = parent;
      const text = offset + frameHeaderOf(length);
      writeNumber(bytes, text + NUMBER_END, this.first + this.#count + index);
    }
    this.#count += taken;
    this.#end = end + shift;
    return taken;
  }

  /** Copies the JSON text of an event of the server, with its number in it. The caller has checked `hasRoom`. */
  appendEvent(kind: string, json: Uint8Array): void {
    const offset = this.#end;
    const at = writeFrameHeader(this.#bytes, offset, json.length);
    this.#bytes.set(json, at);
    const row = this.#newRow(offset, at + json.length);
    row[CONTENT] = json.length;
    row[TYPE] = this.#nameOf(kind) | IS_EVENT;
  }

  isEvent(row: number): boolean {
    return (this.#word(row, TYPE) & IS_EVENT) !== 0;
  }

  channelOf(row: number): Channel {
    const at = (this.#word(row, TYPE) >>> CHANNEL_SHIFT) & CHANNEL_MASK;
    return channels[at] as Channel;
  }

  /** A message's type, or an event's kind. */
  typeOf(row: number): string {
    return this.#names[this.#word(row, TYPE) & TYPE_MASK] as string;
  }

  /** The `msg_id` of the request that caused it. */
  parentOf(row: number): string | undefined {
    const at = this.#word(row, PARENT);
    return at === 0 ? undefined : this.#names[at];
  }

  /** The JSON text that clients read. This result and those below are views, valid until the slab is dropped. */
  textOf(row: number): Buffer {
    const offset = this.#word(row, OFFSET);
    const end = offset + this.#word(row, LENGTH);
    return this.#bytes.subarray(this.#textAt(row), end);
  }

  /** The offset of the text from the beginning of `recordsOf(from, …)`. */
  textOffsetOf(row: number, from: number): number {
    return this.#textAt(row) - this.#word(from, OFFSET);
  }

  /** The length of the text in bytes. */
  textLengthOf(row: number): number {
    const length = this.#word(row, LENGTH);
    return length - frameHeaderOf(length);
  }

  /** Writes into `layout` where the frames of a message are. */
  layoutOf(row: number, layout: Layout): void {
    const channel = this.channelOf(row);
    layout.channel = channel;
    layout.at = this.#textAt(row) + prefixOf(channel).length;
    layout.header = this.#word(row, HEADER);
    layout.parent_header = this.#word(row, PARENT_HEADER);
    layout.metadata = this.#word(row, METADATA);
    layout.content = this.#word(row, CONTENT);
    layout.hasParent = this.#word(row, PARENT) !== 0;
  }

  /** The offset of the record in the slab, and its length. */
  offsetOf(row: number): number {
    return this.#word(row, OFFSET);
  }
  lengthOf(row: number): number {
    return this.#word(row, LENGTH);
  }

  hasBuffers(row: number): boolean {
    return (this.#word(row, TYPE) & HAS_BUFFERS) !== 0;
  }

  /** The four frames as the kernel sent them. */
  framesOf(row: number): RawFrames {
    const frames = framesIn(this.textOf(row), this.channelOf(row), {
      header: this.#word(row, HEADER),
      parent_header: this.#word(row, PARENT_HEADER),
      metadata: this.#word(row, METADATA),
      content: this.#word(row, CONTENT),
    });
    const hasNoParent = this.#word(row, PARENT) === 0;
    return hasNoParent ? { ...frames, parent_header: EMPTY_OBJECT } : frames;
  }

  buffersOf(row: number): readonly Buffer[] {
    if (!this.hasBuffers(row)) return [];
    const text = this.textOf(row);
    const { content } = this.framesOf(row);
    const at = content.byteOffset + content.length - text.byteOffset;
    const list = text.subarray(at + separators.buffers.length, -END.length);
    return list
      .toString("latin1")
      .split(",")
      .map((quoted) => Buffer.from(quoted.slice(1, -1), "base64"));
  }

  /** The bytes for a WebSocket client: the records from row `from` to before row `to`. */
  recordsOf(from: number, to: number): Buffer {
    return this.#bytes.subarray(this.#word(from, OFFSET), this.#endOf(to));
  }

  /** Bytes of these records and their rows. */
  sizeOf(from: number, to: number): number {
    if (from >= to) return 0;
    const length = this.#endOf(to) - this.#word(from, OFFSET);
    return length + (to - from) * ROW_SIZE;
  }

  /** These records with their index, for the disk. */
  partsOf(from: number, to: number): SlabParts {
    const start = this.#word(from, OFFSET);
    const rows = this.#rows.slice(from * ROW, to * ROW);
    for (let at = OFFSET; start > 0 && at < rows.length; at += ROW) {
      rows[at] = (rows[at] as number) - start;
    }
    const isWhole = from === 0 && to === this.#count;
    return {
      first: this.first + from,
      count: to - from,
      rows: new Uint8Array(rows.buffer),
      names: isWhole ? this.#names : usedNames(rows, this.#names),
      bytes: this.recordsOf(from, to),
    };
  }

  /** Keeps the memory of the slab until `unpin` was called as often as `pin`. */
  pin(): void {
    this.#pins += 1;
  }

  unpin(): void {
    this.#pins -= 1;
    if (this.#isDropped && this.#pins === 0) this.#freeMemory();
  }

  /** The journal does not need the slab any more. When it is not pinned, its memory is reused and its views become invalid. */
  drop(): void {
    this.#isDropped = true;
    if (this.#pins === 0) this.#freeMemory();
  }

  #freeMemory(): void {
    releaseMemory(this.#bytes.buffer);
    this.#bytes = NOTHING;
  }

  #word(row: number, word: number): number {
    return this.#rows[row * ROW + word] as number;
  }

  #endOf(to: number): number {
    return this.#word(to - 1, OFFSET) + this.#word(to - 1, LENGTH);
  }

  #textAt(row: number): number {
    return this.#word(row, OFFSET) + frameHeaderOf(this.#word(row, LENGTH));
  }

  /** Adds the row of the record from `offset` to `end`. All other words of the row are zero. */
  #newRow(offset: number, end: number): Int32Array {
    const at = this.#count * ROW;
    this.#reserve(1);
    const row = this.#rows.subarray(at, at + ROW);
    row[OFFSET] = offset;
    row[LENGTH] = end - offset;
    this.#count += 1;
    this.#end = end;
    return row;
  }

  /** Makes room for `count` rows. */
  #reserve(count: number): void {
    const needed = (this.#count + count) * ROW;
    if (needed <= this.#rows.length) return;
    const more = new Int32Array(Math.max(needed, this.#rows.length * 2));
    more.set(this.#rows);
    this.#rows = more;
  }

  #nameOf(name: string): number {
    let index = this.#indexes.get(name);
    if (index === undefined) {
      index = this.#names.push(name) - 1;
      this.#indexes.set(name, index);
    }
    return index;
  }

  /** Throws a `RangeError` if a row points outside of the bytes or the names. */
  #check(): void {
    let end = 0;
    const names = this.#names.length;
    for (let row = 0; row < this.#count; row += 1) {
      const text = this.#word(row, OFFSET) + this.#word(row, LENGTH);
      const frames = this.isEvent(row)
        ? 0
        : SEPARATORS_LENGTH +
          this.#word(row, HEADER) +
          this.#word(row, PARENT_HEADER) +
          this.#word(row, METADATA);
      const isWhole =
        this.#word(row, OFFSET) === end &&
        frames + this.#word(row, CONTENT) <= this.#word(row, LENGTH) &&
        (this.#word(row, TYPE) & TYPE_MASK) < names &&
        this.#word(row, PARENT) >>> 0 < names;
      if (!isWhole)
        throw new RangeError(
          "The index of a chunk of the journal does not match its records",
        );
      end = text;
    }
    if (end !== this.#bytes.length) {
      throw new RangeError(
        "The index of a chunk of the journal does not match its records",
      );
    }
  }
}

const NOTHING = Buffer.alloc(0);

/** The names that these rows need, and changes the rows to their indexes among those. */
function usedNames(rows: Int32Array, all: readonly string[]): string[] {
  const used = [""];
  const indexes = new Map([[0, 0]]);
  const indexOf = (old: number): number => {
    let index = indexes.get(old);
    if (index === undefined) {
      index = used.push(all[old] as string) - 1;
      indexes.set(old, index);
    }
    return index;
  };
  for (let row = 0; row < rows.length; row += ROW) {
    const type = rows[row + TYPE] as number;
    rows[row + TYPE] = (type & ~TYPE_MASK) | indexOf(type & TYPE_MASK);
    rows[row + PARENT] = indexOf(rows[row + PARENT] as number);
  }
  return used;
}

/** Bytes of an entry: its record and its row. */
export function entrySize(record: number): number {
  return record + ROW_SIZE;
}

/** Bytes of the frame's header in a record of `record` bytes. */
function frameHeaderOf(record: number): number {
  if (record < 126 + 2) return 2;
  return record < 65_536 + 4 ? 4 : 10;
}

/** The JSON text of an event of the server. */
export function eventText(event: OwnEvent, seq: number): Buffer {
  return Buffer.from(JSON.stringify({ ...event, seq }));
}
