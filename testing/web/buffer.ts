/**
 * The part of Node's `Buffer` that the session core uses, based on the web's
 * arrays. Only the browser bundle contains it; in Node the real one is used.
 */
export class Buffer extends Uint8Array {
  static override from(
    source: string | ArrayLike<number> | Iterable<number> | ArrayBuffer,
    encoding: unknown = "utf8",
    length?: number,
  ): Buffer {
    if (isArrayBuffer(source)) {
      const offset = typeof encoding === "number" ? encoding : 0;
      return new Buffer(source, offset, length); // shares the memory, as in Node
    }
    if (typeof source !== "string") return new Buffer(toArray(source));
    switch (encoding) {
      case "base64":
        return fromBinary(decodeBase64(source));
      case "latin1":
        return fromBinary(source);
      default:
        return new Buffer(new TextEncoder().encode(source));
    }
  }

  static allocUnsafe(size: number): Buffer {
    return new Buffer(size);
  }

  static allocUnsafeSlow(size: number): Buffer {
    return new Buffer(size);
  }

  static alloc(size: number, fill = 0): Buffer {
    return new Buffer(size).fill(fill);
  }

  static concat(
    pieces: readonly Uint8Array[],
    size = pieces.reduce((sum, { length }) => sum + length, 0),
  ): Buffer {
    const whole = new Buffer(size);
    let at = 0;
    for (const piece of pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }

  static isBuffer(value: unknown): value is Buffer {
    return value instanceof Buffer;
  }

  static byteLength(text: string): number {
    return new TextEncoder().encode(text).length;
  }

  /** Returns the number of bytes that were written. */
  write(text: string, at = 0): number {
    return new TextEncoder().encodeInto(text, this.subarray(at)).written;
  }

  override toString(encoding = "utf8"): string {
    if (encoding === "utf8") return new TextDecoder().decode(this);
    const binary = toBinary(this);
    return encoding === "base64" ? btoa(binary) : binary;
  }

  override indexOf(value: number | string, from?: number): number {
    const byte = typeof value === "string" ? value.charCodeAt(0) : value;
    return super.indexOf(byte, from);
  }

  readBigUInt64BE(at = 0): bigint {
    return this.#view.getBigUint64(at);
  }

  writeBigUInt64BE(value: bigint, at = 0): number {
    this.#view.setBigUint64(at, value);
    return at + 8;
  }

  get #view(): DataView {
    return new DataView(this.buffer, this.byteOffset, this.byteLength);
  }
}

/** Checks the tag, not the class: jsdom has two `ArrayBuffer` classes. */
function isArrayBuffer(source: unknown): source is ArrayBuffer {
  return Object.prototype.toString.call(source) === "[object ArrayBuffer]";
}

function toArray(source: ArrayLike<number> | Iterable<number>): Uint8Array {
  return Uint8Array.from(source as ArrayLike<number>);
}

function fromBinary(text: string): Buffer {
  const bytes = new Buffer(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  return bytes;
}

const STRIDE = 8_192; // the most arguments of one call

function toBinary(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += STRIDE) {
    text += String.fromCharCode(...bytes.subarray(at, at + STRIDE));
  }
  return text;
}

/** Characters that are not base64 are skipped, as in Node; the caller notices it by the length. */
function decodeBase64(text: string): string {
  try {
    return atob(text.replace(/[^A-Za-z0-9+/]/g, ""));
  } catch {
    return "";
  }
}
