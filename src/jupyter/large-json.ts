/**
 * An index of large JSON. The text is walked once, in short steps, when it is
 * received. Later lookups use the index.
 */
import { limits } from "../../contract/limits.ts";
import { findMembers, cacheMembers } from "./json-members.ts";
import { runAtOnce } from "../time/request-scheduler.ts";
import { jsonText } from "./json-text.ts";
import { bufferOf, type Message } from "./message.ts";
import { membersIn } from "./raw-json.ts";

/** Bytes. Smaller JSON has no index; each lookup walks it. */
const LARGE = 64 * 1024;
/** Bytes of one step. */
const STEP = 64 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const U = 0x75;

/** Indexes a JSON object: makes `membersOf` the object and `unitsIn` its `code` fast. */
export function* indexObject(object: Buffer): Generator<void> {
  if (object.length <= LARGE) return;
  const { kind, members } = yield* jsonText(object, { depth: limits.depth });
  if (kind !== "object") return;
  cacheMembers(object, members);
  const code = members.get("code");
  if (code?.[0] === QUOTE) yield* countUnits(code);
}

/** Indexes a kernel's message: makes `membersOf` its content and the content's `data` fast. */
export function* indexContent({ raw }: Pick<Message, "raw">): Generator<void> {
  const content = bufferOf(raw.content);
  if (content.length <= LARGE) return;
  yield* findMembers(content);
  const data = membersIn(content).get("data");
  if (data !== undefined && data.length > LARGE) yield* findMembers(data);
}

/** Counts the UTF-16 units of a JSON string. */
export function* countUnits(string: Buffer): Generator<void> {
  if (string.length > LARGE) unitCounts.set(string, yield* counting(string));
}

/** The number of UTF-16 units in the value of a JSON string. */
export function unitsIn(string: Buffer): number {
  return unitCounts.get(string) ?? runAtOnce(counting(string));
}

const unitCounts = new WeakMap<Buffer, number>();

function* counting(string: Buffer): Generator<void, number> {
  const end = string.length - 1;
  let count = 0;
  let at = 1;
  for (;;) {
    const stop = Math.min(end, at + STEP);
    while (at < stop) {
      const byte = string[at] as number;
      if (byte === BACKSLASH) at += string[at + 1] === U ? 6 : 2;
      else at += 1;
      if ((byte & 0xc0) !== 0x80) count += byte >= 0xf0 ? 2 : 1;
    }
    if (at >= end) return count;
    yield;
  }
}
