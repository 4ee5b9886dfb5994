/**
 * Collects text that arrives in pieces, up to a limit. Of longer text, a first and
 * a last part are kept, each of half the limit and cut between characters. A line
 * between them says how many bytes are left out.
 */
import { isContinuation } from "../jupyter/utf8.ts";

/** The bytes that are kept, which do not change, and the bytes of the whole text. */
export interface ClippedParts {
  readonly start: Buffer;
  readonly end: Buffer;
  readonly length: number;
}

export class ClippedText {
  readonly #limit: number;
  /** The first bytes, up to the limit. */
  #start: Buffer = NOTHING;
  /** The last bytes of text that is longer than the limit, up to half the limit. */
  #end: Buffer = NOTHING;
  #length = 0;
  /** Small pieces that are not counted yet; counting many at once is cheaper. */
  #pieces: string[] = [];
  #units = 0;

  /** `limit` is in bytes. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** From these, `restore` makes the same text again. */
  get parts(): ClippedParts {
    this.#settle();
    return { start: this.#start, end: this.#end, length: this.#length };
  }

  restore({ start, end, length }: ClippedParts): void {
    this.#pieces = [];
    this.#units = 0;
    this.#start = start;
    this.#end = end;
    this.#length = length;
  }

  get isClipped(): boolean {
    this.#settle();
    return this.#length > this.#limit;
  }

  /** Counts bytes that are left out. They must be in the middle: the text has reached the limit already, and at least half the limit follows. */
  leaveOut(bytes: number): void {
    this.#settle();
    this.#length += bytes;
  }

  add(text: string): void {
    this.#pieces.push(text);
    this.#units += text.length;
    if (this.#units > this.#limit || this.#pieces.length > MOST_PIECES) {
      this.#settle();
    }
  }

  /** Adds the text of a JSON string, which has its quotes. The middle of a long string is not decoded, and its beginning neither if the text has reached the limit already. Throws a `SyntaxError` if a decoded part is not JSON. */
  addJson(json: Buffer): void {
    if (!json.includes(BACKSLASH) && json.at(-1) === QUOTE) {
      this.#add(json.subarray(1, -1));
      return;
    }
    if (this.isClipped && this.#addEnd(json)) return;
    const enough = LONGEST_ESCAPE * this.#limit; // decodes to the limit at least
    if (json.length <= 2 * enough) {
      this.add(decoded(json.toString()));
      return;
    }
    const string = json.subarray(1, -1);
    const from = boundary(string, enough);
    const to = boundary(string, string.length - enough);
    this.add(decoded(`"${string.subarray(0, from).toString()}"`));
    this.#settle();
    this.#length += decodedLength(string.subarray(from, to));
    this.add(decoded(`"${string.subarray(to).toString()}"`));
  }

  /** The same for a string that encodes `length` bytes. */
  addJsonOf(json: Buffer, length: number): void {
    if (length < SMALL) this.add(decoded(json.toString()));
    else if (!this.isClipped || !this.#addEnd(json, length)) this.addJson(json);
  }

  /** Adds the end of a long string to a text that has reached the limit, and counts the rest. Returns false if that end is not enough: the string is short, or consists of many escapes. */
  #addEnd(json: Buffer, length?: number): boolean {
    const half = this.#limit / 2;
    const string = json.subarray(1, -1);
    const from = string.length - half - Math.ceil(half / 4);
    if (from <= half) return false;
    const to = boundary(string, from);
    const end = Buffer.from(decoded(`"${string.subarray(to).toString()}"`));
    if (end.length < half) return false;
    const rest = string.subarray(0, to);
    this.leaveOut(
      length === undefined ? decodedLength(rest) : length - end.length,
    );
    this.#append(end);
    return true;
  }

  toString(): string {
    if (!this.isClipped) return this.#start.toString();
    let cut = this.#limit / 2;
    while (isContinuation(this.#start[cut])) cut -= 1;
    let begin = 0;
    while (isContinuation(this.#end[begin])) begin += 1;
    const omitted = this.#length - cut - (this.#end.length - begin);
    const start = this.#start.subarray(0, cut).toString();
    const end = this.#end.subarray(begin).toString();
    return `${start}\n[... ${omitted} bytes omitted ...]\n${end}`;
  }

  #settle(): void {
    if (this.#pieces.length === 0) return;
    const bytes = Buffer.from(this.#pieces.join(""));
    this.#pieces = [];
    this.#units = 0;
    this.#append(bytes);
  }

  #add(bytes: Buffer): void {
    this.#settle();
    this.#append(bytes);
  }

  #append(bytes: Buffer): void {
    const room = this.#limit - this.#start.length;
    if (room > 0) {
      this.#start = Buffer.concat([this.#start, bytes.subarray(0, room)]);
    }
    this.#length += bytes.length;
    if (this.#length <= this.#limit) return;
    const half = this.#limit / 2;
    const before = this.#end.length === 0 ? this.#start : this.#end;
    const rest = bytes.subarray(room);
    const all =
      rest.length < half
        ? Buffer.concat([before.subarray(rest.length - half), rest])
        : Buffer.from(rest.subarray(-half)); // a copy, so that the rest can be freed
    this.#end = all;
  }
}

const NOTHING = Buffer.alloc(0);
/** A shorter text is collected with others before it is counted. */
const SMALL = 1024; // bytes
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const U = 0x75;
/** `\u0041` is one byte of text. */
const LONGEST_ESCAPE = 6;
/** Escapes beyond this number count with their encoded bytes, so that one message takes little time. */
const MOST_ESCAPES = 100_000;
const MOST_PIECES = 1000;
/** To compare a long run at once, which is faster than byte by byte. Its length is even. */
const MANY_BACKSLASHES = Buffer.alloc(64 * 1024, BACKSLASH);
const SECOND_OF_PAIR = /^\\ud[c-f]/i;

function decoded(json: string): string {
  const value: unknown = JSON.parse(json);
  if (typeof value !== "string") throw new SyntaxError("It is not a string");
  return value;
}

/** The number of bytes that a JSON string without its quotes decodes to. */
function decodedLength(string: Buffer): number {
  let length = string.length;
  let at = string.indexOf(BACKSLASH);
  for (let count = 0; at !== -1 && count < MOST_ESCAPES; count += 1) {
    const escape = string[at + 1] === U ? LONGEST_ESCAPE : 2;
    length -= escape - (escape === 2 ? 1 : unitLength(string, at + 2));
    at = string.indexOf(BACKSLASH, at + escape);
  }
  return length;
}

/** The UTF-8 bytes of one UTF-16 unit, given as four hexadecimal digits; each unit of a surrogate pair counts as two. */
function unitLength(string: Buffer, at: number): number {
  const unit = parseInt(string.subarray(at, at + 4).toString("latin1"), 16);
  if (unit < 0x80) return 1;
  return unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 2 : 3;
}

/** The first offset from `at` on in a JSON string that is between characters. */
export function boundary(string: Buffer, at: number): number {
  let offset = at;
  while (isContinuation(string[offset]) || isInEscape(string, offset)) {
    offset += 1;
  }
  const escape = string.subarray(offset, offset + LONGEST_ESCAPE).toString();
  return SECOND_OF_PAIR.test(escape) ? offset + LONGEST_ESCAPE : offset;
}

function isInEscape(string: Buffer, at: number): boolean {
  for (let distance = 1; distance < LONGEST_ESCAPE; distance += 1) {
    const begin = at - distance;
    if (string[begin] !== BACKSLASH) continue;
    const isLong = string[begin + 1] === U;
    return (distance === 1 || isLong) && beginsEscape(string, begin);
  }
  return false;
}

/** In a row of backslashes, every other one begins an escape. */
function beginsEscape(string: Buffer, at: number): boolean {
  const many = MANY_BACKSLASHES.length;
  let begin = at;
  while (
    begin >= many &&
    MANY_BACKSLASHES.equals(string.subarray(begin - many, begin))
  ) {
    begin -= many;
  }
  while (string[begin - 1] === BACKSLASH) begin -= 1;
  return (at - begin) % 2 === 0;
}
