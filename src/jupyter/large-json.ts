/**
 * JSON that may be large: it is walked once, in short steps, where it comes in.
 * What is asked of it later is then known.
 */
import { limits } from "../../contract/limits.ts";
import { findMembers, rememberMembers } from "./json-members.ts";
import { JsonText } from "./json-text.ts";
import { bufferOf, type Message } from "./message.ts";
import { membersIn } from "./raw-json.ts";

/** Bytes. What is smaller is walked by whoever asks. */
const LARGE = 64 * 1024;
/** Bytes of one step. */
const STEP = 64 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const U = 0x75;

/** Walks an object, which is JSON: `membersOf` and `unitsIn` its `code` are then quick. */
export function* walk(object: Buffer): Generator<void> {
  if (object.length <= LARGE) return;
  const read = new JsonText(object, { depth: limits.depth });
  while (!read.step()) yield;
  if (read.kind !== "object") return;
  rememberMembers(object, read.members);
  const code = read.members.get("code");
  if (code?.[0] === QUOTE) yield* count(code);
}

/** The same of a kernel's message: `membersOf` its content, and the data in it, are then quick. */
export function* walkContent({ raw }: Pick<Message, "raw">): Generator<void> {
  const content = bufferOf(raw.content);
  if (content.length <= LARGE) return;
  yield* findMembers(content);
  const data = membersIn(content).get("data");
  if (data !== undefined && data.length > LARGE) yield* findMembers(data);
}

/** Counts the UTF-16 units of a JSON string. */
export function* count(string: Buffer): Generator<void> {
  if (string.length <= LARGE) return;
  const counted = new Units(string);
  while (!counted.step()) yield;
  known.set(string, counted.count);
}

/** How many UTF-16 units a JSON string spells. */
export function unitsIn(string: Buffer): number {
  const found = known.get(string);
  if (found !== undefined) return found;
  const counted = new Units(string);
  while (!counted.step());
  return counted.count;
}

const known = new WeakMap<Buffer, number>();

class Units {
  count = 0;
  readonly #string: Buffer;
  #at = 1;

  constructor(string: Buffer) {
    this.#string = string;
  }

  /** Counts on; true at the end. */
  step(): boolean {
    const string = this.#string;
    const end = string.length - 1;
    const stop = Math.min(end, this.#at + STEP);
    let at = this.#at;
    let { count } = this;
    while (at < stop) {
      const byte = string[at] as number;
      if (byte === BACKSLASH) at += string[at + 1] === U ? 6 : 2;
      else at += 1;
      if ((byte & 0xc0) !== 0x80) count += byte >= 0xf0 ? 2 : 1;
    }
    this.#at = at;
    this.count = count;
    return at >= end;
  }
}
