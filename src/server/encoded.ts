/** Entries as a protocol encodes them. A range is encoded once for all readers at the same position. */
import {
  type PinnedMemory,
  releaseMemory,
  takeMemory,
} from "../jupyter/record-memory.ts";
import type { Entries } from "../journal/entries.ts";
import type { Slab } from "../journal/slab.ts";

/** Consecutive pieces, and the memory in which they lie. */
export interface Encoded {
  readonly pieces: readonly Buffer[];
  readonly memory: PinnedMemory;
}

/**
 * Encodes a range, unless it is the last that was encoded for this key in this
 * turn of the event loop. The caller pins the memory in the same turn.
 */
export function encodedOnce(
  key: unknown,
  { slab, from, to }: Entries,
  encode: () => Encoded,
): Encoded {
  const last = lastEncoded.get(key);
  if (last?.slab === slab && last.from === from && last.to === to) return last;
  const encoded = encode();
  if (lastEncoded.size === 0) setTimeout(forgetAll, 0);
  lastEncoded.set(key, { slab, from, to, ...encoded });
  encoded.memory.pin();
  last?.memory.unpin();
  return encoded;
}

const lastEncoded = new Map<
  unknown,
  Encoded & Pick<Entries, "slab" | "from" | "to">
>();

function forgetAll(): void {
  for (const { memory } of lastEncoded.values()) memory.unpin();
  lastEncoded.clear();
}

/** The memory of encoded entries. It is reused when no reader needs it. */
export class OutputMemory implements PinnedMemory {
  readonly bytes: Buffer;
  /** The pieces include views of this slab. */
  views: Slab | undefined;
  #pins = 0;

  constructor(length: number) {
    this.bytes =
      length < POOLED ? Buffer.allocUnsafe(length) : takeMemory(length);
  }

  pin(): void {
    this.#pins += 1;
    this.views?.pin();
  }

  unpin(): void {
    this.#pins -= 1;
    this.views?.unpin();
    if (this.#pins === 0 && this.bytes.length >= POOLED) {
      releaseMemory(this.bytes.buffer);
    }
  }
}

/** Smaller memory comes from Node's pool. */
const POOLED = 64 * 1024; // bytes
