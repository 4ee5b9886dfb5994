/**
 * A message's record: the JSON text that clients read, as the WebSocket text
 * frame that carries it. The kernel's own bytes are spliced into it.
 *
 *     {"kind":"jupyter","seq":              17,"channel":"iopub","header":…,
 *      "parent_header":…,"metadata":…,"content":…,"buffers":[…]}
 *
 * The number stands in a column of fixed width, blanks before it, so that it
 * can be written after the rest.
 */
import {
  bufferOf,
  type Channel,
  channels,
  EMPTY_OBJECT,
  type Message,
} from "./message.ts";
import { takeMemory } from "./record-memory.ts";
import { frameHeaderLength, writeFrameHeader } from "./websocket-frame.ts";

/** Digits of the largest safe integer. */
const DIGITS = 16;
const BEFORE_NUMBER = '{"kind":"jupyter","seq":';

/** Where the number ends, counted from the beginning of the text. */
export const NUMBER_END = BEFORE_NUMBER.length + DIGITS;

const heads = channels.map((channel) =>
  Buffer.from(
    `${BEFORE_NUMBER}${" ".repeat(DIGITS)},"channel":"${channel}","header":`,
  ),
);

/** What stands before the header, with room for the number. */
export function headOf(channel: Channel): Buffer {
  return heads[channels.indexOf(channel)] as Buffer;
}

/** What stands between the frames. */
export const keys = {
  parent_header: Buffer.from(',"parent_header":'),
  metadata: Buffer.from(',"metadata":'),
  content: Buffer.from(',"content":'),
  buffers: Buffer.from(',"buffers":['),
};
export const END = Buffer.from("]}");

const NULL = Buffer.from("null");

/** The message with its record, which is made in short steps, for the journal that takes it as it is. */
export function* recorded<M extends Message>(
  message: M,
): Generator<void, M & { readonly record: Buffer }> {
  const { channel, parent_header, raw, buffers } = message;
  const parent = parent_header === undefined ? NULL : raw.parent_header;
  const texts = [
    headOf(channel),
    raw.header,
    keys.parent_header,
    parent,
    keys.metadata,
    raw.metadata,
    keys.content,
    raw.content,
    keys.buffers,
  ];
  let size = END.length + Math.max(0, buffers.length - 1);
  for (const { length } of texts) size += length;
  for (const { length } of buffers) size += 2 + 4 * Math.ceil(length / 3);
  const length = frameHeaderLength(size) + size;
  const record = takeMemory(length).subarray(0, length);
  let at = writeFrameHeader(record, 0, size);
  const frames = texts.map((text) => {
    const start = at;
    at += text.length;
    return record.subarray(start, at);
  });
  for (const [index, text] of texts.entries()) {
    for (let from = 0; from < text.length; from += STEP) {
      frames[index]?.set(text.subarray(from, from + STEP), from);
      yield;
    }
  }
  for (const [index, buffer] of buffers.entries()) {
    at = yield* writeBase64(record, at, buffer, index > 0);
  }
  record.set(END, at);
  const frameOf = (text: Uint8Array) => frames[texts.indexOf(text)] ?? text;
  return {
    ...message,
    raw: {
      header: frameOf(raw.header),
      parent_header: parent === NULL ? EMPTY_OBJECT : frameOf(parent),
      metadata: frameOf(raw.metadata),
      content: frameOf(raw.content),
    },
    record,
  };
}

/** Bytes that are copied in one step: memory that is fresh takes its time. */
const STEP = 1024 * 1024;
/** Bytes of a buffer that become base64 in one step; a multiple of three. */
const BASE64_STEP = 48 * 1024;

/** An item of the list of buffers. Returns where it ends. */
export function* writeBase64(
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

/** Writes the digits of a number, the last before `end`. */
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
export const BURST_ROW = 11;

/**
 * Messages on iopub that came one after the other, of one type and for one
 * request: their records, with the numbers still to be written. Views, valid
 * for the time of the call that hands them over.
 */
export interface Burst {
  readonly msg_type: string;
  /** The `msg_id` of the request that caused them. */
  readonly parent_id: string;
  readonly count: number;
  /** The records side by side. */
  readonly records: Buffer;
  /**
   * For each message a row of words. The first six: where its record lies,
   * counted from that of the first row; the bytes of the record, and those of
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
 * Bytes of the text of a stream's message, decoded; -1 where it has none, and -2
 * where only a parser can tell.
 */
export function textLengthIn({ rows }: Burst, index: number): number {
  return rows[index * BURST_ROW + 10] as number;
}

/** Bytes of the four frames of a burst's message. */
export function framesIn({ rows }: Burst, index: number): number {
  let size = 0;
  for (let word = 2; word < 6; word += 1) {
    size += rows[index * BURST_ROW + word] as number;
  }
  return size;
}

/** Bytes behind the content of a message without buffers. */
const TAIL = keys.buffers.length + END.length;
