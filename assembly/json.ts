/**
 * Checks in WebAssembly whether a UTF-8 text is one JSON value.
 *
 * This is AssemblyScript: TypeScript's syntax with WebAssembly's types. The
 * host writes bytes at `input()` and calls `walk`. A text that is larger than the
 * memory there is walked piece by piece. The state at the end of a piece is kept,
 * so no byte is checked twice. `src/jupyter/json-walk.ts` does the same walk in
 * JavaScript: both must have the same result for every text.
 */

/** Bytes that fit at `input()`. */
const CAPACITY = 65_536;
/** Arrays and objects that may be nested in each other. */
const DEEPEST = 1_000;

const INPUT = memory.data(CAPACITY, 16);
/** One byte for each open array or object: 1 for an object. */
const OPEN = memory.data(DEEPEST, 16);

// The results of `walk`.
const MORE = 0;
export const VALID = 1;
const NON_FINITE = 2;
const NOT_JSON = 3;
const TOO_DEEP = 4;

// The states: what the next byte must begin or continue.
const VALUE = 0;
const FIRST_ITEM = 1;
const FIRST_NAME = 2;
const NAME = 3;
const COLON = 4;
const AFTER = 5;
const IN_NAME = 6;
const IN_TEXT = 7;
const AFTER_MINUS = 8;
const AFTER_ZERO = 9;
const IN_INTEGER = 10;
const AFTER_POINT = 11;
const IN_FRACTION = 12;
const AFTER_E = 13;
const AFTER_SIGN = 14;
const IN_EXPONENT = 15;

// The state of the walk between two pieces.
let next: i32 = VALUE;
let depth: i32 = 0;
let finite: bool = true;
/** Bytes at the end of the last piece that belong to the beginning of the next one. */
let left: i32 = 0;

/**
 * Notes of the members of the outermost object, and of the objects in it, in the
 * order of the text. They are valid after a walk of a whole text.
 */
const NOTES = 32;
/** Words of a note. */
const NOTE = 6;
const noted = memory.data(NOTES * NOTE * 4, 4);
let noteCount: i32 = 0;
let hasMoreNotes: bool = false;

/** The number of bytes by which the escapes in all strings so far are longer than their decoded text. */
let escaped: i32 = 0;
let onlyAscii: bool = true;

/** Whether the last string without an end is not valid; otherwise it continues in the next piece. */
let isBroken: bool = false;
/** The end of the valid part of that string. */
let good: usize = 0;

export function input(): usize {
  return INPUT;
}

export function capacity(): i32 {
  return CAPACITY;
}

export function rest(): i32 {
  return left;
}

/** A new text begins. */
export function begin(): void {
  next = VALUE;
  depth = 0;
  finite = true;
  left = 0;
  noteCount = 0;
  hasMoreNotes = false;
  onlyAscii = true;
}

export function notes(): i32 {
  return noteCount;
}

/** Whether there are more members than notes. */
export function lacksNotes(): bool {
  return hasMoreNotes;
}

/** Whether all bytes of the last text are ASCII, if the text is JSON. */
export function isAsciiText(): bool {
  return onlyAscii;
}

/** 1 for a member of the outermost object. */
export function noteDepth(index: i32): i32 {
  return load<i32>(noteAt(index));
}

export function nameStart(index: i32): usize {
  return <usize>load<i32>(noteAt(index), 4);
}

/** Bytes of the name; -1 if it has escapes. */
export function nameLength(index: i32): i32 {
  return load<i32>(noteAt(index), 8);
}

export function valueStart(index: i32): usize {
  return <usize>load<i32>(noteAt(index), 12);
}

/** Bytes between the quotes of a string value; -1 for another value. */
export function stringLength(index: i32): i32 {
  return load<i32>(noteAt(index), 16);
}

/** The length of the decoded string in UTF-8; an unpaired surrogate counts three bytes. */
export function decodedLength(index: i32): i32 {
  return load<i32>(noteAt(index), 20);
}

function noteAt(index: i32): usize {
  return noted + <usize>(index * NOTE * 4);
}

function noteName(d: i32, start: usize, end: usize, escapes: i32): void {
  if (noteCount == NOTES) {
    hasMoreNotes = true;
    return;
  }
  const note = noteAt(noteCount);
  store<i32>(note, d);
  store<i32>(note, <i32>start, 4);
  store<i32>(note, escapes == 0 ? <i32>(end - start) : -1, 8);
  store<i32>(note, 0, 12);
  store<i32>(note, -1, 16);
  noteCount++;
}

/** Notes the start of the value of the last named member, if that has this depth. */
function noteValue(d: i32, start: usize): void {
  if (noteCount == 0) return;
  const note = noteAt(noteCount - 1);
  if (load<i32>(note) != d || load<i32>(note, 12) != 0) return;
  store<i32>(note, <i32>start, 12);
}

function noteString(d: i32, start: usize, end: usize, escapes: i32): void {
  if (noteCount == 0) return;
  const note = noteAt(noteCount - 1);
  if (load<i32>(note) != d || load<i32>(note, 12) != <i32>start - 1) return;
  const length = <i32>(end - start);
  store<i32>(note, length, 16);
  store<i32>(note, length - escapes, 20);
}

/** Walks `length` bytes. Returns MORE if it needs the next piece; never after the last piece. */
export function walk(length: i32, isLast: bool): i32 {
  return walkFrom(INPUT, length, isLast);
}

/** Walks the whole text at `from`. */
export function walkWhole(from: usize, length: i32): i32 {
  begin();
  return walkFrom(from, length, true);
}

function walkFrom(from: usize, length: i32, isLast: bool): i32 {
  const end = from + <usize>length;
  let at = from;
  let state = next;
  let d = depth;
  while (true) {
    if (state <= AFTER) {
      while (at < end && isBlank(load<u8>(at))) at++;
    }
    if (at >= end) break;
    const byte = load<u8>(at);
    switch (state) {
      case FIRST_ITEM:
        if (byte == 0x5d /* ] */) {
          at++;
          d--;
          state = AFTER;
          continue;
        }
      // falls through
      case VALUE: {
        if (d <= 2) noteValue(d, at);
        if (byte == 0x22 /* " */) {
          const before = escaped;
          const after = text(at + 1, end);
          if (after != 0) {
            if (d <= 2) noteString(d, at + 1, after - 1, escaped - before);
            at = after;
            state = AFTER;
            continue;
          }
          at = good;
          state = IN_TEXT;
          if (isBroken) return NOT_JSON;
          break;
        }
        if (isDigit(byte)) {
          at++;
          state = byte == 0x30 /* 0 */ ? AFTER_ZERO : IN_INTEGER;
          continue;
        }
        if (byte == 0x7b /* { */ || byte == 0x5b /* [ */) {
          if (d == DEEPEST) return TOO_DEEP;
          store<u8>(OPEN + <usize>d, byte == 0x7b ? 1 : 0);
          d++;
          at++;
          state = byte == 0x7b ? FIRST_NAME : FIRST_ITEM;
          continue;
        }
        if (byte == 0x2d /* - */) {
          at++;
          state = AFTER_MINUS;
          continue;
        }
        const size = wordSize(byte);
        if (size == 0) return NOT_JSON;
        if (end - at < size) break;
        if (!isWord(at, byte)) return NOT_JSON;
        at += size;
        if (byte <= 0x4e /* N */) finite = false;
        state = AFTER;
        continue;
      }
      case AFTER: {
        if (d == 0) return NOT_JSON; // something follows the value
        const isObject = load<u8>(OPEN + <usize>(d - 1)) == 1;
        at++;
        if (byte == 0x2c /* , */) {
          state = isObject ? NAME : VALUE;
          continue;
        }
        if (byte != (isObject ? 0x7d : 0x5d)) return NOT_JSON;
        d--;
        continue;
      }
      case FIRST_NAME:
        if (byte == 0x7d /* } */) {
          at++;
          d--;
          state = AFTER;
          continue;
        }
      // falls through
      case NAME: {
        if (byte != 0x22) return NOT_JSON;
        const before = escaped;
        const after = text(at + 1, end);
        if (after != 0) {
          if (d <= 2) noteName(d, at + 1, after - 1, escaped - before);
          at = after;
          state = COLON;
          continue;
        }
        at = good;
        state = IN_NAME;
        if (isBroken) return NOT_JSON;
        break;
      }
      case COLON:
        if (byte != 0x3a /* : */) return NOT_JSON;
        at++;
        state = VALUE;
        continue;
      case IN_NAME:
      case IN_TEXT: {
        const after = text(at, end);
        if (after == 0) {
          at = good;
          if (isBroken) return NOT_JSON;
          break;
        }
        at = after;
        state = state == IN_NAME ? COLON : AFTER;
        continue;
      }
      case AFTER_MINUS:
        if (byte == 0x49 /* I */) {
          if (end - at < 8) break;
          if (!isWord(at, byte)) return NOT_JSON;
          at += 8;
          finite = false;
          state = AFTER;
          continue;
        }
        if (!isDigit(byte)) return NOT_JSON;
        at++;
        state = byte == 0x30 ? AFTER_ZERO : IN_INTEGER;
        continue;
      case IN_INTEGER:
        at = digits(at, end);
        if (at == end) break;
      // falls through
      case AFTER_ZERO: {
        const follows = load<u8>(at);
        if (follows == 0x2e /* . */) {
          at++;
          state = AFTER_POINT;
        } else if ((follows | 0x20) == 0x65 /* e */) {
          at++;
          state = AFTER_E;
        } else state = AFTER;
        continue;
      }
      case AFTER_POINT:
        if (!isDigit(byte)) return NOT_JSON;
        state = IN_FRACTION;
      // falls through
      case IN_FRACTION:
        at = digits(at, end);
        if (at == end) break;
        if ((load<u8>(at) | 0x20) == 0x65) {
          at++;
          state = AFTER_E;
        } else state = AFTER;
        continue;
      case AFTER_E:
        state = AFTER_SIGN;
        if (byte == 0x2b /* + */ || byte == 0x2d) {
          at++;
          continue;
        }
      // falls through
      case AFTER_SIGN:
        if (!isDigit(byte)) return NOT_JSON;
        state = IN_EXPONENT;
      // falls through
      default:
        at = digits(at, end);
        if (at == end) break;
        state = AFTER;
        continue;
    }
    break; // the piece ends inside a token
  }
  next = state;
  depth = d;
  left = <i32>(end - at);
  if (!isLast) {
    memory.copy(INPUT, at, <usize>left);
    return MORE;
  }
  const isDone =
    state == AFTER ||
    state == AFTER_ZERO ||
    state == IN_INTEGER ||
    state == IN_FRACTION ||
    state == IN_EXPONENT;
  if (left > 0 || !isDone || d > 0) return NOT_JSON;
  return finite ? VALID : NON_FINITE;
}

/** Returns the address after the closing quote of the string that continues at `from`; 0 if it does not end. */
function text(from: usize, end: usize): usize {
  const quote = i8x16.splat(0x22);
  const backslash = i8x16.splat(0x5c);
  const printable = i8x16.splat(0x20);
  let at = from;
  isBroken = false;
  while (true) {
    while (end - at >= 16) {
      const bytes = v128.load(at);
      const special = v128.or(
        v128.or(i8x16.eq(bytes, quote), i8x16.eq(bytes, backslash)),
        i8x16.lt_u(bytes, printable),
      );
      const mask = i8x16.bitmask(special);
      const high = i8x16.bitmask(bytes);
      if (mask == 0) {
        if (high != 0) onlyAscii = false;
        at += 16;
        continue;
      }
      const before = (mask & -mask) - 1;
      if ((high & before) != 0) onlyAscii = false;
      at += <usize>ctz(mask);
      break;
    }
    if (at >= end) break;
    const byte = load<u8>(at);
    if (byte == 0x22) return at + 1;
    if (byte == 0x5c) {
      if (end - at < 2) break;
      const letter = load<u8>(at, 1);
      if (letter == 0x75 /* u */) {
        if (end - at < 6) break;
        if (!areHex(at + 2)) return broken();
        if (isPair(at, end)) {
          escaped += 12 - 4;
          at += 12;
          continue;
        }
        const unit = unitAt(at + 2);
        escaped += 6 - (unit < 0x80 ? 1 : unit < 0x800 ? 2 : 3);
        at += 6;
      } else {
        if (!isEscape(letter)) return broken();
        escaped++;
        at += 2;
      }
      continue;
    }
    if (byte < 0x20) return broken();
    if (byte >= 0x80) onlyAscii = false;
    at++;
  }
  good = at;
  return 0;
}

/** Whether the next two escapes are a surrogate pair. */
function isPair(at: usize, end: usize): bool {
  if ((unitAt(at + 2) & 0xfc00) != 0xd800 || end - at < 12) return false;
  if (load<u16>(at, 6) != 0x755c /* \u */ || !areHex(at + 8)) return false;
  return (unitAt(at + 8) & 0xfc00) == 0xdc00;
}

/** The UTF-16 unit of four hexadecimal digits. */
function unitAt(at: usize): i32 {
  return (
    (hex(at) << 12) | (hex(at + 1) << 8) | (hex(at + 2) << 4) | hex(at + 3)
  );
}

function hex(at: usize): i32 {
  const digit = <i32>load<u8>(at);
  return digit <= 0x39 ? digit - 0x30 : (digit | 0x20) - 0x57;
}

function broken(): usize {
  isBroken = true;
  return 0;
}

function isBlank(byte: u8): bool {
  return byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09;
}

function isDigit(byte: u8): bool {
  return byte >= 0x30 && byte <= 0x39;
}

function digits(from: usize, end: usize): usize {
  let at = from;
  while (at < end && isDigit(load<u8>(at))) at++;
  return at;
}

function areHex(at: usize): bool {
  for (let i: usize = 0; i < 4; i++) {
    const byte = load<u8>(at + i);
    const letter = byte | 0x20;
    if (!isDigit(byte) && (letter < 0x61 || letter > 0x66)) return false;
  }
  return true;
}

function isEscape(byte: u8): bool {
  switch (byte) {
    case 0x22: // "
    case 0x2f: // /
    case 0x5c: // \
    case 0x62: // b
    case 0x66: // f
    case 0x6e: // n
    case 0x72: // r
    case 0x74: // t
      return true;
    default:
      return false;
  }
}

/** Bytes of the word that begins with `byte`; 0 if there is none. */
function wordSize(byte: u8): usize {
  switch (byte) {
    case 0x74: // true
    case 0x6e: // null
      return 4;
    case 0x66: // false
      return 5;
    case 0x4e: // NaN
      return 3;
    case 0x49: // Infinity
      return 8;
    default:
      return 0;
  }
}

/** Whether the whole word that begins with `byte` is at this address. */
function isWord(at: usize, byte: u8): bool {
  switch (byte) {
    case 0x74:
      return load<u32>(at) == 0x65757274;
    case 0x6e:
      return load<u32>(at) == 0x6c6c756e;
    case 0x66:
      return load<u32>(at, 1) == 0x65736c61;
    case 0x4e:
      return load<u16>(at, 1) == 0x4e61;
    default:
      return load<u64>(at) == 0x7974696e69666e49;
  }
}
