/**
 * Messages as frames of Jupyter's two WebSocket protocols, and back.
 *
 * `v1.kernel.websocket.jupyter.org`, always binary, little endian:
 *
 *     count (u64)  offsets (u64 each)  channel  header  parent_header  metadata  content  buffers…
 *
 * The default protocol: a JSON text; with buffers a binary frame, big endian:
 *
 *     count (u32)  offsets (u32 each)  JSON text  buffers…
 *
 * Offsets are from the beginning of the payload. In v1 the last one is the end.
 * Source: `jupyter_server/services/kernels/connection/base.py`.
 */
import { failure } from "../../../../contract/index.ts";
import {
  clientMessage,
  type HeaderDefaults,
  fromClientParts,
} from "../../../jupyter/client-message.ts";
import type { Channel, Message, RawFrames } from "../../../jupyter/message.ts";
import { bufferOf, EMPTY_OBJECT } from "../../../jupyter/message.ts";
import { lengthOf } from "../../../jupyter/pieces.ts";
import { separators } from "../../../jupyter/record.ts";
import { Entry } from "../../../journal/entry.ts";
import type { Entries } from "../../../journal/entries.ts";
import type { Layout } from "../../../journal/slab.ts";
import { type Encoded, OutputMemory } from "../../encoded.ts";
import {
  frameHeaderLength,
  WHOLE_BINARY,
  writeFrameHeader,
} from "../../../jupyter/websocket-frame.ts";

/** The parts of a message that are sent. */
export interface OutgoingMessage {
  readonly channel: Channel;
  readonly msg_id: string;
  readonly msg_type: string;
  readonly raw: RawFrames;
  readonly buffers: readonly Uint8Array[];
}

export function outgoing({
  channel,
  header,
  raw,
  buffers,
}: Message): OutgoingMessage {
  const { msg_id, msg_type } = header;
  return { channel, msg_id, msg_type, raw, buffers };
}

export interface KernelProtocol {
  /** The frames of messages that follow each other in a slab: none is large, and none has buffers. */
  encodeRun(run: Entries): Encoded;
  /** Whole WebSocket frames, in pieces that follow each other. Pieces may be views of the message. */
  encode(message: OutgoingMessage): readonly Buffer[];
  /** Reads a client's frame, in short steps. Throws `bad_message`. */
  decode(
    data: Buffer,
    isBinary: boolean,
    defaults: HeaderDefaults,
  ): Generator<void, Message>;
}

/** Bytes. Smaller messages are copied into one piece. */
export const LARGE = 64 * 1024;
/** The largest number of parts in a client's frame. */
const PARTS_LIMIT = 65_536;

export const binaryProtocol: KernelProtocol = {
  encode({ channel, raw, buffers }) {
    const parts = [
      Buffer.from(channel),
      bufferOf(raw.header),
      bufferOf(raw.parent_header),
      bufferOf(raw.metadata),
      bufferOf(raw.content),
      ...buffers.map(bufferOf),
    ];
    const count = parts.length + 1;
    const head = Buffer.allocUnsafe(8 * (1 + count));
    writeLong(head, count, 0);
    let offset = head.length;
    for (const [index, { length }] of parts.entries()) {
      writeLong(head, offset, 8 * (1 + index));
      offset += length;
    }
    writeLong(head, offset, 8 * count);
    return framed([head, ...parts], WHOLE_BINARY);
  },

  encodeRun: binaryRun,

  *decode(data, isBinary, defaults) {
    if (!isBinary) return yield* decodeText(data, defaults);
    const count = data.length < 8 ? 0 : readLong(data, 0);
    if (count < 6) throw bad("its head declares fewer than six parts");
    if (count > PARTS_LIMIT) throw bad(`it has more than ${PARTS_LIMIT} parts`);
    if (data.length < 8 * (1 + count)) throw bad("its head is cut off");
    const offsets = Array.from({ length: count }, (_, index) =>
      readLong(data, 8 * (1 + index)),
    );
    const [channel, header, parent_header, metadata, content, ...buffers] =
      partsOf(data, offsets, 8 * (1 + count));
    return yield* fromClientParts(
      {
        channel: (channel as Buffer).toString(),
        header: header as Buffer,
        parent_header: parent_header as Buffer,
        metadata: metadata as Buffer,
        content: content as Buffer,
        buffers,
      },
      defaults,
    );
  },
};

export const defaultProtocol: KernelProtocol = {
  encode({ channel, msg_id, msg_type, raw, buffers }) {
    const ids = `"msg_id":${JSON.stringify(msg_id)},"msg_type":${JSON.stringify(msg_type)}`;
    const text = [
      Buffer.from(`{"channel":"${channel}",${ids},"header":`),
      bufferOf(raw.header),
      separators.parent_header,
      bufferOf(raw.parent_header),
      separators.metadata,
      bufferOf(raw.metadata),
      separators.content,
      bufferOf(raw.content),
      END,
    ];
    if (buffers.length === 0) return framed(text);
    const count = 1 + buffers.length;
    const head = Buffer.allocUnsafe(4 * (1 + count));
    head.writeUInt32BE(count, 0);
    head.writeUInt32BE(head.length, 4);
    let offset = head.length + lengthOf(text);
    for (const [index, { length }] of buffers.entries()) {
      head.writeUInt32BE(offset, 4 * (2 + index));
      offset += length;
    }
    return framed([head, ...text, ...buffers.map(bufferOf)], WHOLE_BINARY);
  },

  encodeRun({ slab, from, to }) {
    const pieces: Buffer[] = [];
    for (let row = from; row < to; row += 1) {
      pieces.push(...defaultProtocol.encode(new Entry(slab, row)));
    }
    return { pieces, memory: slab };
  },

  *decode(data, isBinary, defaults) {
    if (!isBinary) return yield* decodeText(data, defaults);
    const count = data.length < 4 ? 0 : data.readUInt32BE(0);
    if (count < 1) throw bad("its head declares no parts");
    if (count > PARTS_LIMIT) throw bad(`it has more than ${PARTS_LIMIT} parts`);
    if (data.length < 4 * (1 + count)) throw bad("its head is cut off");
    const offsets = Array.from({ length: count }, (_, index) =>
      data.readUInt32BE(4 * (1 + index)),
    );
    const [text, ...buffers] = partsOf(
      data,
      [...offsets, data.length],
      4 * (1 + count),
    );
    const message = yield* decodeText(text as Buffer, defaults);
    return { ...message, buffers };
  },
};

/** The parts of a message without buffers. */
const PARTS = 5;
/** Bytes of its head: how many offsets there are, and these. */
const HEAD = 8 * (1 + PARTS + 1);
const names = {
  shell: Buffer.from("shell"),
  iopub: Buffer.from("iopub"),
  stdin: Buffer.from("stdin"),
  control: Buffer.from("control"),
};

/**
 * The records of a slab as frames of v1. They are copied once, and then their
 * parts are moved to the front: a frame is shorter than the record of the same
 * message, because there is nothing between its parts. `copyWithin` makes no
 * object, so a message costs a third of what it costs to copy each part.
 */
function binaryRun({ slab, from, to }: Entries): Encoded {
  const records = slab.recordsOf(from, to);
  const memory = new OutputMemory(records.length);
  const { bytes: out } = memory;
  out.set(records);
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  const origin = slab.offsetOf(from);
  let at = 0;
  const offset = (index: number, value: number) => {
    view.setUint32(at + 8 * index, value, true);
    view.setUint32(at + 8 * index + 4, 0, true);
  };
  for (let row = from; row < to; row += 1) {
    slab.layoutOf(row, layout);
    const { header, metadata, content, hasParent } = layout;
    const name = names[layout.channel];
    const parent_header = hasParent ? layout.parent_header : 2;
    const size =
      HEAD + name.length + header + parent_header + metadata + content;
    const source = layout.at - origin;
    at = writeFrameHeader(out, at, size, WHOLE_BINARY);
    offset(0, PARTS + 1);
    let end = HEAD;
    offset(1, end);
    end += name.length;
    offset(2, end);
    end += header;
    offset(3, end);
    end += parent_header;
    offset(4, end);
    end += metadata;
    offset(5, end);
    offset(6, end + content);
    at += HEAD;
    out.set(name, at);
    at += name.length;
    let part = source;
    out.copyWithin(at, part, part + header);
    at += header;
    part += header + separators.parent_header.length;
    if (hasParent) out.copyWithin(at, part, part + parent_header);
    else out.set(EMPTY_OBJECT, at);
    at += parent_header;
    part += layout.parent_header + separators.metadata.length;
    out.copyWithin(at, part, part + metadata);
    at += metadata;
    part += metadata + separators.content.length;
    out.copyWithin(at, part, part + content);
    at += content;
  }
  return { pieces: [out.subarray(0, at)], memory };
}

const layout: Layout = {
  channel: "iopub",
  at: 0,
  header: 0,
  parent_header: 0,
  metadata: 0,
  content: 0,
  hasParent: false,
};

const END = Buffer.from(',"buffers":[]}');

/** A message without a channel is for shell, as gateways send it. */
function decodeText(
  text: Buffer,
  defaults: HeaderDefaults,
): Generator<void, Message> {
  return clientMessage(text, defaults, "shell");
}

/** The bytes between each offset and the next. Throws `bad_message`. */
function partsOf(
  data: Buffer,
  offsets: readonly number[],
  first: number,
): Buffer[] {
  let before = first;
  for (const offset of offsets) {
    if (offset < before || offset > data.length) {
      throw bad(
        "an offset in its head is not in ascending order, or is outside the frame",
      );
    }
    before = offset;
  }
  return offsets
    .slice(0, -1)
    .map((offset, index) => data.subarray(offset, offsets[index + 1]));
}

/** One WebSocket frame with this payload. */
function framed(payload: readonly Buffer[], first?: number): readonly Buffer[] {
  const size = lengthOf(payload);
  const header = frameHeaderLength(size);
  if (size >= LARGE) {
    const head = Buffer.allocUnsafe(header);
    writeFrameHeader(head, 0, size, first);
    return [head, ...payload];
  }
  const frame = Buffer.allocUnsafe(header + size);
  let at = writeFrameHeader(frame, 0, size, first);
  for (const part of payload) {
    frame.set(part, at);
    at += part.length;
  }
  return [frame];
}

const WORD = 2 ** 32;

/** A number below 2^53 as 64 bits, little endian. */
function writeLong(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % WORD, at);
  bytes.writeUInt32LE(Math.floor(value / WORD), at + 4);
}

function readLong(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * WORD;
}

function bad(why: string) {
  return failure("bad_message", { why: `A frame is not a message: ${why}` });
}
