/**
 * Is this one JSON value, in UTF-8? The walk over it is WebAssembly where that
 * can be had, else JavaScript.
 *
 * The WebAssembly has a small memory that never grows: a text is copied into it
 * piece by piece, and stays in the processor's cache.
 */
import { isUtf8 } from "node:buffer";
import { type Verdict as Walked, walk } from "./json-walk.ts";
import { WASM } from "./json-wasm.ts";
import { instantiated, type WithMemory } from "./wasm.ts";

/** `non_finite`: JSON, but for bare `NaN` and `Infinity`. */
export type Verdict = Walked | "not_utf8";
type Walk = (bytes: Uint8Array) => Walked;

/** How a walk that keeps its own memory is fed. */
interface Walker extends WithMemory {
  input(): number;
  capacity(): number;
  /** Bytes of the last piece that it has kept before `input()`'s free part. */
  rest(): number;
  begin(): void;
  walk(length: number, isLast: number): number;
}

/** What `walk` returns, by number; 0 asks for more. */
const VERDICTS = [
  undefined,
  "json",
  "non_finite",
  "not_json",
  "too_deep",
] as const satisfies readonly (Walked | undefined)[];

let fastest: Walk | undefined;

/** What the bytes are. Never throws, whatever and however many they are. */
export function verdictOn(bytes: Uint8Array, by?: Walk): Verdict {
  if (!isUtf8(bytes)) return "not_utf8";
  return (by ?? (fastest ??= inWebAssembly() ?? walk))(bytes);
}

/** `undefined` where there is no WebAssembly with SIMD, or no memory for it. */
export function inWebAssembly(): Walk | undefined {
  let walker: Walker;
  try {
    walker = instantiated(WASM) as Walker;
  } catch {
    return undefined;
  }
  const capacity = walker.capacity();
  const input = new Uint8Array(walker.memory.buffer, walker.input(), capacity);
  return (bytes) => {
    walker.begin();
    let from = 0;
    for (;;) {
      const kept = walker.rest();
      const to = Math.min(bytes.length, from + capacity - kept);
      const isWhole = from === 0 && to === bytes.length;
      input.set(isWhole ? bytes : bytes.subarray(from, to), kept);
      const length = kept + to - from;
      const verdict =
        VERDICTS[walker.walk(length, to === bytes.length ? 1 : 0)];
      if (verdict !== undefined) return verdict;
      from = to;
    }
  };
}
