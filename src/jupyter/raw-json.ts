/**
 * JSON that goes out as it came in: integers beyond 2^53, the order of keys,
 * a key named `__proto__`. A value that was parsed and spelled again loses them.
 *
 * It stands in an answer in place of the value. `stringify` spells it with its
 * own bytes; whoever else spells the answer gets the parsed value. Where others
 * spell the answer and it is ours to send, `Marks` stand in it meanwhile.
 */
import { randomUUID } from "node:crypto";
import { membersOf } from "./json-members.ts";
import { bufferOf } from "./message.ts";

export class RawJson {
  readonly bytes: Buffer;

  /** `bytes` are one JSON value, and stay as they are. */
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get text(): string {
    return this.bytes.toString();
  }

  toJSON(): unknown {
    return encoding === undefined
      ? JSON.parse(this.text)
      : encoding.add(this.text);
  }
}

/** As `JSON.stringify`, with raw JSON as its bytes are. */
export function stringify(value: unknown): string {
  const marks = new Placeholders();
  const outer = encoding;
  encoding = marks;
  let text: string;
  try {
    text = value === undefined ? "null" : JSON.stringify(value);
  } finally {
    encoding = outer;
  }
  return marks.fill(text);
}

/** Texts that stand for JSON while somebody else spells what is around it. */
export class Placeholders {
  readonly #jsons = new Map<string, string | readonly Buffer[]>();
  #count = 0;

  /** A text to be spelled in place of `json`, which may be in pieces. */
  add(json: string | readonly Buffer[]): string {
    this.#count += 1;
    const mark = `${PLACEHOLDER}${this.#count}`;
    this.#jsons.set(mark, json);
    return mark;
  }

  /** What was spelled, with the JSON that its marks stand for. Each is kept until then. */
  fill(text: string): string {
    if (this.#jsons.size === 0) return text;
    return text.replace(QUOTED_PLACEHOLDER, (quoted, mark: string) => {
      const json = this.#take(mark) ?? quoted;
      return typeof json === "string" ? json : Buffer.concat(json).toString();
    });
  }

  /** The same of a piece of UTF-8 that holds its marks whole, in pieces. */
  fillBytes(bytes: Uint8Array): readonly Buffer[] {
    if (this.#jsons.size === 0) return [bufferOf(bytes)];
    const text = bufferOf(bytes).toString();
    const pieces: Buffer[] = [];
    let from = 0;
    for (const { 0: quoted, 1: mark = "", index } of text.matchAll(
      QUOTED_PLACEHOLDER,
    )) {
      const json = this.#take(mark);
      if (json === undefined) continue;
      pieces.push(Buffer.from(text.slice(from, index)));
      if (typeof json === "string") pieces.push(Buffer.from(json));
      else pieces.push(...json);
      from = index + quoted.length;
    }
    pieces.push(Buffer.from(text.slice(from)));
    return pieces;
  }

  #take(mark: string): string | readonly Buffer[] | undefined {
    const json = this.#jsons.get(mark);
    this.#jsons.delete(mark);
    return json;
  }
}

/** What the bytes spell: texts and words as values, numbers, lists and objects raw. The bytes must be JSON and last. */
export function asWritten(bytes: Uint8Array): unknown {
  const buffer = bufferOf(bytes);
  const [first] = buffer;
  const isText = first === QUOTE;
  const isWord = first === SMALL_T || first === SMALL_F || first === SMALL_N;
  return isText || isWord ? JSON.parse(buffer.toString()) : new RawJson(buffer);
}

/** The members of a JSON object, each as it was written; empty for any other value. */
export function membersAsWritten(
  bytes: Uint8Array | undefined,
): Record<string, unknown> {
  return Object.fromEntries(
    [...membersIn(bytes)].map(([name, value]) => [name, asWritten(value)]),
  );
}

/** Views of the members of a JSON object, by name; none for any other value. */
export function membersIn(
  bytes: Uint8Array | undefined,
): ReadonlyMap<string, Buffer> {
  const buffer = bytes === undefined ? undefined : bufferOf(bytes);
  if (buffer === undefined || !beginsObject(buffer)) return new Map();
  return membersOf(buffer);
}

/** Where raw JSON is collected while an answer is spelled. */
let encoding: Placeholders | undefined;

/** No peer knows it, so that no text of a peer's is taken for it. */
const PLACEHOLDER = `raw-json-${randomUUID()}-`;
const QUOTED_PLACEHOLDER = new RegExp(`"(${PLACEHOLDER}\\d+)"`, "g");

const QUOTE = 0x22;
const SMALL_F = 0x66;
const SMALL_N = 0x6e;
const SMALL_T = 0x74;
const BRACE = 0x7b;

function beginsObject(bytes: Buffer): boolean {
  for (const byte of bytes) {
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) {
      return byte === BRACE;
    }
  }
  return false;
}
