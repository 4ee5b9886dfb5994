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

function found(text: Buffer): Map<string, Buffer> {
  const members = new Map<string, Buffer>();
  let at = blank(text, 0);
  if (text[at] !== BRACE) throw new NotAnObject("no opening brace");
  at = blank(text, at + 1);
  if (text[at] === END_BRACE) return finished(members, text, at);
  for (;;) {
    if (text[at] !== QUOTE) throw new NotAnObject("no name");
    const afterName = afterString(text, at);
    const name = nameOf(text.subarray(at, afterName));
    at = blank(text, afterName);
    if (text[at] !== COLON) throw new NotAnObject("no colon after a name");
    const start = blank(text, at + 1);
    const end = afterValue(text, start);
    members.set(name, text.subarray(start, end));
    at = blank(text, end);
    if (text[at] === END_BRACE) return finished(members, text, at);
    if (text[at] !== COMMA) throw new NotAnObject("no comma after a value");
    at = blank(text, at + 1);
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

function finished(
  members: Map<string, Buffer>,
  text: Buffer,
  at: number,
): Map<string, Buffer> {
  if (blank(text, at + 1) !== text.length) {
    throw new NotAnObject("text after the object");
  }
  return members;
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
  for (let from = at + 1; ;) {
    const quote = text.indexOf(QUOTE, from);
    if (quote === -1) throw new NotAnObject("a string without end");
    let slashes = 0;
    while (text[quote - 1 - slashes] === BACKSLASH) slashes += 1;
    if (slashes % 2 === 0) return quote + 1;
    from = quote + 1;
  }
}

function afterValue(text: Buffer, at: number): number {
  let depth = 0;
  let place = at;
  for (;;) {
    while (ENDS_NOTHING[text[place] ?? 0] === 1) place += 1;
    switch (text[place]) {
      case undefined:
        throw new NotAnObject("a value without end");
      case QUOTE:
        place = afterString(text, place);
        if (depth === 0) return place;
        continue;
      case BRACE:
      case BRACKET:
        depth += 1;
        break;
      case END_BRACE:
      case END_BRACKET:
        if (depth === 0) return place;
        depth -= 1;
        if (depth === 0) return place + 1;
        break;
      case COMMA:
        if (depth === 0) return place;
        break;
      default:
        break;
    }
    place += 1;
  }
}
