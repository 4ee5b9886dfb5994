/**
 * Is this UTF-8 text one JSON value? The walk over the bytes, in JavaScript.
 *
 * `assembly/json.ts` is the same walk in WebAssembly, several times as fast.
 * This one is for where WebAssembly cannot be had; both must say the same of
 * every text.
 */

/** Arrays and objects that may be nested in each other. */
export const DEEPEST = 1_000;

/** `non_finite`: JSON, but for bare `NaN` and `Infinity`. */
export type Verdict = "json" | "non_finite" | "not_json" | "too_deep";

export function walk(bytes: Uint8Array): Verdict {
  return new Walk(bytes).until(Infinity) ?? "not_json";
}

/** The same, in steps, which are short where no single text in it is long. */
export function* walking(bytes: Uint8Array): Generator<void, Verdict> {
  const begun = new Walk(bytes);
  for (let stop = STEP; ; stop += STEP) {
    const verdict = begun.until(stop);
    if (verdict !== undefined) return verdict;
    yield;
  }
}

/** Bytes of one step. */
const STEP = 64 * 1024;

/** What comes next. */
type Next = "value" | "first item" | "first name" | "name" | "after";

class Walk {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  /** Of each array or object that is open, whether it is an object. */
  readonly #open: boolean[] = [];
  #at = 0;
  #next: Next = "value";
  #isFinite = true;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#end = bytes.length;
  }

  /** Walks on, to the first place from `stop` on where it can pause: `undefined` there, and else the verdict. */
  until(stop: number): Verdict | undefined {
    let next = this.#next;
    for (;;) {
      this.#skipBlanks();
      if (this.#at >= this.#end) break;
      if (this.#at >= stop) {
        this.#next = next;
        return undefined;
      }
      const found = this.#step(next, this.#bytes[this.#at] ?? 0);
      switch (found) {
        case "not_json":
        case "too_deep":
          return found;
        default:
          next = found;
      }
    }
    if (next !== "after" || this.#open.length > 0) return "not_json";
    return this.#isFinite ? "json" : "non_finite";
  }

  #step(next: Next, byte: number): Next | Fault {
    switch (next) {
      case "first item":
        if (byte === END_BRACKET) return this.#close();
        return this.#value(byte);
      case "value":
        return this.#value(byte);
      case "first name":
        if (byte === END_BRACE) return this.#close();
        return this.#name(byte);
      case "name":
        return this.#name(byte);
      case "after":
        return this.#after(byte);
    }
  }

  #after(byte: number): Next | Fault {
    const isObject = this.#open.at(-1);
    if (isObject === undefined) return "not_json"; // something follows the value
    if (byte === COMMA) {
      this.#at += 1;
      return isObject ? "name" : "value";
    }
    return byte === (isObject ? END_BRACE : END_BRACKET)
      ? this.#close()
      : "not_json";
  }

  #value(byte: number): Next | Fault {
    if (byte === QUOTE) return this.#text() ?? "after";
    if (byte === BRACE || byte === BRACKET) {
      if (this.#open.length === DEEPEST) return "too_deep";
      this.#open.push(byte === BRACE);
      this.#at += 1;
      return byte === BRACE ? "first name" : "first item";
    }
    if (byte === MINUS || isDigit(byte)) return this.#number();
    return this.#word();
  }

  #close(): Next {
    this.#open.pop();
    this.#at += 1;
    return "after";
  }

  #name(byte: number): Next | Fault {
    if (byte !== QUOTE) return "not_json";
    const fault = this.#text();
    if (fault !== undefined) return fault;
    this.#skipBlanks();
    if (this.#bytes[this.#at] !== COLON) return "not_json";
    this.#at += 1;
    return "value";
  }

  /** From the opening quote past the closing one. */
  #text(): Fault | undefined {
    const bytes = this.#bytes;
    let at = this.#at + 1;
    for (;;) {
      const byte = bytes[at];
      if (byte === undefined || byte < 0x20) return "not_json";
      if (byte === QUOTE) break;
      if (byte === BACKSLASH) {
        const size = escapeSize(bytes, at);
        if (size === 0) return "not_json";
        at += size;
      } else at += 1;
    }
    this.#at = at + 1;
    return undefined;
  }

  #number(): Next | Fault {
    const bytes = this.#bytes;
    if (bytes[this.#at] === MINUS) {
      this.#at += 1;
      if (bytes[this.#at] === INFINITY[0]) return this.#word();
    }
    if (bytes[this.#at] === ZERO) this.#at += 1;
    else if (!this.#digits()) return "not_json";
    if (bytes[this.#at] === POINT) {
      this.#at += 1;
      if (!this.#digits()) return "not_json";
    }
    if (((bytes[this.#at] ?? 0) | 0x20) === SMALL_E) {
      this.#at += 1;
      const sign = bytes[this.#at];
      if (sign === PLUS || sign === MINUS) this.#at += 1;
      if (!this.#digits()) return "not_json";
    }
    return "after";
  }

  /** False where there are none. */
  #digits(): boolean {
    const from = this.#at;
    while (isDigit(this.#bytes[this.#at] ?? 0)) this.#at += 1;
    return this.#at > from;
  }

  #word(): Next | Fault {
    const word = WORDS.find((letters) => letters[0] === this.#bytes[this.#at]);
    if (word === undefined) return "not_json";
    for (const letter of word) {
      if (this.#bytes[this.#at] !== letter) return "not_json";
      this.#at += 1;
    }
    if (word === NAN || word === INFINITY) this.#isFinite = false;
    return "after";
  }

  #skipBlanks(): void {
    const bytes = this.#bytes;
    let at = this.#at;
    for (;;) {
      const byte = bytes[at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) {
        break;
      }
      at += 1;
    }
    this.#at = at;
  }
}

type Fault = Exclude<Verdict, "json" | "non_finite">;

const QUOTE = 0x22;
const PLUS = 0x2b;
const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;
const SLASH = 0x2f;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const END_BRACKET = 0x5d;
const SMALL_E = 0x65;
const SMALL_U = 0x75;
const BRACE = 0x7b;
const END_BRACE = 0x7d;

const NAN = lettersOf("NaN");
const INFINITY = lettersOf("Infinity");
const WORDS = [...["true", "false", "null"].map(lettersOf), NAN, INFINITY];
/** What may follow a backslash, beside the `u` of `\u00e9`. */
const ESCAPED = new Set([QUOTE, SLASH, BACKSLASH, ...lettersOf("bfnrt")]);

function lettersOf(word: string): readonly number[] {
  return Array.from(word, (letter) => letter.charCodeAt(0));
}

/** Bytes of the escape at a backslash; 0 where the escape is wrong. */
export function escapeSize(bytes: Uint8Array, at: number): number {
  const escaped = bytes[at + 1] ?? 0;
  if (escaped !== SMALL_U) return ESCAPED.has(escaped) ? 2 : 0;
  for (let place = at + 2; place < at + 6; place += 1) {
    if (!isHex(bytes[place] ?? 0)) return 0;
  }
  return 6;
}

export function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= NINE;
}

function isHex(byte: number): boolean {
  const letter = byte | 0x20;
  return isDigit(byte) || (letter >= 0x61 && letter <= 0x66);
}
