/**
 * Answers that are large: spelled in short steps, in pieces that follow each
 * other, so that nobody else waits. The JSON is that of `stringify`.
 */
import { RawJson, stringify } from "../../jupyter/raw-json.ts";

/** Characters, or bytes. A value that is spelled as fewer is spelled in one go. */
const LARGE = 128 * 1024;
/** The same of values within a value. */
const MANY = 4_000;

/** Whether it takes long to spell. */
export function isLarge(value: unknown): boolean {
  return new Room().lacks(value);
}

/** The JSON of a value, in pieces. */
export function* inPieces(value: unknown): Generator<void, readonly Buffer[]> {
  const pieces: Buffer[] = [];
  let text = "";
  for (const part of partsOf(value)) {
    if (typeof part === "string") text += part;
    if (typeof part === "string" && text.length < LARGE) continue;
    if (text !== "") pieces.push(Buffer.from(text));
    text = "";
    if (typeof part !== "string") pieces.push(part);
    yield;
  }
  if (text !== "") pieces.push(Buffer.from(text));
  return pieces;
}

function* partsOf(value: unknown): Generator<string | Buffer, void> {
  if (typeof value === "string" && value.length > LARGE) {
    yield* textIn(value);
  } else if (typeof value !== "object" || value === null || !isLarge(value)) {
    yield stringify(value);
  } else if (value instanceof RawJson) {
    yield value.bytes;
  } else if (Array.isArray(value)) {
    let before = "[";
    for (const item of value as readonly unknown[]) {
      yield before;
      yield* partsOf(item);
      before = ",";
    }
    yield "]";
  } else {
    let before = "{";
    for (const [name, member] of Object.entries(value)) {
      if (member === undefined) continue;
      yield `${before}${JSON.stringify(name)}:`;
      yield* partsOf(member);
      before = ",";
    }
    yield "}";
  }
}

function* textIn(text: string): Generator<string, void> {
  yield '"';
  for (let at = 0; at < text.length;) {
    let end = at + LARGE;
    if (isFirstOfPair(text.charCodeAt(end - 1))) end -= 1;
    yield JSON.stringify(text.slice(at, end)).slice(1, -1);
    at = end;
  }
  yield '"';
}

function isFirstOfPair(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}

/** What a value may take to be spelled in one go. */
class Room {
  #characters = LARGE;
  #values = MANY;

  /** Whether there is too little for the value. Looks no further than there is room. */
  lacks(value: unknown): boolean {
    this.#values -= 1;
    if (typeof value === "string") this.#characters -= value.length;
    if (value instanceof RawJson) this.#characters -= value.bytes.length;
    else if (typeof value === "object" && value !== null) {
      for (const name in value) {
        this.#characters -= name.length;
        const member = (value as Readonly<Record<string, unknown>>)[name];
        if (this.lacks(member)) return true;
      }
    }
    return this.#characters < 0 || this.#values < 0;
  }
}
