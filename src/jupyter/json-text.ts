/**
 * Checks that a text is exactly one JSON value within bounds, and finds the
 * members of an object in it. It parses nothing, does not recurse, and works in
 * short steps, so that a large text does not block other clients.
 */
/** The text is not JSON or exceeds a bound. The message never contains any of the text. */
export class BadText extends Error {
  override readonly name = "BadText";
  readonly reason: "not_json" | "too_deep" | "too_many";

  constructor(
    reason: BadText["reason"],
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.reason = reason;
  }
}

export interface TextBounds {
  /** The most levels of nested objects and arrays. */
  readonly depth: number;
  /** The most values in all. Default: no limit. */
  readonly values?: number | undefined;
  /** Members of the outermost object whose values are not counted. */
  readonly uncounted?: ReadonlySet<string> | undefined;
  /** The most items of the outermost array. If given, the items are returned. */
  readonly items?: number | undefined;
  /** The most consecutive digits of a number. Default: 50,000. */
  readonly digits?: number;
  /** Whether bare `NaN`, `Infinity` and `-Infinity` are values. */
  readonly takesNonFinite?: boolean;
}

/** Bytes of one step. */
const STEP = 64 * 1024;
/** Bytes. Members with longer names are not kept. */
const LONGEST_NAME = 1024;
/** Digits of a number. Python accepts at most 4300 in an integer. */
const LONGEST_NUMBER = 50_000;

/** 1 for each byte without a special meaning in a string. */
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
const SMALL_U = 0x75;

/** What may come next. */
const VALUE = 0;
const VALUE_OR_END = 1;
const NAME = 2;
const NAME_OR_END = 3;
const COLON_OF_NAME = 4;
const AFTER_VALUE = 5;
const IN_NAME = 6;
const IN_TEXT = 7;

/** The parts of a JSON text. */
export interface JsonText {
  kind: "object" | "array" | "other";
  /** Views of an object's members, by name. If a name occurs twice, the last value counts. */
  readonly members: Map<string, Buffer>;
  /** Views of an array's items, if `items` is given. */
  readonly items: Buffer[];
  /** Whether the text has no bare `NaN` or `Infinity`. */
  isFinite: boolean;
}

export function nothingFound(): JsonText {
  return { kind: "other", members: new Map(), items: [], isFinite: true };
}

/**
 * Reads the text to its end, in short steps. Throws `BadText`; `found` then has
 * the parts before the fault.
 */
export function* jsonText(
  text: Buffer,
  bounds: TextBounds,
  found: JsonText = nothingFound(),
): Generator<void, JsonText> {
  const { values: most = Infinity, digits = LONGEST_NUMBER } = bounds;
  const { uncounted, items, takesNonFinite = false } = bounds;
  /** Whether each of the open objects and arrays is an object. */
  const open: boolean[] = [];
  let level = 0;
  let next = VALUE;
  let at = 0;
  let values = 0;
  /** The offset of the current value and of the current name. */
  let start = 0;
  let nameStart = 0;
  /** The member of the outermost object that is being read. */
  let name: string | undefined;
  let isCounted = true;

  for (;;) {
    const end = Math.min(text.length, at + STEP);
    while (at < end) {
      const byte = text[at] as number;
      if (next >= IN_NAME) {
        if (PLAIN[byte] === 1) at = afterPlain(text, at, end);
        else if (byte === BACKSLASH) at = afterEscape(text, at);
        else if (byte < 0x20) throw bad("a text holds a control character");
        else {
          at += 1; // past the quote
          if (next === IN_NAME) {
            next = COLON_OF_NAME;
            if (level > 1) continue;
            name = nameOf(text.subarray(nameStart, at));
            isCounted = name === undefined || uncounted?.has(name) !== true;
          } else {
            next = AFTER_VALUE;
            if (level === 1) keep(found, text.subarray(start, at), name, items);
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
            nameStart = at;
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
          if (byte === COMMA) next = open[level - 1] === true ? NAME : VALUE;
          else if (
            byte === (open[level - 1] === true ? END_BRACE : END_BRACKET)
          ) {
            isEnd = true;
          } else throw bad("a comma is missing");
          break;
        default: {
          if (byte === END_BRACKET && next === VALUE_OR_END) {
            isEnd = true;
            break;
          }
          if (level === 1) start = at;
          if (isCounted) {
            values += 1;
            if (values > most) {
              throw new BadText("too_many", `it has more than ${most} values`);
            }
          }
          if (byte === QUOTE) next = IN_TEXT;
          else if (byte === BRACE || byte === BRACKET) {
            if (level === bounds.depth) {
              const why = `it is more than ${level} levels deep`;
              throw new BadText("too_deep", why);
            }
            open[level] = byte === BRACE;
            if (level === 0) found.kind = byte === BRACE ? "object" : "array";
            level += 1;
            next = byte === BRACE ? NAME_OR_END : VALUE_OR_END;
          } else {
            const word = takesNonFinite ? nonFiniteAt(text, at) : undefined;
            if (word !== undefined) {
              found.isFinite = false;
              at = afterWord(text, at, word);
            } else at = afterScalar(text, at, digits);
            next = AFTER_VALUE;
            if (level === 1) keep(found, text.subarray(start, at), name, items);
            continue;
          }
        }
      }
      at += 1;
      if (!isEnd) continue;
      level -= 1;
      next = AFTER_VALUE;
      if (level === 1) keep(found, text.subarray(start, at), name, items);
    }
    if (at >= text.length) break;
    yield;
  }
  if (level > 0 || next !== AFTER_VALUE) throw bad("it ends too early");
  return found;
}

/** Stores a member or an item of the outermost value. */
function keep(
  { kind, items, members }: JsonText,
  value: Buffer,
  name: string | undefined,
  most: number | undefined,
): void {
  if (kind === "array" && most === undefined) return;
  if (items.length === most) {
    throw new BadText("too_many", `it has more than ${most} items`);
  }
  if (kind === "array") items.push(value);
  else if (name !== undefined) members.set(name, value);
}

/** `undefined` if the name is longer than `LONGEST_NAME`. */
function nameOf(bytes: Buffer): string | undefined {
  if (bytes.length > LONGEST_NAME) return undefined;
  return JSON.parse(bytes.toString()) as string;
}

/** The first offset from `at` to `end` that is not plain. */
function afterPlain(text: Buffer, at: number, end: number): number {
  let offset = at;
  while (offset < end && PLAIN[text[offset] as number] === 1) offset += 1;
  return offset;
}

function afterEscape(text: Buffer, at: number): number {
  const escaped = text[at + 1] ?? 0;
  if (ESCAPED[escaped] === 1) return at + 2;
  if (escaped !== SMALL_U) throw bad("an escape is wrong");
  for (let offset = at + 2; offset < at + 6; offset += 1) {
    if (!isHex(text[offset] ?? 0)) throw bad("an escape is wrong");
  }
  return at + 6;
}

/** 1 for each byte that may follow a backslash, except `u`. */
const ESCAPED = new Uint8Array(256);
for (const byte of Buffer.from('"/\\bfnrt')) ESCAPED[byte] = 1;

const TRUE = Buffer.from("true");
const FALSE = Buffer.from("false");
const WORD_NULL = Buffer.from("null");
const NAN = Buffer.from("NaN");
const INFINITY = Buffer.from("Infinity");
const MINUS_INFINITY = Buffer.from("-Infinity");

/** The non-finite word at `at`, by its first letter. */
function nonFiniteAt(text: Buffer, at: number): Buffer | undefined {
  const byte = text[at];
  if (byte === NAN[0]) return NAN;
  if (byte === INFINITY[0]) return INFINITY;
  const isMinus = byte === MINUS && text[at + 1] === INFINITY[0];
  return isMinus ? MINUS_INFINITY : undefined;
}

/** The offset after the number or the word at `at`. */
function afterScalar(text: Buffer, at: number, digits: number): number {
  switch (text[at]) {
    case 0x74: // t
      return afterWord(text, at, TRUE);
    case 0x66: // f
      return afterWord(text, at, FALSE);
    case 0x6e: // n
      return afterWord(text, at, WORD_NULL);
    default:
      return afterNumber(text, at, digits);
  }
}

function afterWord(text: Buffer, at: number, word: Buffer): number {
  for (let i = 0; i < word.length; i += 1) {
    if (text[at + i] !== word[i]) throw bad("a value is missing");
  }
  return at + word.length;
}

function afterNumber(text: Buffer, at: number, digits: number): number {
  let offset = text[at] === MINUS ? at + 1 : at;
  if (text[offset] === 0x30) offset += 1;
  else offset = afterDigits(text, offset, digits);
  if (text[offset] === 0x2e) offset = afterDigits(text, offset + 1, digits);
  if (((text[offset] ?? 0) | 0x20) === 0x65) {
    const sign = text[offset + 1];
    const isSigned = sign === 0x2b || sign === MINUS;
    offset = afterDigits(text, offset + (isSigned ? 2 : 1), digits);
  }
  return offset;
}

function afterDigits(text: Buffer, at: number, most: number): number {
  let offset = at;
  while (isDigit(text[offset] ?? 0)) offset += 1;
  if (offset === at) throw bad("a value is missing");
  if (offset - at > most) throw bad("a number is too long");
  return offset;
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

function isHex(byte: number): boolean {
  const letter = byte | 0x20;
  return isDigit(byte) || (letter >= 0x61 && letter <= 0x66);
}

function bad(what: string): BadText {
  return new BadText("not_json", what);
}
