/**
 * The current content of each `display_id`. Only messages whose type can have a
 * `display_id` are checked, and only those that have one are parsed, so that many
 * messages cost little.
 */
import { bufferOf, EMPTY_OBJECT, objectIn } from "../jupyter/message.ts";
import { membersAsWritten, membersIn } from "../jupyter/raw-json.ts";
import {
  type Burst,
  contentIn,
  mayNameDisplay,
  recordBytesIn,
} from "../jupyter/record.ts";
import { BoundedMap } from "./bounded-map.ts";
import type { Entry } from "../journal/entry.ts";
import { entrySize } from "../journal/slab.ts";

const LIMIT = 8 * 1024 * 1024; // bytes

/** Keyed by `display_id`. */
export type Displays = BoundedMap<ShownDisplay>;

/** The message whose content a display shows. */
export interface ShownDisplay {
  readonly content: Buffer;
  /** Bytes of the message in the journal. */
  readonly size: number;
}

export function noDisplays(): Displays {
  return new BoundedMap(LIMIT);
}

/** `content`: the content of the entry, if the caller has it already. */
export function noteDisplay(
  displays: Displays,
  entry: Entry,
  content = entry.raw.content,
): void {
  note(displays, entry, content);
}

/** The same for many messages. */
export function noteDisplays(displays: Displays, burst: Burst): void {
  const { msg_type, count } = burst;
  if (!DISPLAY_TYPES.has(msg_type)) return;
  for (let index = 0; index < count; index += 1) {
    if (!mayNameDisplay(burst, index)) continue;
    const size = entrySize(recordBytesIn(burst, index));
    note(displays, { msg_type, size }, contentIn(burst, index));
  }
}

function note(
  displays: Displays,
  entry: Pick<Entry, "msg_type" | "size">,
  content: Uint8Array,
): void {
  if (!DISPLAY_TYPES.has(entry.msg_type)) return;
  const json = bufferOf(content);
  if (json.length < LIMIT && !json.includes(DISPLAY_ID)) return;
  const display_id = displayIdIn(json);
  if (display_id === undefined) return;
  const { size } = entry;
  if (size > LIMIT) displays.leaveOut(display_id, size);
  else displays.set(display_id, { content: copyOf(json), size });
}

export function shownBy({ content }: ShownDisplay): Bundle {
  return bundleIn(membersIn(content));
}

/** A copy in memory of its own, which is freed with the display. */
function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}

interface Bundle {
  readonly data: Record<string, unknown>;
  readonly metadata: Record<string, unknown>;
}

/** The content of a display, as the kernel wrote it. */
export function displayIn(content: Uint8Array): Record<string, unknown> {
  const members = membersIn(content);
  const parsed = (name: string): unknown =>
    JSON.parse(members.get(name)?.toString() ?? "null");
  return {
    ...bundleIn(members),
    execution_count: parsed("execution_count"),
    transient: parsed("transient"),
  };
}

function bundleIn(members: ReadonlyMap<string, Uint8Array>): Bundle {
  return {
    data: membersAsWritten(members.get("data")),
    metadata: membersAsWritten(members.get("metadata")),
  };
}

export function isDisplay(msg_type: string): boolean {
  return DISPLAY_TYPES.has(msg_type);
}

const DISPLAY_TYPES = new Set([
  "display_data",
  "update_display_data",
  "execute_result",
]);
const DISPLAY_ID = Buffer.from('"display_id"');

function displayIdIn(content: Buffer): string | undefined {
  const transient = membersIn(content).get("transient") ?? EMPTY_OBJECT;
  const { display_id } = objectIn(transient) ?? {};
  return typeof display_id === "string" ? display_id : undefined;
}
