/**
 * Finds the members of a JSON object in its text without parsing their values:
 * one pass over the bytes that recognises strings and brackets.
 *
 * It does not check whether the values are JSON.
 */
import { runAtOnce } from "../time/request-scheduler.ts";
import { BadText } from "./json-text.ts";

/** The values as views of `text`, by name. If a name occurs twice, the last value counts. Throws `BadText`. */
export function membersOf(text: Buffer): ReadonlyMap<string, Buffer> {
  return cachedMembers.get(text) ?? runAtOnce(finding(text, Infinity));
}

/** Stores the members of this buffer for `membersOf`. */
export function cacheMembers(
  text: Buffer,
  members: ReadonlyMap<string, Buffer>,
): void {
  cachedMembers.set(text, members);
}

const cachedMembers = new WeakMap<Buffer, ReadonlyMap<string, Buffer>>();

/** Finds the members in short steps and remembers them. If the text is not an object, it remembers nothing. */
export function* findMembers(text: Buffer): Generator<void, void> {
  try {
    cacheMembers(text, yield* finding(text, STEP));
  } catch (error) {
    if (!(error instanceof BadText)) throw error;
  }
}

/** Bytes of one step. A quote takes as long as `QUOTE_COST` bytes. */
const STEP = 256 * 1024;
const QUOTE_COST = 64;

/** Yields after each `step` bytes. */
function* finding(
  text: Buffer,
  step: number,
): Generator<void, Map<string, Buffer>> {
  const members = new Map<string, Buffer>();
  let at = skipBlanks(text, 0);
  if (text[at] !== BRACE) throw bad("no opening brace");
  at = skipBlanks(text, at + 1);
  let isOver = text[at] === END_BRACE;
  let stop = at + step;
  while (!isOver) {
    if (text[at] !== QUOTE) throw bad("no name");
    const afterName = afterString(text, at);
    const name = nameOf(text.subarray(at, afterName));
    at = skipBlanks(text, afterName);
    if (text[at] !== COLON) throw bad("no colon after a name");
    at = skipBlanks(text, at + 1);
    const start = at;
    let depth = 0;
    let isText = false;
    let isValue = true;
    while (isValue) {
      if (at >= stop) {
        stop = at + step;
        yield;
      }
      if (isText) {
        stop -= QUOTE_COST;
        const quote = quoteFrom(text, at);
        at = quote + 1;
        isText = isEscaped(text, quote);
        isValue = depth > 0 || isText;
        continue;
      }
      at = afterNothing(text, at, stop);
      switch (text[at]) {
        case undefined:
          throw bad("a value without end");
        case QUOTE:
          isText = true;
          break;
        case BRACE:
        case BRACKET:
          depth += 1;
          break;
        case END_BRACE:
        case END_BRACKET:
          isValue = depth > 1;
          if (depth === 0) continue; // the bracket of the object itself: the value ends before it
          depth -= 1;
          break;
        case COMMA:
          isValue = depth > 0;
          if (!isValue) continue;
          break;
        default:
          break;
      }
      at += 1;
    }
    members.set(name, text.subarray(start, at));
    at = skipBlanks(text, at);
    isOver = text[at] === END_BRACE;
    if (isOver) break;
    if (text[at] !== COMMA) throw bad("no comma after a value");
    at = skipBlanks(text, at + 1);
  }
  if (skipBlanks(text, at + 1) !== text.length)
    throw bad("text after the object");
  return members;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const BRACE = 0x7b;
const END_BRACE = 0x7d;
const BRACKET = 0x5b;
const END_BRACKET = 0x5d;

/** 1 for each byte that cannot begin or end a value: most bytes of a long list of numbers. */
const ENDS_NOTHING = new Uint8Array(256).fill(1);
for (const byte of [0, QUOTE, COMMA, BRACE, END_BRACE, BRACKET, END_BRACKET]) {
  ENDS_NOTHING[byte] = 0;
}

/** The first offset from `at` to `stop` that may begin or end a value. */
function afterNothing(text: Buffer, at: number, stop: number): number {
  let offset = at;
  while (ENDS_NOTHING[text[offset] ?? 0] === 1 && offset < stop) offset += 1;
  return offset;
}

function nameOf(text: Buffer): string {
  try {
    return JSON.parse(text.toString()) as string;
  } catch (cause) {
    throw bad("a name that is not a string", cause);
  }
}

/** The first offset from `at` on that is not white space. */
function skipBlanks(text: Buffer, at: number): number {
  let offset = at;
  for (;;) {
    const byte = text[offset];
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) {
      return offset;
    }
    offset += 1;
  }
}

/** One past the closing quote of the string that begins at `at`. */
function afterString(text: Buffer, at: number): number {
  let quote = quoteFrom(text, at + 1);
  while (isEscaped(text, quote)) quote = quoteFrom(text, quote + 1);
  return quote + 1;
}

function quoteFrom(text: Buffer, from: number): number {
  const quote = text.indexOf(QUOTE, from);
  if (quote === -1) throw bad("a string without end");
  return quote;
}

function isEscaped(text: Buffer, quote: number): boolean {
  let slashes = 0;
  while (text[quote - 1 - slashes] === BACKSLASH) slashes += 1;
  return slashes % 2 === 1;
}

function bad(what: string, cause?: unknown): BadText {
  return new BadText("not_json", `It is not an object: ${what}`, { cause });
}
