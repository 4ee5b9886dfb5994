/**
 * Takes messages off a kernel's iopub in bulk: ZMTP frames in, the records of a
 * journal out. `src/jupyter/intake.ts` drives it, and says what it is for.
 *
 * It takes only what is plain: a message of a few types, whole and not large,
 * without buffers, with the parent that the host has named, whose frames are
 * JSON. It stops before the first that is not, or not whole yet. Signatures are
 * the host's to verify: the signed bytes are laid side by side for that.
 */
import { text, VALID, verdictAt } from "./json";

/** Bytes that are read at once. */
const INPUT_CAPACITY = 131_072;
/** Bytes of a message's signed frames. */
const LARGEST = 49_152;
const ROWS_CAPACITY = 1_024;
/** Words of a row. The first six are as a slab's index has them. */
const ROW = 11;
/** Bytes of what stands in a record before, between and behind the frames; more than there are. */
const PIECES_CAPACITY = 256;
/** Of the parent header. */
const PARENT_CAPACITY = 4_096;
/** The block of the digest: what is signed stands behind a pad of that size. */
const PAD = 64;
const SIGNATURE = 64;

const INPUT = memory.data(INPUT_CAPACITY, 16);
const OUTPUT_CAPACITY = 393_216;
const OUTPUT = memory.data(OUTPUT_CAPACITY, 16);
const SIGNED_CAPACITY = 196_608;
const SIGNED = memory.data(SIGNED_CAPACITY, 16);
const ROWS = memory.data(ROWS_CAPACITY * ROW * 4, 16);
const PARENT = memory.data(PARENT_CAPACITY, 16);
/** What stands before the header, and before each of the other frames; behind them. */
const PIECES = memory.data(5 * PIECES_CAPACITY, 16);
const PADDING = memory.data(PAD, 16);

let parentLength: i32 = 0;
const pieceLengths = memory.data(5 * 4, 4);
/** Of all five pieces. */
let constant: i32 = 0;
/** Bytes of `INPUT` that were taken. */
let taken: i32 = 0;
/** Whether the last `take` stopped because the end of a message is still to come. */
let isCut: bool = false;

export function input(): usize {
  return INPUT;
}
export function inputCapacity(): i32 {
  return INPUT_CAPACITY;
}
export function output(): usize {
  return OUTPUT;
}
export function signed(): usize {
  return SIGNED;
}
export function rows(): usize {
  return ROWS;
}
export function rowsCapacity(): i32 {
  return ROWS_CAPACITY;
}
export function parent(): usize {
  return PARENT;
}
export function parentCapacity(): i32 {
  return PARENT_CAPACITY;
}
export function padding(): usize {
  return PADDING;
}
export function piece(index: i32): usize {
  return PIECES + <usize>(index * PIECES_CAPACITY);
}

/** So many bytes were written there. */
export function pieceIs(index: i32, length: i32): void {
  store<i32>(pieceLengths + <usize>(index * 4), length);
  constant = 0;
  for (let i = 0; i < 5; i++) constant += pieceLength(i);
}

/** So many bytes were written at `parent()`; 0: every message has another. */
export function parentIs(length: i32): void {
  parentLength = length;
}

/** Bytes that were taken by the last `take`. */
export function consumed(): i32 {
  return taken;
}

/** Whether the last `take` stopped because the end of a message is still to come. */
export function cut(): bool {
  return isCut;
}

// Where the frames of the message are that is looked at.
const FRAMES = 16;
const frameAt = memory.data(FRAMES * 4, 4);
const frameLength = memory.data(FRAMES * 4, 4);

/** Takes plain messages from `start` to `end` of the input. Returns how many. */
export function take(start: i32, end: i32): i32 {
  const last = INPUT + <usize>end;
  let at = INPUT + <usize>start;
  let to = OUTPUT;
  let signedTo = SIGNED;
  let count = 0;
  isCut = false;
  while (count < ROWS_CAPACITY) {
    const next = framesFrom(at, last);
    if (next == 0) break;
    const header = atOf(0);
    const headerLength = lengthOf(0);
    const parentHeader = atOf(1);
    const metadata = atOf(2);
    const metadataLength = lengthOf(2);
    const content = atOf(3);
    const contentLength = lengthOf(3);
    const body = headerLength + parentLength + metadataLength + contentLength;
    if (lengthOf(1) != parentLength || parentLength == 0) break;
    if (body > LARGEST) break;
    if (memory.compare(parentHeader, PARENT, <usize>parentLength) != 0) break;
    const type = typeIn(header, headerLength);
    if (type < 0) break;
    if (!isEmpty(metadata, metadataLength)) {
      if (verdictAt(metadata, metadataLength) != VALID) break;
    }
    if (verdictAt(content, contentLength) != VALID) break;
    const size = constant + body;
    const frame = size < 126 ? 2 : size < 65_536 ? 4 : 10;
    if (to + <usize>(frame + size) > OUTPUT + OUTPUT_CAPACITY) break;
    if (signedTo + <usize>(PAD + body) > SIGNED + SIGNED_CAPACITY) break;

    const row = ROWS + <usize>(count * ROW * 4);
    store<i32>(row, <i32>(to - OUTPUT));
    store<i32>(row, frame + size, 4);
    store<i32>(row, headerLength, 8);
    store<i32>(row, parentLength, 12);
    store<i32>(row, metadataLength, 16);
    store<i32>(row, contentLength, 20);
    store<i32>(row, type, 24);
    store<i32>(row, <i32>(signedTo - SIGNED), 28);
    store<i32>(row, <i32>(atOf(-1) - INPUT), 32);
    store<i32>(row, <i32>(next - INPUT), 36);
    store<i32>(row, type == 0 ? textIn(content, contentLength) : NONE, 40);

    to = frameHeader(to, size);
    to = put(put(to, piece(0), pieceLength(0)), header, headerLength);
    to = put(put(to, piece(1), pieceLength(1)), parentHeader, parentLength);
    to = put(put(to, piece(2), pieceLength(2)), metadata, metadataLength);
    to = put(put(to, piece(3), pieceLength(3)), content, contentLength);
    to = put(to, piece(4), pieceLength(4));
    signedTo = put(signedTo, PADDING, PAD);
    signedTo = put(signedTo, header, headerLength);
    signedTo = put(signedTo, parentHeader, parentLength);
    signedTo = put(signedTo, metadata, metadataLength);
    signedTo = put(signedTo, content, contentLength);
    at = next;
    count++;
  }
  taken = <i32>(at - INPUT);
  return count;
}

/** Whether these bytes are all ASCII. */
export function isAscii(offset: i32, length: i32): bool {
  let at = SIGNED + <usize>offset;
  const end = at + <usize>length;
  while (end - at >= 16) {
    if (i8x16.bitmask(v128.load(at)) != 0) return false;
    at += 16;
  }
  while (at < end) {
    if (load<u8>(at) >= 0x80) return false;
    at++;
  }
  return true;
}

/**
 * Notes where the frames of a whole message are: signature, header, parent
 * header, metadata, content. Returns where it ends; 0 where it is not whole, or
 * not plain.
 */
function framesFrom(from: usize, end: usize): usize {
  let at = from;
  /** The frame of the signature is the first; -1 before the delimiter. */
  let found = -1;
  for (let i = 0; i < FRAMES; i++) {
    if (end - at < 2) return incomplete();
    const flags = load<u8>(at);
    if (flags > 3) return 0;
    let length: u64;
    if ((flags & 2) != 0) {
      if (end - at < 9) return incomplete();
      length = bswap(load<u64>(at, 1));
      at += 9;
    } else {
      length = load<u8>(at, 1);
      at += 2;
    }
    if (<u64>(end - at) < length) {
      return length > <u64>LARGEST ? 0 : incomplete();
    }
    const hasMore = (flags & 1) != 0;
    if (found >= 0) {
      if (found > 4) return 0; // buffers
      store<i32>(frameAt + <usize>(found * 4), <i32>at);
      store<i32>(frameLength + <usize>(found * 4), <i32>length);
      found++;
    } else if (length == 9 && isDelimiter(at)) found = 0;
    at += <usize>length;
    if (!hasMore) {
      if (found != 5) return 0;
      return load<i32>(frameLength) == SIGNATURE || load<i32>(frameLength) == 0
        ? at
        : 0;
    }
  }
  return 0;
}

function incomplete(): usize {
  isCut = true;
  return 0;
}

function isDelimiter(at: usize): bool {
  return load<u64>(at) == IDS_MSG && load<u8>(at, 8) == 0x3e; /* > */
}

const IDS_MSG: u64 = 0x47_53_4d_7c_53_44_49_3c;

/** Of a JSON frame: 0 is the header; -1 is the signature. */
function atOf(frame: i32): usize {
  return <usize>load<i32>(frameAt + <usize>((frame + 1) * 4));
}

function lengthOf(frame: i32): i32 {
  return load<i32>(frameLength + <usize>((frame + 1) * 4));
}

function pieceLength(index: i32): i32 {
  return load<i32>(pieceLengths + <usize>(index * 4));
}

function isEmpty(at: usize, length: i32): bool {
  return length == 2 && load<u16>(at) == 0x7d7b; // {}
}

/** The index of the header's `msg_type` in the host's list of types. -1: another type, or the bytes are not a header. */
function typeIn(from: usize, length: i32): i32 {
  if (verdictAt(from, length) != VALID) return -1;
  const end = from + <usize>length;
  let type = -1;
  let hasId = false;
  let depth = 0;
  /** Whether the next string at depth 1 is a name. */
  let isName = false;
  let at = from;
  while (at < end) {
    const byte = load<u8>(at);
    if (byte == 0x22 /* " */) {
      const start = at + 1;
      at = text(start, end);
      if (depth != 1 || !isName) continue;
      const size = at - 1 - start;
      if (hasEscape(start, size)) return -1;
      isName = false;
      const isType = size == 8 && load<u64>(start) == MSG_TYPE;
      const isId =
        size == 6 && load<u32>(start) == MSG_ && load<u16>(start, 4) == ID;
      if (!isType && !isId) continue;
      at = valueAt(at);
      if (load<u8>(at) != 0x22) return -1;
      const value = at + 1;
      at = text(value, end);
      if (isId) hasId = true;
      else type = plainType(value, at - 1 - value);
      continue;
    }
    if (byte == 0x7b /* { */ || byte == 0x5b /* [ */) {
      if (depth == 0 && byte != 0x7b) return -1;
      depth++;
      isName = depth == 1;
    } else if (byte == 0x7d || byte == 0x5d) depth--;
    else if (byte == 0x2c /* , */ && depth == 1) isName = true;
    at++;
  }
  return hasId ? type : -1;
}

/** What `textIn` returns besides a length. */
const NONE = -1;
const UNKNOWN = -2;

/** Bytes of the text that a stream's content holds, as it is when decoded; the content is JSON. */
function textIn(from: usize, length: i32): i32 {
  const end = from + <usize>length;
  let found = NONE;
  let depth = 0;
  let isName = false;
  let at = from;
  while (at < end) {
    const byte = load<u8>(at);
    if (byte == 0x22 /* " */) {
      const start = at + 1;
      at = text(start, end);
      if (depth != 1 || !isName) continue;
      const size = at - 1 - start;
      if (hasEscape(start, size)) return UNKNOWN;
      isName = false;
      if (size != 4 || load<u32>(start) != TEXT) continue;
      at = valueAt(at);
      found = NONE;
      if (load<u8>(at) != 0x22) continue;
      const value = at + 1;
      at = text(value, end);
      found = decodedLength(value, at - 1);
      continue;
    }
    if (byte == 0x7b || byte == 0x5b) {
      if (depth == 0 && byte == 0x5b) return NONE;
      depth++;
      isName = depth == 1;
    } else if (byte == 0x7d || byte == 0x5d) depth--;
    else if (byte == 0x2c && depth == 1) isName = true;
    at++;
  }
  return found;
}

const TEXT: u32 = 0x74_78_65_74;

/** Bytes in UTF-8 of what the inside of a JSON string spells; each half of a surrogate pair counts two. */
function decodedLength(from: usize, end: usize): i32 {
  const backslash = i8x16.splat(0x5c);
  let length = <i32>(end - from);
  let at = from;
  while (at < end) {
    while (end - at >= 16) {
      const mask = i8x16.bitmask(i8x16.eq(v128.load(at), backslash));
      if (mask != 0) {
        at += <usize>ctz(mask);
        break;
      }
      at += 16;
    }
    if (load<u8>(at) != 0x5c) {
      at++;
      continue;
    }
    if (load<u8>(at, 1) != 0x75 /* u */) {
      length--;
      at += 2;
      continue;
    }
    const unit =
      (hex(at + 2) << 12) |
      (hex(at + 3) << 8) |
      (hex(at + 4) << 4) |
      hex(at + 5);
    const isSurrogate = unit >= 0xd800 && unit < 0xe000;
    length -= 6 - (unit < 0x80 ? 1 : unit < 0x800 || isSurrogate ? 2 : 3);
    at += 6;
  }
  return length;
}

function hex(at: usize): i32 {
  const digit = <i32>load<u8>(at);
  return digit <= 0x39 ? digit - 0x30 : (digit | 0x20) - 0x57;
}

const MSG_TYPE: u64 = 0x65_70_79_74_5f_67_73_6d;
const MSG_: u32 = 0x5f_67_73_6d;
const ID: u16 = 0x64_69;

/** Behind the colon and the blanks before the value. */
function valueAt(from: usize): usize {
  let at = from;
  while (load<u8>(at) != 0x3a) at++;
  at++;
  while (load<u8>(at) <= 0x20) at++;
  return at;
}

function hasEscape(at: usize, size: usize): bool {
  for (let i: usize = 0; i < size; i++) {
    if (load<u8>(at + i) == 0x5c) return true;
  }
  return false;
}

/** The types as the host lists them: stream, comm_msg, clear_output. */
function plainType(at: usize, size: usize): i32 {
  if (size == 6) {
    const isStream = load<u32>(at) == 0x65727473 && load<u16>(at, 4) == 0x6d61;
    return isStream ? 0 : -1;
  }
  if (size == 8) return load<u64>(at) == 0x67736d5f6d6d6f63 ? 1 : -1;
  if (size == 12) {
    const isClear =
      load<u64>(at) == 0x756f5f7261656c63 && load<u32>(at, 8) == 0x74757074;
    return isClear ? 2 : -1;
  }
  return -1;
}

function put(to: usize, from: usize, length: i32): usize {
  memory.copy(to, from, <usize>length);
  return to + <usize>length;
}

/** Of a WebSocket text frame, whole and unmasked. */
function frameHeader(to: usize, size: i32): usize {
  store<u8>(to, 0x81);
  if (size < 126) {
    store<u8>(to, <u8>size, 1);
    return to + 2;
  }
  if (size < 65_536) {
    store<u8>(to, 126, 1);
    store<u8>(to, <u8>(size >> 8), 2);
    store<u8>(to, <u8>size, 3);
    return to + 4;
  }
  store<u8>(to, 127, 1);
  store<u32>(to, 0, 2);
  store<u32>(to, bswap(<u32>size), 6);
  return to + 10;
}
