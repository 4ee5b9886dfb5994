/**
 * JSON that is sent exactly as it was received: integers beyond 2^53, the order of
 * keys, a key named `__proto__`. Parsing and encoding again would lose them.
 *
 * A `RawJson` replaces a value in an answer. `stringify` encodes it as its bytes;
 * any other encoder encodes the parsed value. If another library encodes an answer
 * that we send, the answer contains `Placeholders` until it is sent.
 */
import { randomUUID } from "node:crypto";
import { membersOf } from "./json-members.ts";
import { bufferOf } from "./message.ts";

export class RawJson {
  readonly bytes: Buffer;

  /** `bytes` are one JSON value and must not change. */
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

/** Like `JSON.stringify`; each `RawJson` is encoded as its bytes. */
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

/** Strings that replace JSON while another encoder encodes the value around it. */
export class Placeholders {
  readonly #jsons = new Map<string, string | readonly Buffer[]>();
  #count = 0;

  /** Returns the placeholder to encode instead of `json`, which may be in pieces. */
  add(json: string | readonly Buffer[]): string {
    this.#count += 1;
    const mark = `${PLACEHOLDER}${this.#count}`;
    this.#jsons.set(mark, json);
    return mark;
  }

  /** Replaces the placeholders in the encoded text by their JSON, and deletes them. */
  fill(text: string): string {
    if (this.#jsons.size === 0) return text;
    return text.replace(QUOTED_PLACEHOLDER, (quoted, mark: string) => {
      const json = this.#take(mark) ?? quoted;
      return typeof json === "string" ? json : Buffer.concat(json).toString();
    });
  }

  /** The same for UTF-8 in which no placeholder is cut; returns pieces. */
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

/** The value of JSON bytes: strings, `true`, `false` and `null` are parsed; numbers, lists and objects become `RawJson`. The bytes must not change later. */
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

/** Collects raw JSON while `stringify` encodes. */
let encoding: Placeholders | undefined;

/** Random, so that no text of a peer can be mistaken for it. */
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
