/**
 * Encodes entries for the protocols other than the channels: each text gets
 * something before and after it. A range is encoded once for all readers at
 * the same position.
 */
import type { Entries } from "../journal/entries.ts";
import {
  frameHeaderLength,
  writeFrameHeader,
} from "../jupyter/websocket-frame.ts";
import { lengthOf } from "../jupyter/pieces.ts";
import type { Slab } from "../journal/slab.ts";
import type { SubscriptionItem } from "./answers/subscription.ts";
import { type Encoded, encodedOnce, OutputMemory } from "./encoded.ts";

/** The text around each entry. */
export interface EntryWrapping {
  /** The entry's number is inserted between each of these and the next. */
  readonly before: readonly string[];
  readonly after: string;
  /** Whether each entry gets its own WebSocket text frame. Otherwise line breaks in a text are replaced. */
  readonly isFramed?: boolean;
}

/** A text of this size or more is not copied. */
const LARGE = 64 * 1024; // bytes

/** The text before the number in an item's id: the position after which a reader continues. */
export function idPrefixOf({ journal_id }: SubscriptionItem): string {
  return journal_id === undefined ? "" : `${journal_id}:`;
}

export function encodeEntries(
  entries: Entries,
  wrapping: EntryWrapping,
): Encoded {
  const { slab, from, to } = entries;
  return encodedOnce(wrapping.before[0], entries, () =>
    new Encoder(slab, wrapping).encode(from, to),
  );
}

/**
 * Copies all records of a range to the end of the output, and moves each text
 * from there to its place: that makes no object for each text. A large text is
 * not copied, and becomes a piece of its own.
 */
class Encoder {
  readonly #slab: Slab;
  readonly #before: readonly Buffer[];
  readonly #after: Buffer;
  readonly #isFramed: boolean;
  /** Bytes of the wrapping without numbers and the header of a frame. */
  readonly #constant: number;

  constructor(slab: Slab, { before, after, isFramed = false }: EntryWrapping) {
    this.#slab = slab;
    this.#before = before.map((text) => Buffer.from(text));
    this.#after = Buffer.from(after);
    this.#isFramed = isFramed;
    this.#constant = lengthOf(this.#before) + this.#after.length;
  }

  encode(from: number, to: number): Encoded {
    const pieces: Buffer[] = [];
    let large: Slab | undefined;
    const out = new OutputMemory(this.#outputLength(from, to));
    const { bytes } = out;
    let at = 0;
    for (let row = from; row < to;) {
      const small = this.#smallFrom(row, to);
      const start = at;
      if (small > row) at = this.#encodeSmall(bytes, at, row, small);
      row = small;
      if (row < to) {
        large = this.#slab;
        at = this.#writeBefore(bytes, at, row);
        const text = this.#slab.textOf(row);
        pieces.push(
          bytes.subarray(start, at),
          this.#isFramed ? text : oneLine(text),
        );
        bytes.set(this.#after, at);
        pieces.push(bytes.subarray(at, at + this.#after.length));
        at += this.#after.length;
        row += 1;
      } else pieces.push(bytes.subarray(start, at));
    }
    out.views = large;
    return { pieces, memory: out };
  }

  /** The first row from `row` on whose text is large; `to` if there is none. */
  #smallFrom(row: number, to: number): number {
    while (row < to && this.#slab.textLengthOf(row) < LARGE) row += 1;
    return row;
  }

  /** Bytes of all output but the large texts. */
  #outputLength(from: number, to: number): number {
    let length = 0;
    for (let row = from; row < to; row += 1) {
      const text = this.#slab.textLengthOf(row);
      length += this.#wrappingLength(row) + (text < LARGE ? text : 0);
    }
    return length;
  }

  #wrappingLength(row: number): number {
    const numbers =
      (this.#before.length - 1) * digitsOf(this.#slab.first + row);
    const length = this.#constant + numbers;
    if (!this.#isFramed) return length;
    return length + frameHeaderLength(length + this.#slab.textLengthOf(row));
  }

  /** Encodes the rows from `from` to before `to`. Returns the end. */
  #encodeSmall(out: Buffer, at: number, from: number, to: number): number {
    const slab = this.#slab;
    const records = slab.recordsOf(from, to);
    // Each wrapping is longer than the frame header that it replaces, so no text is overwritten before it is moved.
    const source = at + this.#outputLength(from, to) - records.length;
    out.set(records, source);
    if (!this.#isFramed) {
      makeOneLine(out.subarray(source, source + records.length));
    }
    for (let row = from; row < to; row += 1) {
      at = this.#writeBefore(out, at, row);
      const start = source + slab.textOffsetOf(row, from);
      const length = slab.textLengthOf(row);
      out.copyWithin(at, start, start + length);
      at += length;
      out.set(this.#after, at);
      at += this.#after.length;
    }
    return at;
  }

  #writeBefore(out: Buffer, at: number, row: number): number {
    const number = this.#slab.first + row;
    const digits = digitsOf(number);
    if (this.#isFramed) {
      const numbers = (this.#before.length - 1) * digits;
      const length = this.#slab.textLengthOf(row);
      at = writeFrameHeader(out, at, this.#constant + numbers + length);
    }
    for (let index = 0; index < this.#before.length; index += 1) {
      if (index > 0) {
        at += digits;
        writeDigits(out, at, number);
      }
      const text = this.#before[index] as Buffer;
      out.set(text, at);
      at += text.length;
    }
    return at;
  }
}

function digitsOf(number: number): number {
  let digits = 1;
  for (let limit = 10; number >= limit; limit *= 10) digits += 1;
  return digits;
}

/** Writes the number so that it ends at `end`. */
function writeDigits(out: Buffer, end: number, number: number): void {
  let rest = number;
  do {
    end -= 1;
    const next = Math.floor(rest / 10);
    out[end] = ZERO + rest - next * 10;
    rest = next;
  } while (rest > 0);
}

const ZERO = 0x30;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const BLANK = 0x20;

function hasBreaks(bytes: Buffer): boolean {
  return bytes.includes(LINE_FEED) || bytes.includes(CARRIAGE_RETURN);
}

/** A line break in JSON is always between tokens, and a space has the same meaning there. */
function makeOneLine(text: Buffer): void {
  for (const sign of [LINE_FEED, CARRIAGE_RETURN]) {
    for (let at = text.indexOf(sign); at !== -1; at = text.indexOf(sign, at)) {
      text[at] = BLANK;
    }
  }
}

function oneLine(text: Buffer): Buffer {
  if (!hasBreaks(text)) return text;
  const copy = Buffer.from(text);
  makeOneLine(copy);
  return copy;
}
