/**
 * Encodes large answers in short steps, as consecutive pieces, so that other
 * requests do not wait. The JSON is the same as that of `stringify`.
 */
import { truncate } from "../../../contract/truncate.ts";
import { RawJson, stringify } from "../../jupyter/raw-json.ts";

/** Characters, or bytes. A smaller value is encoded in one step. */
const LARGE = 128 * 1024;
/** The same limit for the number of values in a value. */
const MANY = 4_000;

/** Whether the value takes long to encode. */
export function isLarge(value: unknown): boolean {
  let characters = LARGE;
  let values = MANY;
  // Stops at the limits, so that this check is short too.
  const exceeds = (part: unknown): boolean => {
    values -= 1;
    if (typeof part === "string") characters -= part.length;
    if (part instanceof RawJson) characters -= part.bytes.length;
    else if (typeof part === "object" && part !== null) {
      for (const name in part) {
        characters -= name.length;
        const member = (part as Readonly<Record<string, unknown>>)[name];
        if (exceeds(member)) return true;
      }
    }
    return characters < 0 || values < 0;
  };
  return exceeds(value);
}

/** The JSON of a value, in pieces. Yields between steps. */
export function* encodeInPieces(
  value: unknown,
): Generator<void, readonly Buffer[]> {
  const pieces: Buffer[] = [];
  let text = "";
  for (const part of encodedParts(value)) {
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

function* encodedParts(value: unknown): Generator<string | Buffer, void> {
  if (typeof value === "string" && value.length > LARGE) {
    yield* encodeText(value);
  } else if (typeof value !== "object" || value === null || !isLarge(value)) {
    yield stringify(value);
  } else if (value instanceof RawJson) {
    yield value.bytes;
  } else if (Array.isArray(value)) {
    let before = "[";
    for (const item of value as readonly unknown[]) {
      yield before;
      yield* encodedParts(item);
      before = ",";
    }
    yield "]";
  } else {
    let before = "{";
    for (const [name, member] of Object.entries(value)) {
      if (member === undefined) continue;
      yield `${before}${JSON.stringify(name)}:`;
      yield* encodedParts(member);
      before = ",";
    }
    yield "}";
  }
}

function* encodeText(text: string): Generator<string, void> {
  yield '"';
  for (let at = 0; at < text.length;) {
    const part = truncate(text.slice(at, at + LARGE), LARGE);
    yield JSON.stringify(part).slice(1, -1);
    at += part.length;
  }
  yield '"';
}
