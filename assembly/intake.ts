/**
 * Takes messages off a kernel's iopub in bulk: ZMTP frames in, the records of a
 * journal out. The host, `src/jupyter/intake.ts`, calls it and explains its use.
 *
 * It takes only plain messages: of a few types, complete, not large, without
 * buffers, with the parent header that the host has set, and with frames that are
 * JSON. It stops before the first other or incomplete message. The host verifies
 * the signatures; the signed bytes are written side by side for that.
 */
import {
  decodedLength,
  isAsciiText,
  lacksNotes,
  nameLength,
  nameStart,
  noteDepth,
  notes,
  stringLength,
  VALID,
  valueStart,
  walkWhole,
} from "./json";

/** Bytes that are read at once. */
const INPUT_CAPACITY = 262_144;
/** Bytes of a message's signed frames. */
const LARGEST = 49_152;
const ROWS_CAPACITY = 1_024;
/** Words of a row. The first six are as a slab's index has them. */
const ROW = 14;
/** Capacity for each text before, between and after the frames of a record. */
const PIECES_CAPACITY = 256;
/** Bytes of the parent header. */
const PARENT_CAPACITY = 4_096;
/** The block size of the digest: a pad of this size is before the signed bytes. */
const PAD = 64;
const SIGNATURE = 64;

const INPUT = memory.data(INPUT_CAPACITY, 16);
/** Small enough to stay in the processor's cache until the host has used it. */
const OUTPUT_CAPACITY = 163_840;
const OUTPUT = memory.data(OUTPUT_CAPACITY, 16);
const SIGNED_CAPACITY = 131_072;
const SIGNED = memory.data(SIGNED_CAPACITY, 16);
const ROWS = memory.data(ROWS_CAPACITY * ROW * 4, 16);
const PARENT = memory.data(PARENT_CAPACITY, 16);
/** The text before the header, before each other frame, and after the frames. */
const PIECES = memory.data(5 * PIECES_CAPACITY, 16);
const PADDING = memory.data(PAD, 16);

let parentLength: i32 = 0;
const pieceLengths = memory.data(5 * 4, 4);
/** Bytes of all five pieces. */
let constant: i32 = 0;
/** Whether the last `take` stopped at an incomplete message. */
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

/** The host wrote `length` bytes at `piece(index)`. */
export function setPieceLength(index: i32, length: i32): void {
  store<i32>(pieceLengths + <usize>(index * 4), length);
  constant = 0;
  for (let i = 0; i < 5; i++) constant += pieceLength(i);
}

/** The host wrote `length` bytes at `parent()`; 0: no message matches. */
export function setParentLength(length: i32): void {
  parentLength = length;
}

/** Whether the last `take` stopped at an incomplete message. */
export function cut(): bool {
  return isCut;
}

// The addresses and lengths of the current message's frames.
const FRAMES = 16;
const frameAt = memory.data(FRAMES * 4, 4);
const frameLength = memory.data(FRAMES * 4, 4);

/** Takes plain messages from `start` to `end` of the input, as many as fit into the output. Returns their number. */
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
    let isAscii = isAsciiText();
    if (!isEmpty(metadata, metadataLength)) {
      if (walkWhole(metadata, metadataLength) != VALID) break;
      isAscii = isAscii && isAsciiText();
    }
    if (walkWhole(content, contentLength) != VALID) break;
    isAscii = isAscii && isAsciiText();
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
    store<i32>(row, textLengthOf(type), 40);
    store<i32>(
      row,
      textMember < 0 ? -1 : <i32>(valueStart(textMember) - content),
      44,
    );
    store<i32>(row, textMember < 0 ? 0 : stringLength(textMember) + 2, 48);
    store<i32>(
      row,
      (isAscii ? 0 : NOT_ASCII) | (mayNameDisplay(type) ? NAMES_DISPLAY : 0),
      52,
    );

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
  return count;
}

/**
 * Stores the addresses of a message's frames: signature, header, parent header,
 * metadata, content. Returns the address of its end; 0 if it is not complete or
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

/** The address of a frame: 0 is the header; -1 is the signature. */
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
  if (walkWhole(from, length) != VALID || lacksNotes()) return -1;
  let type = -1;
  let hasId = false;
  for (let i = 0; i < notes(); i++) {
    if (noteDepth(i) != 1) continue;
    const name = nameStart(i);
    const size = nameLength(i);
    if (size < 0) return -1;
    const isType = size == 8 && load<u64>(name) == MSG_TYPE;
    const isId =
      size == 6 && load<u32>(name) == MSG_ && load<u16>(name, 4) == ID;
    if (!isType && !isId) continue;
    if (stringLength(i) < 0) return -1;
    if (isId) hasId = true;
    else type = plainType(valueStart(i) + 1, stringLength(i));
  }
  return hasId ? type : -1;
}

/** What `textLengthOf` returns besides a length. */
const NONE = -1;
const UNKNOWN = -2;

/** The member whose string `textLengthOf` has measured; -1 if there is none. */
let textMember: i32 = -1;

/**
 * Bytes of the decoded output text in the content that was walked last. For a
 * display: its plain text and a line feed.
 */
function textLengthOf(type: i32): i32 {
  textMember = -1;
  if (type != STREAM && !isShown(type)) return NONE;
  if (lacksNotes()) return UNKNOWN;
  let found = NONE;
  for (let i = 0; i < notes(); i++) {
    if (noteDepth(i) != 1) continue;
    const name = nameStart(i);
    const size = nameLength(i);
    if (size < 0) return UNKNOWN;
    if (size != 4) continue;
    if (type == STREAM && load<u32>(name) == TEXT) {
      textMember = stringLength(i) < 0 ? -1 : i;
      found = textMember < 0 ? NONE : decodedLength(i);
    } else if (type != STREAM && load<u32>(name) == DATA) {
      found = plainTextIn(i);
    }
  }
  return found;
}

/** The same for the MIME bundle that is the value of this member. */
function plainTextIn(data: i32): i32 {
  let found = NONE;
  textMember = -1;
  for (let i = data + 1; i < notes() && noteDepth(i) == 2; i++) {
    const name = nameStart(i);
    const size = nameLength(i);
    if (size < 0) return UNKNOWN;
    if (found == NONE) found = UNKNOWN; // without plain text, the MIME types are used instead
    const isPlain =
      size == 10 && load<u64>(name) == TEXT_PLA && load<u16>(name, 8) == IN;
    if (!isPlain) continue;
    textMember = stringLength(i) < 0 ? -1 : i;
    found = (textMember < 0 ? 0 : decodedLength(i)) + 1;
  }
  return found;
}

/** Whether the content that was walked last may name a display. */
function mayNameDisplay(type: i32): bool {
  if (!isShown(type)) return false;
  if (lacksNotes()) return true;
  for (let i = 0; i < notes(); i++) {
    const name = nameStart(i);
    const isName =
      noteDepth(i) == 2 &&
      nameLength(i) == 10 &&
      load<u64>(name) == DISPLAY_ &&
      load<u16>(name, 8) == ID;
    if (isName) return true;
  }
  return false;
}

// In the last word of a row.
const NOT_ASCII = 1;
const NAMES_DISPLAY = 2;

const MSG_TYPE: u64 = 0x65_70_79_74_5f_67_73_6d;
const MSG_: u32 = 0x5f_67_73_6d;
const ID: u16 = 0x64_69;
const TEXT: u32 = 0x74_78_65_74;
const DATA: u32 = 0x61_74_61_64;
const TEXT_PLA: u64 = 0x61_6c_70_2f_74_78_65_74;
const IN: u16 = 0x6e_69;
const DISPLAY_: u64 = 0x5f_79_61_6c_70_73_69_64;

// The types as the host lists them.
const STREAM = 0;
const COMM_MSG = 1;
const CLEAR_OUTPUT = 2;
const DISPLAY_DATA = 3;
const EXECUTE_RESULT = 4;
const UPDATE_DISPLAY_DATA = 5;

function isShown(type: i32): bool {
  return type >= DISPLAY_DATA;
}

function plainType(at: usize, size: i32): i32 {
  if (size == 6 && is(at, "stream")) return STREAM;
  if (size == 8 && is(at, "comm_msg")) return COMM_MSG;
  if (size == 12 && is(at, "clear_output")) return CLEAR_OUTPUT;
  if (size == 12 && is(at, "display_data")) return DISPLAY_DATA;
  if (size == 14 && is(at, "execute_result")) return EXECUTE_RESULT;
  if (size == 19 && is(at, "update_display_data")) return UPDATE_DISPLAY_DATA;
  return -1;
}

function is(at: usize, word: string): bool {
  for (let i = 0; i < word.length; i++) {
    if (load<u8>(at + <usize>i) != <u8>word.charCodeAt(i)) return false;
  }
  return true;
}

function put(to: usize, from: usize, length: i32): usize {
  memory.copy(to, from, <usize>length);
  return to + <usize>length;
}

/** Writes the header of a whole, unmasked WebSocket text frame. */
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
