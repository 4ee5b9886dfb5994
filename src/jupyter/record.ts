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
import { type Channel, channels } from "./message.ts";

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
