/**
 * Memory of slabs that nobody needs any more, for the next ones: memory that is
 * fresh costs page faults, as much as the copying into it.
 */

/** Smaller pieces are not worth it. */
const LEAST = 64 * 1024; // bytes
/** Most bytes that are kept. */
const LIMIT = 16 * 1024 * 1024;
/** Large pieces are made in steps of this part of their size, so that they fit others. */
const STEPS = 8;

/** The last given is the first taken: it may still be in the processor's cache. */
const spare: Buffer[] = [];
let bytes = 0;

/** At least so many bytes, of whatever content. Throws a `RangeError` where there is no such memory. */
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
