/**
 * An entry as bytes on disk, and back: what is read is what was written, to
 * the byte, so that nobody can tell from where an entry came.
 *
 *     length of head (4)  head (JSON)  text  buffers…
 */
import type { OwnEvent } from "../../contract/index.ts";
import {
  type Entry,
  EventEntry,
  MessageEntry,
  type MessageParts,
} from "./entry.ts";

/** What is not in the text, and the lengths of what follows the head. */
type Head =
  | { readonly seq: number; readonly event: OwnEvent }
  | (Omit<MessageParts, "text" | "buffers"> & {
      readonly text: number;
      readonly buffers: readonly number[];
    });

/** In pieces that follow each other; texts and buffers are not copied. */
export function toRecord(entry: Entry): Buffer[] {
  if (entry instanceof EventEntry) {
    return [headed({ seq: entry.seq, event: entry.event })];
  }
  const { seq, channel, msg_type, msg_id, parent_id, places } = entry;
  const head = headed({
    seq,
    channel,
    msg_type,
    msg_id,
    parent_id,
    places,
    text: entry.text.length,
    buffers: entry.buffers.map(({ length }) => length),
  });
  return [head, entry.text, ...entry.buffers];
}

/** The entries in a run of whole records, as views of it. Throws when it is no such thing. */
export function fromRecords(bytes: Buffer): Entry[] {
  const entries: Entry[] = [];
  let at = 0;
  const take = (length: number): Buffer => {
    if (at + length > bytes.length) throw new RangeError("A record is cut off");
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const length = take(4).readUInt32LE();
    const head = JSON.parse(take(length).toString()) as Head;
    if ("event" in head) {
      entries.push(new EventEntry(head.seq, head.event));
      continue;
    }
    const { parent_id } = head; // JSON leaves out what is undefined
    const text = take(head.text);
    const buffers = head.buffers.map(take);
    entries.push(new MessageEntry({ ...head, parent_id, text, buffers }));
  }
  return entries;
}

function headed(head: Head): Buffer {
  const json = JSON.stringify(head);
  const length = Buffer.byteLength(json);
  const bytes = Buffer.allocUnsafe(4 + length);
  bytes.writeUInt32LE(length);
  bytes.write(json, 4);
  return bytes;
}
