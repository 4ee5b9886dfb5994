/**
 * A Jupyter message as ZeroMQ frames, and back.
 *
 *     identities…  <IDS|MSG>  signature  header  parent_header  metadata  content  buffers…
 *
 * The signature covers the received bytes of the four JSON frames: verify first,
 * parse afterwards, and never sign a new encoding.
 */
import {
  createHmac,
  createSecretKey,
  timingSafeEqual,
  type KeyObject,
} from "node:crypto";
import {
  admitted,
  admitting,
  type Repair,
  repair,
  FramesRefused,
} from "./admission.ts";
import {
  type Channel,
  EMPTY_OBJECT,
  type Header,
  headerIn,
  type Message,
  type RawFrames,
  sizeOf,
} from "./message.ts";
import { quickHmac } from "./quick-hmac.ts";

export const DELIMITER: Uint8Array = Buffer.from("<IDS|MSG>");

/** In the order in which they are signed. */
const SIGNED = ["header", "parent_header", "metadata", "content"] as const;
/** Bytes that are signed in one step. */
const STEP = 256 * 1024;

/** Signs and verifies with one kernel's key. An empty key turns signatures off, both ways. */
export class Signer {
  readonly #key: KeyObject | undefined;
  readonly #hash: string;
  readonly #quick: ReturnType<typeof quickHmac> | undefined;

  /** Throws a `RangeError` if `signature_scheme` is not `hmac-` and a digest that OpenSSL knows. */
  constructor(key: string, signature_scheme = "hmac-sha256") {
    this.#hash = digestOf(signature_scheme);
    this.#key =
      key === "" ? undefined : createSecretKey(Buffer.from(key, "utf8"));
    if (this.#key !== undefined) createHmac(this.#hash, this.#key); // an unknown digest fails here, not at the first message
    const { sha256Key } = this;
    this.#quick = sha256Key && quickHmac(sha256Key);
  }

  /** True if the key is empty: messages are not signed. */
  get isOff(): boolean {
    return this.#key === undefined;
  }

  /** The key if the digest is SHA-256. */
  get sha256Key(): Buffer | undefined {
    return this.#hash === "sha256" ? this.#key?.export() : undefined;
  }

  sign(raw: RawFrames): Uint8Array {
    return Buffer.from(this.#digest(raw), "latin1");
  }

  /** The same, in short steps. */
  *signing(raw: RawFrames): Generator<void, Uint8Array> {
    if (this.#key === undefined) return Buffer.alloc(0);
    const hmac = createHmac(this.#hash, this.#key);
    for (const frame of SIGNED.map((name) => raw[name])) {
      for (let at = 0; at < frame.length; at += STEP) {
        hmac.update(frame.subarray(at, at + STEP));
        yield;
      }
    }
    return Buffer.from(hmac.digest("hex"), "latin1");
  }

  /** An empty signature is valid only when the key is empty. */
  verifies(signature: Uint8Array, raw: RawFrames): boolean {
    return this.#key === undefined || isSame(signature, this.sign(raw));
  }

  /** The same, in short steps. */
  *verifying(signature: Uint8Array, raw: RawFrames): Generator<void, boolean> {
    if (this.#key === undefined) return true;
    return isSame(signature, yield* this.signing(raw));
  }

  #digest(raw: RawFrames): string {
    if (this.#key === undefined) return "";
    const pieces = SIGNED.map((name) => raw[name]);
    const quick = this.#quick?.(pieces);
    if (quick !== undefined) return quick;
    const hmac = createHmac(this.#hash, this.#key);
    for (const piece of pieces) hmac.update(piece);
    return hmac.digest("hex");
  }
}

/** In constant time. */
function isSame(signature: Uint8Array, expected: Uint8Array): boolean {
  return (
    signature.length === expected.length && timingSafeEqual(signature, expected)
  );
}

export function toFrames(
  { raw, buffers }: Pick<Message, "raw" | "buffers">,
  signer: Pick<Signer, "sign">,
  identities: readonly Uint8Array[] = [],
): Uint8Array[] {
  return [
    ...identities,
    DELIMITER,
    signer.sign(raw),
    raw.header,
    raw.parent_header,
    raw.metadata,
    raw.content,
    ...buffers,
  ];
}

export interface ReceivedMessage extends Message {
  /** The routing frames before the delimiter: the peers of a ROUTER, or the iopub topic. */
  readonly identities: readonly Uint8Array[];
}

/** Bytes of a header. */
const HEADER_LIMIT = 1024 * 1024;

/** Reads one peer's messages. Remembers the last parent: all messages of one execution share it. */
export class FrameReader {
  readonly #signer: Signer;
  readonly #onRepair: (what: Repair) => void;
  /** The received bytes, the repaired bytes, and the parsed header. */
  #lastParent: {
    readonly received: Uint8Array;
    readonly bytes: Uint8Array;
    readonly header: Header | undefined;
  } = { received: EMPTY_OBJECT, bytes: EMPTY_OBJECT, header: undefined };

  /** The last parent header as received, and its `msg_id`; `undefined` if there is none or it was repaired. */
  get lastParent():
    { readonly received: Uint8Array; readonly msg_id: string } | undefined {
    const { received, bytes, header } = this.#lastParent;
    if (header === undefined || bytes !== received) return undefined;
    return { received, msg_id: header.msg_id };
  }

  /** `onRepair` is called for each repair of a frame. */
  constructor(signer: Signer, onRepair: (what: Repair) => void = () => {}) {
    this.#signer = signer;
    this.#onRepair = onRepair;
  }

  /**
   * Throws `Refused` if the frames are not a message, are not signed with the key,
   * or cannot be admitted.
   */
  read(frames: readonly Uint8Array[], channel: Channel): ReceivedMessage {
    const parts = partsOf(frames);
    assertSigned(parts, this.#signer.verifies(parts.signature, parts.raw));
    return admitted(this.#withHeaders(parts, channel), this.#onRepair);
  }

  /** The same in short steps. The frames must not change meanwhile. */
  *reading(
    frames: readonly Uint8Array[],
    channel: Channel,
  ): Generator<void, ReceivedMessage> {
    const parts = partsOf(frames);
    const { signature, raw } = parts;
    assertSigned(parts, yield* this.#signer.verifying(signature, raw));
    return yield* admitting(this.#withHeaders(parts, channel), this.#onRepair);
  }

  #withHeaders(
    { identities, raw, buffers }: Parts,
    channel: Channel,
  ): ReceivedMessage {
    const { header, parent_header, metadata, content } = raw;
    const own = this.#headerIn(header);
    if (typeof own === "string")
      throw new FramesRefused(`a header that is ${own.replace("_", " ")}`);
    if (own.header === undefined) {
      throw new FramesRefused("a header without msg_id or msg_type");
    }
    const parent = this.#parentIn(parent_header);
    if (typeof parent === "string") {
      const { msg_type } = own.header;
      const size = sizeOf({ raw, buffers });
      throw new FramesRefused({
        channel,
        msg_type,
        parent: undefined,
        reason: parent,
        size,
      });
    }
    return {
      channel,
      identities,
      header: own.header,
      parent_header: parent.header,
      raw: {
        header: own.bytes,
        parent_header: parent.bytes,
        metadata,
        content,
      },
      buffers,
    };
  }

  #parentIn(received: Uint8Array) {
    if (received.length < 5) return { bytes: EMPTY_OBJECT, header: undefined }; // "{}", "null" or nothing
    if (Buffer.compare(received, this.#lastParent.received) === 0) {
      return this.#lastParent;
    }
    const copy = Uint8Array.from(received); // frames are views of a read buffer
    const parent = this.#headerIn(copy);
    if (typeof parent === "object") {
      this.#lastParent = { received: copy, ...parent };
    }
    return parent;
  }

  /** `header` is undefined if the JSON is not a header. A string is the reason why the bytes are not JSON. */
  #headerIn(
    bytes: Uint8Array,
  ):
    | { readonly bytes: Uint8Array; readonly header: Header | undefined }
    | HeaderFault {
    if (bytes.length > HEADER_LIMIT) return "too_large";
    const whole = repair(bytes, this.#onRepair);
    if (typeof whole === "string") return whole;
    return { bytes: whole, header: headerIn(whole) };
  }
}

/** The frames of a message by their meaning. */
interface Parts {
  readonly identities: readonly Uint8Array[];
  readonly signature: Uint8Array;
  readonly raw: RawFrames;
  readonly buffers: readonly Uint8Array[];
}

/** Throws `Refused` if there are too few frames. */
function partsOf(frames: readonly Uint8Array[]): Parts {
  const start = frames.findIndex(isDelimiter);
  if (start === -1) throw new FramesRefused("no delimiter");
  const [signature, header, parent_header, metadata, content, ...buffers] =
    frames.slice(start + 1);
  if (
    signature === undefined ||
    header === undefined ||
    parent_header === undefined ||
    metadata === undefined ||
    content === undefined
  ) {
    throw new FramesRefused(
      `${frames.length - start - 1} frames after the delimiter, of at least five`,
    );
  }
  const raw = { header, parent_header, metadata, content };
  return { identities: frames.slice(0, start), signature, raw, buffers };
}

/** Throws `Refused`. */
function assertSigned({ signature }: Parts, isSigned: boolean): void {
  if (isSigned) return;
  throw new FramesRefused(
    signature.length === 0 ? "not signed" : "signed with another key",
  );
}

type HeaderFault = "not_json" | "too_deep" | "too_large";

function isDelimiter(frame: Uint8Array): boolean {
  return (
    frame.length === DELIMITER.length && Buffer.compare(frame, DELIMITER) === 0
  );
}

/** OpenSSL's name of a digest, from Python's name. */
function digestOf(signature_scheme: string): string {
  const name = /^hmac-([a-z0-9_-]+)$/i.exec(signature_scheme)?.[1];
  if (name === undefined) {
    throw new RangeError(
      `Signature scheme ${signature_scheme} is not hmac-<digest>`,
    );
  }
  const python: Record<string, string> = {
    blake2b: "blake2b512",
    blake2s: "blake2s256",
  };
  return python[name] ?? name.replaceAll("_", "-");
}
