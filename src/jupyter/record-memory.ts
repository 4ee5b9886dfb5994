/**
 * A pool of memory for slabs, and for what is encoded from them. New memory costs
 * page faults, which take as long as the copy into it.
 */

/** Memory that is not used for anything else until `unpin` was called as often as `pin`. */
export interface PinnedMemory {
  pin(): void;
  unpin(): void;
}

/** Smaller memory is not pooled. */
const LEAST = 64 * 1024; // bytes
/** The most bytes in the pool. */
const LIMIT = 16 * 1024 * 1024;
/** Sizes are rounded up to steps of this part of their power of two, so that memory fits other requests. */
const STEPS = 8;

/** Last in, first out: the last released memory may still be in the processor's cache. */
const spare: Buffer[] = [];
let bytes = 0;

/** At least `size` bytes with any content. Throws a `RangeError` if no such memory is available. */
export function takeMemory(size: number): Buffer {
  if (size < LEAST) return Buffer.allocUnsafeSlow(size);
  const step = 2 ** Math.floor(Math.log2(size)) / STEPS;
  const rounded = Math.ceil(size / step) * step;
  const at = spare.findLastIndex(({ length }) => length === rounded);
  const [found] = at === -1 ? [] : spare.splice(at, 1);
  if (found === undefined) return Buffer.allocUnsafeSlow(rounded);
  bytes -= rounded;
  return found;
}

export function releaseMemory(memory: ArrayBufferLike): void {
  if (memory.byteLength < LEAST || memory.byteLength > LIMIT) return;
  spare.push(Buffer.from(memory));
  bytes += memory.byteLength;
  while (bytes > LIMIT) bytes -= spare.shift()?.length ?? bytes;
}
