/**
 * Checks that each of a message's four JSON frames is exactly one JSON value, so
 * that it can be copied into any envelope.
 *
 * Only this module repairs frames that are nearly JSON. Other frames that are not
 * JSON are refused with a reason. Valid text stays unchanged: escapes, big
 * integers, the order of keys, white space.
 */
import type { OwnEvent } from "../../contract/index.ts";
import { runAtOnce } from "../time/request-scheduler.ts";
import { checkingJson, checkJson } from "./json-check.ts";
import {
  type Channel,
  type Header,
  type Message,
  type RawFrames,
  sizeOf,
} from "./message.ts";
import { joined } from "./pieces.ts";

/** A repair, as text for a log. */
export type Repair = "NaN or Infinity" | "a byte order mark" | "not UTF-8";

type RefusalReason = Extract<OwnEvent, { kind: "refused" }>["reason"];

/** A message that was refused, without any of its content. */
export interface Refusal {
  readonly channel: Channel;
  readonly msg_type: string;
  /** The request that it answered. */
  readonly parent:
    | { readonly header: Header; readonly raw: Pick<RawFrames, "header"> }
    | undefined;
  readonly reason: RefusalReason;
  /** Bytes. */
  readonly size: number;
}

/** Frames were refused. The text never contains the key, the signature or any content. */
export class FramesRefused extends Error {
  override readonly name = "Refused";
  /** `undefined` if the frames are not a message or its sender is unknown. */
  readonly refusal: Refusal | undefined;

  constructor(why: Refusal | string) {
    super(typeof why === "string" ? why : describeRefusal(why));
    this.refusal = typeof why === "string" ? undefined : why;
  }
}

/** Bytes of a message's JSON text, with buffers as base64. Larger texts cannot become strings. */
export const MESSAGE_TEXT_LIMIT = 256 * 1024 * 1024;

/** The message with valid metadata and content. Throws `Refused`. */
export function admitted<M extends Message>(
  message: M,
  onRepair: (what: Repair) => void = () => {},
): M {
  const { metadata, content } = message.raw;
  assertSize(message);
  return isJson(metadata) && isJson(content)
    ? message
    : runAtOnce(admitting(message, onRepair));
}

/** The same, in short steps. */
export function* admitting<M extends Message>(
  message: M,
  onRepair: (what: Repair) => void,
): Generator<void, M> {
  const { raw } = message;
  assertSize(message);
  const metadata = yield* repairedFrame(message, raw.metadata, onRepair);
  const content = yield* repairedFrame(message, raw.content, onRepair);
  if (metadata === raw.metadata && content === raw.content) return message;
  const whole = { ...message, raw: { ...raw, metadata, content } };
  assertSize(whole); // a repaired frame may be larger
  return whole;
}

/** The same bytes or the repaired bytes; else the reason why they cannot be repaired. */
export function repair(
  bytes: Uint8Array,
  onRepair: (what: Repair) => void,
): Uint8Array | RefusalReason {
  return isJson(bytes) ? bytes : runAtOnce(repairing(bytes, onRepair));
}

function isJson(bytes: Uint8Array): boolean {
  return isEmptyObject(bytes) || checkJson(bytes) === "json";
}

function* repairing(
  bytes: Uint8Array,
  onRepair: (what: Repair) => void,
): Generator<void, Uint8Array | RefusalReason> {
  let text = bytes;
  let hasMark = beginsWithMark(text);
  for (;;) {
    const check = yield* checkingJson(text);
    switch (check) {
      case "json":
        return text;
      case "non_finite":
        onRepair("NaN or Infinity");
        return yield* withNulls(text);
      case "not_utf8":
        onRepair("not UTF-8");
        text = yield* withReplacements(text);
        continue;
      case "not_json":
        if (!hasMark) return check;
        hasMark = false; // a second mark is not JSON
        onRepair("a byte order mark");
        text = text.subarray(MARK.length);
        continue;
      case "too_deep":
        return check;
    }
  }
}

/** The reason of a refusal as text. */
export function describeRefusal({ msg_type, reason, size }: Refusal): string {
  return `its ${msg_type} of ${size} bytes ${DESCRIPTIONS[reason]}`;
}

const DESCRIPTIONS: Readonly<Record<RefusalReason, string>> = {
  not_json: "is not JSON",
  too_deep: "is nested too deep",
  too_large: `is larger than ${MESSAGE_TEXT_LIMIT} bytes`,
};

function* repairedFrame(
  message: Message,
  bytes: Uint8Array,
  onRepair: (what: Repair) => void,
): Generator<void, Uint8Array> {
  if (isEmptyObject(bytes)) return bytes;
  const frame = yield* repairing(bytes, onRepair);
  if (typeof frame === "string") throw refused(message, frame);
  return frame;
}

function assertSize(message: Message): void {
  const { raw, buffers } = message;
  let size =
    raw.header.length +
    raw.parent_header.length +
    raw.metadata.length +
    raw.content.length;
  for (const { length } of buffers) size += Math.ceil(length / 3) * 4;
  if (size > MESSAGE_TEXT_LIMIT) throw refused(message, "too_large");
}

/** The refusal of a message whose headers are known. */
export function refused(
  message: Message,
  reason: RefusalReason,
): FramesRefused {
  const { channel, header, parent_header, raw } = message;
  return new FramesRefused({
    channel,
    msg_type: header.msg_type,
    parent:
      parent_header === undefined
        ? undefined
        : {
            header: parent_header,
            raw: { header: Uint8Array.from(raw.parent_header) }, // a copy: frames are views of a read buffer
          },
    reason,
    size: sizeOf(message),
  });
}

const MARK = [0xef, 0xbb, 0xbf];
const NULL = new TextEncoder().encode("null");
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const MINUS = 0x2d;
const CAPITAL_N = 0x4e;
const CAPITAL_I = 0x49;
const BRACE = 0x7b;
const END_BRACE = 0x7d;

function isEmptyObject(bytes: Uint8Array): boolean {
  return bytes.length === 2 && bytes[0] === BRACE && bytes[1] === END_BRACE;
}

function beginsWithMark(bytes: Uint8Array): boolean {
  return MARK.every((byte, index) => bytes[index] === byte);
}

/** Replaces bytes that are not UTF-8 by replacement characters. */
function* withReplacements(bytes: Uint8Array): Generator<void, Uint8Array> {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const encoder = new TextEncoder();
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += STEP) {
    const piece = bytes.subarray(at, at + STEP);
    pieces.push(encoder.encode(decoder.decode(piece, { stream: true })));
    yield;
  }
  pieces.push(encoder.encode(decoder.decode()));
  return yield* joined(pieces);
}

/** Bytes of one step. */
const STEP = 64 * 1024;

/** Replaces each `NaN` and `Infinity` by `null`. The rest of the text is JSON. */
function* withNulls(bytes: Uint8Array): Generator<void, Uint8Array> {
  const mended = new Uint8Array(bytes.length + Math.ceil(bytes.length / 3)); // `NaN` is one letter shorter than `null`
  let to = 0;
  let isText = false;
  let pause = STEP;
  for (let at = 0; at < bytes.length; at += 1) {
    if (at >= pause) {
      pause = at + STEP;
      yield;
    }
    const byte = bytes[at] ?? 0;
    if (isText && byte === BACKSLASH) {
      mended[to] = byte;
      to += 1;
      at += 1; // an escaped quote does not end the string
    } else if (byte === QUOTE) isText = !isText;
    else if (!isText && (byte === CAPITAL_N || byte === CAPITAL_I)) {
      if (mended[to - 1] === MINUS) to -= 1;
      mended.set(NULL, to);
      to += NULL.length;
      at += (byte === CAPITAL_N ? "NaN" : "Infinity").length - 1;
      continue;
    }
    mended[to] = bytes[at] ?? 0;
    to += 1;
  }
  return mended.subarray(0, to);
}
