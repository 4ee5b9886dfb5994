/**
 * Where the members of a JSON object lie in its text, without parsing their
 * values: one pass over the bytes that knows strings and brackets.
 *
 * It does not judge the values; whoever parses one learns whether it is JSON.
 */
export class NotAnObject extends Error {
  override readonly name = "NotAnObject";
}

/** Views of `text`, by name; of a name that comes twice, the last. Throws `NotAnObject`. */
export function membersOf(text: Buffer): ReadonlyMap<string, Buffer> {
  return remembered.get(text) ?? found(text);
}

/** For `membersOf` those very bytes, which were walked in another way. */
export function rememberMembers(
  text: Buffer,
  members: ReadonlyMap<string, Buffer>,
): void {
  remembered.set(text, members);
}

const remembered = new WeakMap<Buffer, ReadonlyMap<string, Buffer>>();

/** Finds the members in short steps and remembers them. If the text is not an object, it remembers nothing. */
export function* findMembers(text: Buffer): Generator<void, void> {
  const begun = new Finding(text);
  try {
    while (!begun.until(begun.at + STEP)) yield;
    rememberMembers(text, begun.members);
  } catch (error) {
    if (!(error instanceof NotAnObject)) throw error;
  }
}

/** Bytes of one step. A quote in it takes as long as many bytes. */
const STEP = 256 * 1024;
const QUOTE_COST = 64;

function found(text: Buffer): Map<string, Buffer> {
  const begun = new Finding(text);
  begun.until(Infinity);
  return begun.members;
}

class Finding {
  readonly members = new Map<string, Buffer>();
  readonly #text: Buffer;
  #at = 0;
  /** The member whose value is being walked, where it begins, and how many brackets are open in it. */
  #name: string | undefined;
  #start = 0;
  #depth = 0;
  /** Whether the place is within a text. */
  #isText = false;

  constructor(text: Buffer) {
    this.#text = text;
  }

  get at(): number {
    return this.#at;
  }

  /** Goes on, to the first place from `stop` on where it can pause. True: that is the end. */
  until(stop: number): boolean {
    const text = this.#text;
    if (this.#at === 0) {
      const at = blank(text, 0);
      if (text[at] !== BRACE) throw new NotAnObject("no opening brace");
      this.#at = blank(text, at + 1);
      if (text[this.#at] === END_BRACE) return isEnd(text, this.#at);
    }
    for (;;) {
      if (this.#name === undefined) this.#begin();
      const end = this.#valueEnd(stop);
      if (end === undefined) return false;
      this.members.set(this.#name ?? "", text.subarray(this.#start, end));
      this.#name = undefined;
      const at = blank(text, end);
      if (text[at] === END_BRACE) return isEnd(text, at);
      if (text[at] !== COMMA) throw new NotAnObject("no comma after a value");
      this.#at = blank(text, at + 1);
    }
  }

  /** Reads the name of a member, to where its value begins. */
  #begin(): void {
    const text = this.#text;
    if (text[this.#at] !== QUOTE) throw new NotAnObject("no name");
    const afterName = afterString(text, this.#at);
    this.#name = nameOf(text.subarray(this.#at, afterName));
    const at = blank(text, afterName);
    if (text[at] !== COLON) throw new NotAnObject("no colon after a name");
    this.#start = this.#at = blank(text, at + 1);
  }

  /** One past the end of the value; `undefined` where it pauses. */
  #valueEnd(stop: number): number | undefined {
    const text = this.#text;
    let depth = this.#depth;
    let isText = this.#isText;
    let place = this.#at;
    let cost = 0;
    for (;;) {
      if (place + cost >= stop) {
        this.#at = place;
        this.#depth = depth;
        this.#isText = isText;
        return undefined;
      }
      if (isText) {
        cost += QUOTE_COST;
        const quote = quoteFrom(text, place);
        place = quote + 1;
        isText = isEscaped(text, quote);
        if (depth === 0 && !isText) return this.#ended(place);
        continue;
      }
      while (ENDS_NOTHING[text[place] ?? 0] === 1 && place < stop) place += 1;
      switch (text[place]) {
        case undefined:
          throw new NotAnObject("a value without end");
        case QUOTE:
          isText = true;
          break;
        case BRACE:
        case BRACKET:
          depth += 1;
          break;
        case END_BRACE:
        case END_BRACKET:
          if (depth === 0) return this.#ended(place);
          depth -= 1;
          if (depth === 0) return this.#ended(place + 1);
          break;
        case COMMA:
          if (depth === 0) return this.#ended(place);
          break;
        default:
          break;
      }
      place += 1;
    }
  }

  #ended(end: number): number {
    this.#depth = 0;
    this.#isText = false;
    return end;
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const BRACE = 0x7b;
const END_BRACE = 0x7d;
const BRACKET = 0x5b;
const END_BRACKET = 0x5d;

/** 1 for every byte that neither begins nor ends a value: most bytes of a long list of numbers. */
const ENDS_NOTHING = new Uint8Array(256).fill(1);
for (const byte of [0, QUOTE, COMMA, BRACE, END_BRACE, BRACKET, END_BRACKET]) {
  ENDS_NOTHING[byte] = 0;
}

/** True, or there is more. */
function isEnd(text: Buffer, at: number): true {
  if (blank(text, at + 1) !== text.length) {
    throw new NotAnObject("text after the object");
  }
  return true;
}

function nameOf(text: Buffer): string {
  try {
    return JSON.parse(text.toString()) as string;
  } catch (cause) {
    throw new NotAnObject("a name that is no string", { cause });
  }
}

/** The first place from `at` on that holds no white space. */
function blank(text: Buffer, at: number): number {
  let place = at;
  for (;;) {
    const byte = text[place];
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) {
      return place;
    }
    place += 1;
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
  if (quote === -1) throw new NotAnObject("a string without end");
  return quote;
}

function isEscaped(text: Buffer, quote: number): boolean {
  let slashes = 0;
  while (text[quote - 1 - slashes] === BACKSLASH) slashes += 1;
  return slashes % 2 === 1;
}
