/**
 * The events of a run, as bytes: what the hooks of the kernel port are called
 * with, and how the start ended. The bytes of messages travel unchanged.
 *
 * An event's number, kind and run follow its bytes, so that the record of a large
 * message begins its own memory and the journal can use it without a copy.
 */
import type { ConnectionInfo } from "../../contract/index.ts";
import type { Exit } from "../host/exit.ts";
import type { Refusal } from "../jupyter/admission.ts";
import {
  bufferOf,
  type Channel,
  channels,
  EMPTY_OBJECT,
  type Header,
  headerIn,
  type Message,
} from "../jupyter/message.ts";
import { lengthOf } from "../jupyter/pieces.ts";
import { type Burst, BURST_ROW, framesIn } from "../jupyter/record.ts";
import { releaseMemory } from "../jupyter/record-memory.ts";
import { payloadsIn } from "../jupyter/websocket-frame.ts";
import type { Hooks, Launched, ShellState } from "../kernel/kernel.ts";
import {
  type Frame,
  frameKinds,
  frameOf,
  objectOf,
  readU64,
  StreamError,
  writeU64,
} from "./frames.ts";
import type { WireError } from "./wire-error.ts";

export const eventKinds = {
  message: 1,
  record: 2,
  burst: 3,
  output: 4,
  refused: 5,
  tooLarge: 6,
  launched: 7,
  state: 8,
  registered: 9,
  heartbeat: 10,
  exited: 11,
  answered: 12,
  failed: 13,
  directory: 14,
} as const;

/** The start has succeeded: what the server cannot know otherwise of the kernel. */
export interface Answered {
  readonly connection: ConnectionInfo;
  readonly info: Readonly<Record<string, unknown>>;
  readonly misses_interrupts: boolean;
}

export interface LaunchedFacts extends Omit<Launched, "kill"> {
  readonly can_kill: boolean;
}

/** The values of the events whose bytes are JSON. */
export interface JsonEvents {
  refused: Omit<Refusal, "parent"> & { readonly parent: string | undefined };
  tooLarge: { readonly channel: Channel; readonly size: number };
  launched: LaunchedFacts;
  state: { readonly state: ShellState };
  registered: ConnectionInfo;
  heartbeat: { readonly beats: boolean };
  exited: Exit;
  answered: Answered;
  failed: WireError;
  directory: { readonly path: string };
}

/** An event without its number. */
export interface Body {
  readonly kind: number;
  readonly pieces: readonly Uint8Array[];
  /** Whether the pieces are not used otherwise, and need not be copied. */
  readonly isOwn?: boolean;
}

export function jsonEvent<K extends keyof JsonEvents>(
  kind: K,
  value: JsonEvents[K],
): Body {
  const pieces = [Buffer.from(JSON.stringify(value))];
  return { kind: eventKinds[kind], pieces };
}

export function messageEvent(message: Message): Body {
  const { record, channel, raw, parent_header, buffers } = message;
  if (record === undefined || buffers.length > 0) {
    return { kind: eventKinds.message, pieces: piecesOf(message) };
  }
  const lengths = Buffer.allocUnsafe(RECORD_TAIL);
  lengths[0] = channels.indexOf(channel);
  lengths[1] = parent_header === undefined ? 0 : 1;
  const parent = parent_header === undefined ? NO_PARENT : raw.parent_header;
  lengths.writeUInt32LE(raw.header.length, 2);
  lengths.writeUInt32LE(parent.length, 6);
  lengths.writeUInt32LE(raw.metadata.length, 10);
  lengths.writeUInt32LE(raw.content.length, 14);
  return { kind: eventKinds.record, pieces: [record, lengths], isOwn: true };
}

const RECORD_TAIL = 18;
/** A record has `null` in place of a parent header. */
const NO_PARENT = Buffer.from("null");

export function burstEvent({
  msg_type,
  parent_id,
  count,
  records,
  rows,
}: Burst): Body {
  const head = Buffer.from(JSON.stringify({ msg_type, parent_id, count }));
  const length = Buffer.allocUnsafe(4);
  length.writeUInt32LE(head.length, 0);
  const table = Buffer.from(rows.buffer, rows.byteOffset, rows.byteLength);
  return { kind: eventKinds.burst, pieces: [length, head, table, records] };
}

export function outputEvent(stream: "stdout" | "stderr", text: string): Body {
  const first = Buffer.from([stream === "stdout" ? 1 : 2]);
  return { kind: eventKinds.output, pieces: [first, Buffer.from(text)] };
}

export function refusedEvent({ parent, ...rest }: Refusal): Body {
  const text = parent && bufferOf(parent.raw.header).toString();
  return jsonEvent("refused", { ...rest, parent: text });
}

/** Bytes of the run, the number and the kind. */
const TAIL = 16 + 8 + 1;

/** The frame of an event. Its bytes are copied if something else uses them. */
export function eventFrame(
  run: Uint8Array,
  number: number,
  { kind, pieces, isOwn = false }: Body,
): Buffer[] {
  const tail = Buffer.allocUnsafe(TAIL);
  tail.set(run, 0);
  writeU64(tail, 16, number);
  tail[24] = kind;
  const own = isOwn ? pieces : copied(pieces);
  return frameOf(frameKinds.event, ...own, tail);
}

/** A small frame is copied by `frameOf`. */
function copied(pieces: readonly Uint8Array[]): readonly Uint8Array[] {
  const size = lengthOf(pieces);
  return size < 60 * 1024 ? pieces : [Buffer.concat(pieces, size)];
}

export interface ReceivedEvent {
  readonly run_id: string;
  readonly number: number;
  readonly kind: number;
  readonly bytes: Buffer;
  /** Whether `bytes` begin their own memory, which nothing else uses. */
  readonly isOwn: boolean;
}

/** Throws a `StreamError`. */
export function eventIn({ body, isOwn }: Frame): ReceivedEvent {
  const at = body.length - TAIL;
  if (at < 0) throw new StreamError("an event without a number");
  return {
    run_id: body.toString("hex", at, at + 16),
    number: readU64(body, at + 16),
    kind: body[at + 24] ?? 0,
    bytes: body.subarray(0, at),
    isOwn,
  };
}

/** Reads the events of one run. It remembers the last parent, which consecutive messages share. */
export class EventReader {
  #parent: { readonly bytes: Buffer; readonly header: Header | undefined } = {
    bytes: EMPTY_OBJECT,
    header: undefined,
  };

  /** A message's frames are views of the event. Throws a `StreamError`. */
  message({
    kind,
    bytes,
    isOwn,
  }: Pick<ReceivedEvent, "kind" | "bytes" | "isOwn">): Message {
    if (kind === eventKinds.message) return this.read(bytes);
    const at = bytes.length - RECORD_TAIL;
    if (at < 0) throw new StreamError("a record without its lengths");
    const whole = bytes.subarray(0, at);
    // The journal takes the record with its memory, which must then be its own.
    const record = isOwn ? whole : Buffer.concat([whole]);
    const [text = record] = payloadsIn(record);
    const channel = channelOf(bytes[at]);
    const frames = framesIn(text, channel, {
      header: bytes.readUInt32LE(at + 2),
      parent_header: bytes.readUInt32LE(at + 6),
      metadata: bytes.readUInt32LE(at + 10),
      content: bytes.readUInt32LE(at + 14),
    });
    const raw =
      bytes[at + 1] === 0 ? { ...frames, parent_header: EMPTY_OBJECT } : frames;
    return { ...this.#withHeaders(channel, raw, []), record };
  }

  /** The message in the bytes that `piecesOf` has made. */
  read(bytes: Buffer): Message {
    const count = bytes.readUInt32LE(1);
    let at = 5 + 4 * (4 + count);
    if (at > bytes.length) throw new StreamError("a message without frames");
    const parts: Buffer[] = [];
    for (let index = 0; index < 4 + count; index += 1) {
      const length = bytes.readUInt32LE(5 + 4 * index);
      parts.push(bytes.subarray(at, (at += length)));
    }
    const [header, parent_header, metadata, content, ...buffers] = parts;
    if (
      at !== bytes.length ||
      !header ||
      !parent_header ||
      !metadata ||
      !content
    ) {
      throw new StreamError("a message whose frames have other lengths");
    }
    const raw = { header, parent_header, metadata, content };
    return this.#withHeaders(channelOf(bytes[0]), raw, buffers);
  }

  #withHeaders(
    channel: Channel,
    raw: Readonly<Record<keyof Message["raw"], Buffer>>,
    buffers: readonly Buffer[],
  ): Message {
    const header = headerIn(raw.header);
    if (header === undefined)
      throw new StreamError("a message without a header");
    if (!raw.parent_header.equals(this.#parent.bytes)) {
      const bytes = Buffer.from(raw.parent_header); // a copy: the event is a view
      this.#parent = { bytes, header: headerIn(bytes) };
    }
    return {
      channel,
      header,
      parent_header: this.#parent.header,
      raw,
      buffers,
    };
  }
}

/** A message in pieces: channel, number of buffers, all lengths, then the frames and the buffers. */
export function piecesOf({ channel, raw, buffers }: Message): Uint8Array[] {
  const { header, parent_header, metadata, content } = raw;
  const parts = [header, parent_header, metadata, content, ...buffers];
  const head = Buffer.allocUnsafe(5 + 4 * parts.length);
  head[0] = channels.indexOf(channel);
  head.writeUInt32LE(buffers.length, 1);
  for (const [index, { length }] of parts.entries()) {
    head.writeUInt32LE(length, 5 + 4 * index);
  }
  return [head, ...parts];
}

function channelOf(index: number | undefined): Channel {
  const channel = channels[index ?? -1];
  if (channel === undefined) throw new StreamError("an unknown channel");
  return channel;
}

/** The hooks were called: a message's frames are not valid any more, and their memory is for other events. The journal keeps that of a record. */
export function releaseMessage({ kind, bytes, isOwn }: ReceivedEvent): void {
  if (kind === eventKinds.message && isOwn) releaseMemory(bytes.buffer);
}

/** The hooks that an event calls by itself; the receiver knows what to do with the others. */
export function callHook(
  { kind, bytes, isOwn }: ReceivedEvent,
  hooks: Hooks,
): void {
  switch (kind) {
    case eventKinds.burst:
      hooks.burst(burstIn(bytes));
      if (isOwn) releaseMemory(bytes.buffer); // a burst's views are valid during the call only
      return;
    case eventKinds.output:
      hooks.output(
        bytes[0] === 1 ? "stdout" : "stderr",
        bytes.toString("utf8", 1),
      );
      return;
    case eventKinds.refused: {
      const { parent: text, ...rest } = valueOf("refused", bytes);
      const raw = text === undefined ? undefined : Buffer.from(text);
      const header = raw && headerIn(raw);
      const parent = raw && header && { header, raw: { header: raw } };
      hooks.refused({ ...rest, parent });
      return;
    }
    case eventKinds.tooLarge: {
      const { channel, size } = valueOf("tooLarge", bytes);
      hooks.tooLarge(channel, size);
      return;
    }
    case eventKinds.state:
      hooks.state(valueOf("state", bytes).state);
      return;
    case eventKinds.registered:
      hooks.registered(valueOf("registered", bytes));
  }
}

/** The value of an event whose bytes are JSON. Throws a `StreamError`. */
export function valueOf<K extends keyof JsonEvents>(
  _kind: K,
  bytes: Buffer,
): JsonEvents[K] {
  return objectOf(bytes) as unknown as JsonEvents[K];
}

function burstIn(bytes: Buffer): Burst {
  const start = 4 + bytes.readUInt32LE(0);
  const { msg_type, parent_id, count } = objectOf(
    bytes.subarray(4, start),
  ) as Partial<Burst>;
  const end = start + 4 * BURST_ROW * (count ?? 0);
  if (!msg_type || parent_id === undefined || !count || end > bytes.length) {
    throw new StreamError("a burst without its rows");
  }
  const rows = new Int32Array(BURST_ROW * count);
  bytes.copy(new Uint8Array(rows.buffer), 0, start, end); // rows begin at a multiple of four bytes
  return { msg_type, parent_id, count, records: bytes.subarray(end), rows };
}
