/**
 * A message's record: the JSON text that clients read, in a WebSocket text frame.
 * It contains the kernel's bytes unchanged.
 *
 *     {"kind":"jupyter","seq":              17,"channel":"iopub","header":…,
 *      "parent_header":…,"metadata":…,"content":…,"buffers":[…]}
 *
 * The number has a column of fixed width, padded with blanks on the left, so that
 * it can be written after the rest.
 */
import {
  bufferOf,
  type Channel,
  channels,
  EMPTY_OBJECT,
  type Message,
  type RawFrames,
} from "./message.ts";
import { takeMemory } from "./record-memory.ts";
import {
  framedLength,
  payloadsIn,
  writeFrameHeader,
} from "./websocket-frame.ts";

/** Digits of the largest safe integer. */
const DIGITS = 16;
const BEFORE_NUMBER = '{"kind":"jupyter","seq":';

/** The offset in the text at which the number ends. */
export const NUMBER_END = BEFORE_NUMBER.length + DIGITS;

const prefixes = channels.map((channel) =>
  Buffer.from(
    `${BEFORE_NUMBER}${" ".repeat(DIGITS)},"channel":"${channel}","header":`,
  ),
);

/** The text before the header, with room for the number. */
export function prefixOf(channel: Channel): Buffer {
  return prefixes[channels.indexOf(channel)] as Buffer;
}

/** The text before each frame, and before the buffers. */
export const separators = {
  parent_header: Buffer.from(',"parent_header":'),
  metadata: Buffer.from(',"metadata":'),
  content: Buffer.from(',"content":'),
  buffers: Buffer.from(',"buffers":['),
};
export const END = Buffer.from("]}");

/** Bytes of all separators and the end, without the prefix. */
export const SEPARATORS_LENGTH = Object.values(separators).reduce(
  (length, key) => length + key.length,
  END.length,
);

const NULL = Buffer.from("null");

/** The parent header in the record: `null` if the message has no parent. */
export function parentBytes({
  parent_header,
  raw,
}: Pick<Message, "parent_header" | "raw">): Uint8Array {
  return parent_header === undefined ? NULL : raw.parent_header;
}

/** Bytes of a message's record. */
export function recordLength(message: Message): number {
  return framedLength(textLength(message));
}

function textLength(message: Message): number {
  const { channel, raw, buffers } = message;
  let length =
    prefixOf(channel).length +
    SEPARATORS_LENGTH +
    raw.header.length +
    parentBytes(message).length +
    raw.metadata.length +
    raw.content.length +
    Math.max(0, buffers.length - 1);
  for (const buffer of buffers) length += 2 + 4 * Math.ceil(buffer.length / 3);
  return length;
}

/** The parts of the text before the buffers. */
function textsOf(message: Message): readonly Uint8Array[] {
  const { channel, raw } = message;
  return [
    prefixOf(channel),
    raw.header,
    separators.parent_header,
    parentBytes(message),
    separators.metadata,
    raw.metadata,
    separators.content,
    raw.content,
    separators.buffers,
  ];
}

/** Writes a record without its number, in short steps. Returns the offset of its end. */
export function* writeRecord(
  bytes: Buffer,
  offset: number,
  message: Message,
): Generator<void, number> {
  let at = writeFrameHeader(bytes, offset, textLength(message));
  for (const text of textsOf(message)) {
    if (text.length <= STEP) bytes.set(text, at);
    else yield* copyInSteps(bytes, at, text);
    at += text.length;
  }
  for (const [index, buffer] of message.buffers.entries()) {
    at = yield* writeBase64(bytes, at, buffer, index > 0);
  }
  bytes.set(END, at);
  return at + END.length;
}

function* copyInSteps(
  bytes: Buffer,
  at: number,
  text: Uint8Array,
): Generator<void, void> {
  for (let from = 0; from < text.length; from += STEP) {
    bytes.set(text.subarray(from, from + STEP), at + from);
    yield;
  }
}

/** Adds the record to a message, in short steps. The journal uses the record without a copy. */
export function* withRecord<M extends Message>(
  message: M,
): Generator<void, M & { readonly record: Buffer }> {
  const { channel, parent_header, raw } = message;
  const length = recordLength(message);
  const record = takeMemory(length).subarray(0, length);
  yield* writeRecord(record, 0, message);
  const [text = record] = payloadsIn(record);
  const frames = framesIn(text, channel, {
    header: raw.header.length,
    parent_header: parentBytes(message).length,
    metadata: raw.metadata.length,
    content: raw.content.length,
  });
  const hasNoParent = parent_header === undefined;
  return {
    ...message,
    raw: hasNoParent ? { ...frames, parent_header: EMPTY_OBJECT } : frames,
    record,
  };
}

/** The frames in a record's text, by their lengths. */
export function framesIn(
  text: Buffer,
  channel: Channel,
  lengths: Readonly<Record<keyof RawFrames, number>>,
): Readonly<Record<keyof RawFrames, Buffer>> {
  let at = prefixOf(channel).length;
  const header = text.subarray(at, (at += lengths.header));
  at += separators.parent_header.length;
  const parent_header = text.subarray(at, (at += lengths.parent_header));
  at += separators.metadata.length;
  const metadata = text.subarray(at, (at += lengths.metadata));
  at += separators.content.length;
  const content = text.subarray(at, at + lengths.content);
  return { header, parent_header, metadata, content };
}

/** Bytes that are copied in one step; a copy into new memory is slow. */
const STEP = 1024 * 1024;
/** Bytes of a buffer that are encoded as base64 in one step; a multiple of three. */
const BASE64_STEP = 48 * 1024;

/** Writes an item of the list of buffers. Returns the offset of its end. */
function* writeBase64(
  bytes: Buffer,
  start: number,
  buffer: Uint8Array,
  isAnother: boolean,
): Generator<void, number> {
  let at = start;
  if (isAnother) bytes[at++] = COMMA;
  bytes[at++] = QUOTE;
  for (let from = 0; from < buffer.length; from += BASE64_STEP) {
    const some = bufferOf(buffer.subarray(from, from + BASE64_STEP));
    at += bytes.write(some.toString("base64"), at, "latin1");
    yield;
  }
  bytes[at++] = QUOTE;
  return at;
}

const COMMA = 0x2c;
const QUOTE = 0x22;

/** Writes the digits of a number so that they end at `end`. */
export function writeNumber(
  bytes: Uint8Array,
  end: number,
  number: number,
): void {
  let at = end;
  for (let rest = number; ; rest = Math.floor(rest / 10)) {
    at -= 1;
    bytes[at] = 0x30 + (rest % 10);
    if (rest < 10) return;
  }
}

/** Words of a row of a burst. */
export const BURST_ROW = 14;

/**
 * The records of consecutive iopub messages of one type and one request, still
 * without their numbers. They are views, valid during the call that passes them.
 */
export interface Burst {
  readonly msg_type: string;
  /** The `msg_id` of the request that caused them. */
  readonly parent_id: string;
  readonly count: number;
  /** The records side by side. */
  readonly records: Buffer;
  /**
   * One row of words for each message. The first six words: the offset of its
   * record (subtract the offset in the first row), and the bytes of the record,
   * header, parent header, metadata and content.
   */
  readonly rows: Int32Array;
}

/** The content of a burst's message. */
export function contentIn({ records, rows }: Burst, index: number): Buffer {
  const row = index * BURST_ROW;
  const offset = (rows[row] as number) - (rows[0] as number);
  const end = offset + (rows[row + 1] as number) - TAIL;
  return records.subarray(end - (rows[row + 5] as number), end);
}

/**
 * Bytes of a message's decoded output text: a stream's text, or a display's plain
 * text plus a line feed. `NO_TEXT` if there is none; `UNKNOWN_TEXT` if only a
 * parser can find out.
 */
export function textLengthIn({ rows }: Burst, index: number): number {
  return rows[index * BURST_ROW + 10] as number;
}
export const NO_TEXT = -1;
export const UNKNOWN_TEXT = -2;

/** The same text without the line feed, as its JSON string; `undefined` if it is not a string. */
export function outputTextIn(burst: Burst, index: number): Buffer | undefined {
  const row = index * BURST_ROW;
  const at = burst.rows[row + 11] as number;
  if (at < 0) return undefined;
  const length = burst.rows[row + 12] as number;
  return contentIn(burst, index).subarray(at, at + length);
}

/** Whether a message may contain a `display_id`. */
export function mayNameDisplay({ rows }: Burst, index: number): boolean {
  return ((rows[index * BURST_ROW + 13] as number) & NAMES_DISPLAY) !== 0;
}
const NAMES_DISPLAY = 2;

/** Bytes of the record of a burst's message. */
export function recordBytesIn({ rows }: Burst, index: number): number {
  return rows[index * BURST_ROW + 1] as number;
}

/** Bytes of the four frames of a burst's message. */
export function frameBytesIn({ rows }: Burst, index: number): number {
  let size = 0;
  for (let word = 2; word < 6; word += 1) {
    size += rows[index * BURST_ROW + word] as number;
  }
  return size;
}

/** Bytes after the content in a record without buffers. */
const TAIL = separators.buffers.length + END.length;
