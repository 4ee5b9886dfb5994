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
import type { Slab } from "../journal/slab.ts";
import type { SubscriptionItem } from "./answers/subscription.ts";

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
/** Maximum digits of a number. */
const DIGITS = 16;

/** The text before the number in an item's id: the position after which a reader continues. */
export function idPrefixOf({ journal_id }: SubscriptionItem): string {
  return journal_id === undefined ? "" : `${journal_id}:`;
}

/** Consecutive pieces; some may be views of the entries' slab. */
export function encodeEntries(
  entries: Entries,
  wrapping: EntryWrapping,
): readonly Buffer[] {
  const { slab, from, to } = entries;
  const key = wrapping.before[0] ?? "";
  const last = lastEncoded.get(key);
  if (last?.slab === slab && last.from === from && last.to === to) {
    return last.pieces;
  }
  const pieces = encodeUncached(entries, wrapping);
  if (lastEncoded.size === 0) setTimeout(() => lastEncoded.clear(), 0);
  lastEncoded.set(key, { slab, from, to, pieces });
  return pieces;
}

/** The last encoded range, by the first text of its wrapping. */
const lastEncoded = new Map<
  string,
  {
    readonly slab: Slab;
    readonly from: number;
    readonly to: number;
    readonly pieces: readonly Buffer[];
  }
>();

function encodeUncached(
  entries: Entries,
  wrapping: EntryWrapping,
): readonly Buffer[] {
  const { slab, from, to } = entries;
  const { isFramed = false } = wrapping;
  const before = wrapping.before.map((text) => Buffer.from(text));
  const after = Buffer.from(wrapping.after);
  let constant = after.length;
  for (const { length } of before) constant += length;
  const records = slab.recordsOf(from, to);
  const numbers = (before.length - 1) * DIGITS;
  const out = Buffer.allocUnsafe(
    (to - from) * (constant + numbers + frameHeaderLength(LARGE)) +
      (records.length < LARGE ? records.length : smallBytes(entries)),
  );
  // The header of a frame may hold such a byte too. Each text is then checked.
  const mayBreak = !isFramed && hasBreaks(records);
  const pieces: Buffer[] = [];
  let start = 0;
  let at = 0;
  for (let row = from; row < to; row += 1) {
    const text = slab.textOf(row);
    const digits = String(slab.first + row);
    if (isFramed) {
      const size = constant + (before.length - 1) * digits.length + text.length;
      at = writeFrameHeader(out, at, size);
    }
    for (const [index, piece] of before.entries()) {
      if (index > 0) {
        out.write(digits, at, "latin1");
        at += digits.length;
      }
      out.set(piece, at);
      at += piece.length;
    }
    if (text.length < LARGE) {
      out.set(text, at);
      if (mayBreak) makeOneLine(out.subarray(at, at + text.length));
      at += text.length;
    } else {
      pieces.push(out.subarray(start, at), mayBreak ? oneLine(text) : text);
      start = at;
    }
    out.set(after, at);
    at += after.length;
  }
  pieces.push(out.subarray(start, at));
  return pieces;
}

/** The size of the texts that are copied. */
function smallBytes({ slab, from, to }: Entries): number {
  let bytes = 0;
  for (let row = from; row < to; row += 1) {
    const { length } = slab.textOf(row);
    if (length < LARGE) bytes += length;
  }
  return bytes;
}

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
