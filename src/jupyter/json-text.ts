/**
 * Whether a text is exactly one JSON value, how deep and how large, and where
 * the members of an object lie in it. It parses nothing, calls itself nowhere,
 * and works in short steps, so that a large text keeps nobody waiting.
 */
import { escapeSize, isDigit } from "./json-walk.ts";

export class BadText extends Error {
  override readonly name = "BadText";
  readonly reason: "not_json" | "too_deep" | "too_many";

  constructor(reason: BadText["reason"], message: string) {
    super(message);
    this.reason = reason;
  }
}

export interface TextBounds {
  /** Objects and arrays within each other. */
  readonly depth: number;
  /** Values in all; without bound unless given. */
  readonly values?: number | undefined;
  /** Members of the outermost object whose values are not counted. */
  readonly uncounted?: ReadonlySet<string> | undefined;
  /** Most items of the outermost array, which are wanted. */
  readonly items?: number | undefined;
}

/** Bytes of one step. */
const STEP = 64 * 1024;
/** Bytes. Members with longer names are not kept. */
const LONGEST_NAME = 1024;
/** Digits of a number; Python takes no more than 4300 of an integer. */
const LONGEST_NUMBER = 50_000;

/** 1 for each byte that means nothing but itself within a text. */
const PLAIN = new Uint8Array(256).fill(1, 0x20);
PLAIN[0x22] = PLAIN[0x5c] = 0;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const BRACE = 0x7b;
const END_BRACE = 0x7d;
const BRACKET = 0x5b;
const END_BRACKET = 0x5d;
const MINUS = 0x2d;

/** What may come next. */
const VALUE = 0;
const VALUE_OR_END = 1;
const NAME = 2;
const NAME_OR_END = 3;
const COLON_OF_NAME = 4;
const AFTER_VALUE = 5;
const IN_NAME = 6;
const IN_TEXT = 7;

export class JsonText {
  /** Views of an object's members, by name; of a name that comes twice, the last. */
  readonly members = new Map<string, Buffer>();
  /** Views of an array's items, where they are wanted. */
  readonly items: Buffer[] = [];
  readonly #text: Buffer;
  readonly #bounds: TextBounds;
  /** Whether each of the open objects and arrays is an object. */
  readonly #open: Uint8Array;
  #level = 0;
  #next = VALUE;
  #at = 0;
  #values = 0;
  /** Where the first byte of the value or the name is that is being read. */
  #start = 0;
  #nameStart = 0;
  /** The member of the outermost object that is being read. */
  #name: string | undefined;
  #kind: "object" | "array" | "other" = "other";
  #isCounted = true;

  constructor(text: Buffer, bounds: TextBounds) {
    this.#text = text;
    this.#bounds = bounds;
    this.#open = new Uint8Array(bounds.depth);
  }

  get kind(): "object" | "array" | "other" {
    return this.#kind;
  }

  /** Reads on; true once the text has been read to its end. Throws `BadText`. */
  step(): boolean {
    const text = this.#text;
    const open = this.#open;
    const most = this.#bounds.values ?? Infinity;
    const end = Math.min(text.length, this.#at + STEP);
    let at = this.#at;
    let next = this.#next;
    let level = this.#level;
    while (at < end) {
      const byte = text[at] as number;
      if (next >= IN_NAME) {
        if (PLAIN[byte] === 1) {
          do at += 1;
          while (at < end && PLAIN[text[at] as number] === 1);
          continue;
        }
        if (byte === BACKSLASH) at = afterEscape(text, at);
        else if (byte < 0x20) throw bad("a text holds a control character");
        else {
          at += 1; // past the quote
          if (next === IN_NAME) {
            next = COLON_OF_NAME;
            if (level === 1) this.#named(at);
          } else {
            next = AFTER_VALUE;
            if (level === 1) this.#keep(at);
          }
        }
        continue;
      }
      if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) {
        at += 1;
        continue;
      }
      let isEnd = false;
      switch (next) {
        case NAME_OR_END:
        case NAME:
          if (byte === QUOTE) {
            this.#nameStart = at;
            next = IN_NAME;
          } else if (byte === END_BRACE && next === NAME_OR_END) isEnd = true;
          else throw bad("a name is missing");
          break;
        case COLON_OF_NAME:
          if (byte !== COLON) throw bad("a colon is missing");
          next = VALUE;
          break;
        case AFTER_VALUE:
          if (level === 0) throw bad("more comes after its end");
          if (byte === COMMA) next = open[level - 1] === 1 ? NAME : VALUE;
          else if (byte === (open[level - 1] === 1 ? END_BRACE : END_BRACKET)) {
            isEnd = true;
          } else throw bad("a comma is missing");
          break;
        default: {
          if (byte === END_BRACKET && next === VALUE_OR_END) {
            isEnd = true;
            break;
          }
          if (level === 1) this.#start = at;
          if (this.#isCounted) {
            this.#values += 1;
            if (this.#values > most) {
              throw new BadText("too_many", `it has more than ${most} values`);
            }
          }
          if (byte === QUOTE) next = IN_TEXT;
          else if (byte === BRACE || byte === BRACKET) {
            if (level === open.length) {
              const why = `it is more than ${level} levels deep`;
              throw new BadText("too_deep", why);
            }
            open[level] = byte === BRACE ? 1 : 0;
            if (level === 0) this.#kind = byte === BRACE ? "object" : "array";
            level += 1;
            next = byte === BRACE ? NAME_OR_END : VALUE_OR_END;
          } else {
            at = afterScalar(text, at);
            next = AFTER_VALUE;
            if (level === 1) this.#keep(at);
            continue;
          }
        }
      }
      at += 1;
      if (!isEnd) continue;
      level -= 1;
      next = AFTER_VALUE;
      if (level === 1) this.#keep(at);
    }
    this.#at = at;
    this.#next = next;
    this.#level = level;
    if (at < text.length) return false;
    if (level > 0 || next !== AFTER_VALUE) throw bad("it ends too early");
    return true;
  }

  #named(end: number): void {
    const bytes = this.#text.subarray(this.#nameStart, end);
    this.#name =
      bytes.length > LONGEST_NAME
        ? undefined
        : (JSON.parse(bytes.toString()) as string);
    const { uncounted } = this.#bounds;
    this.#isCounted =
      this.#name === undefined || uncounted?.has(this.#name) !== true;
  }

  /** A member, or an item, of the outermost value has ended. */
  #keep(end: number): void {
    const { items } = this.#bounds;
    if (this.#kind === "array" && items === undefined) return;
    if (items !== undefined && this.items.length === items) {
      throw new BadText("too_many", `it has more than ${items} items`);
    }
    const bytes = this.#text.subarray(this.#start, end);
    if (this.#kind === "array") this.items.push(bytes);
    else if (this.#name !== undefined) this.members.set(this.#name, bytes);
  }
}

/** Reads the whole text in one go. Throws `BadText`. */
export function jsonText(text: Buffer, bounds: TextBounds): JsonText {
  const read = new JsonText(text, bounds);
  while (!read.step());
  return read;
}

function afterEscape(text: Buffer, at: number): number {
  const size = escapeSize(text, at);
  if (size === 0) throw bad("an escape is wrong");
  return at + size;
}

const TRUE = Buffer.from("true");
const FALSE = Buffer.from("false");
const WORD_NULL = Buffer.from("null");

/** One past the number or the word that begins at `at`. */
function afterScalar(text: Buffer, at: number): number {
  switch (text[at]) {
    case 0x74: // t
      return afterWord(text, at, TRUE);
    case 0x66: // f
      return afterWord(text, at, FALSE);
    case 0x6e: // n
      return afterWord(text, at, WORD_NULL);
    default:
      return afterNumber(text, at);
  }
}

function afterWord(text: Buffer, at: number, word: Buffer): number {
  for (let i = 0; i < word.length; i += 1) {
    if (text[at + i] !== word[i]) throw bad("a value is missing");
  }
  return at + word.length;
}

function afterNumber(text: Buffer, at: number): number {
  let place = text[at] === MINUS ? at + 1 : at;
  if (text[place] === 0x30) place += 1;
  else place = afterDigits(text, place);
  if (text[place] === 0x2e) place = afterDigits(text, place + 1);
  if (((text[place] ?? 0) | 0x20) === 0x65) {
    const sign = text[place + 1];
    const isSigned = sign === 0x2b || sign === MINUS;
    place = afterDigits(text, place + (isSigned ? 2 : 1));
  }
  return place;
}

function afterDigits(text: Buffer, at: number): number {
  let place = at;
  while (isDigit(text[place] ?? 0)) place += 1;
  if (place === at) throw bad("a value is missing");
  if (place - at > LONGEST_NUMBER) throw bad("a number is too long");
  return place;
}

function bad(what: string): BadText {
  return new BadText("not_json", what);
}
