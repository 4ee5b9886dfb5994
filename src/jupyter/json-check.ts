/**
 * Checks whether bytes are exactly one JSON value in UTF-8. The walk over them is
 * WebAssembly if that is available, else JavaScript.
 *
 * The WebAssembly has a small memory that never grows. A text is copied into it
 * piece by piece, and the piece stays in the processor's cache.
 */
import { isUtf8 } from "node:buffer";
import { type WalkResult, walk, walking } from "./json-walk.ts";
import { WASM } from "./json-wasm.ts";
import { lastBoundary } from "./utf8.ts";
import { instantiate, type WithMemory } from "./wasm.ts";

/** `non_finite`: JSON except for bare `NaN` and `Infinity`. */
export type JsonCheck = WalkResult | "not_utf8";
type Walk = (bytes: Uint8Array) => WalkResult;

/** The exports of the WebAssembly. */
interface Walker extends WithMemory {
  input(): number;
  capacity(): number;
  /** Bytes of the last piece that it keeps at the beginning of `input()`. */
  rest(): number;
  begin(): void;
  walk(length: number, isLast: number): number;
}

/** The results of `walk` by number; 0: more bytes are needed. */
const WALK_RESULTS = [
  undefined,
  "json",
  "non_finite",
  "not_json",
  "too_deep",
] as const satisfies readonly (WalkResult | undefined)[];

let fastest: Walk | undefined;

/** Bytes whose UTF-8 is checked in one step. */
const STEP = 256 * 1024;

/** Checks any bytes. Never throws. */
export function checkJson(bytes: Uint8Array, by?: Walk): JsonCheck {
  if (!isUtf8(bytes)) return "not_utf8";
  return (by ?? (fastest ??= inWebAssembly() ?? walk))(bytes);
}

/** The same, in short steps. */
export function* checkingJson(bytes: Uint8Array): Generator<void, JsonCheck> {
  if (!(yield* checkingUtf8(bytes))) return "not_utf8";
  const step = spare.pop() ?? wasmWalkStep();
  if (step === undefined) return yield* walking(bytes);
  try {
    for (let found: StepResult = 0; ;) {
      found = step(bytes, found);
      if (typeof found === "string") return found;
      yield;
    }
  } finally {
    spare.push(step);
  }
}

/** Unused engines. An engine keeps its position in a text, so each text that is being checked needs its own. */
const spare: WalkStep[] = [];

function* checkingUtf8(bytes: Uint8Array): Generator<void, boolean> {
  for (let at = 0; at < bytes.length;) {
    const step = bytes.subarray(at, at + STEP);
    const isLast = at + step.length === bytes.length;
    const end = isLast ? step.length : lastBoundary(step);
    if (!isUtf8(step.subarray(0, end))) return false;
    at += end;
    yield;
  }
  return true;
}

/** `undefined` if WebAssembly with SIMD, or memory for it, is not available. */
export function inWebAssembly(): Walk | undefined {
  const step = wasmWalkStep();
  if (step === undefined) return undefined;
  return (bytes) => {
    for (let found: StepResult = 0; ;) {
      found = step(bytes, found);
      if (typeof found === "string") return found;
    }
  };
}

/** Continues the walk at offset `from`. Returns the offset where it stops, or the result. */
type WalkStep = (bytes: Uint8Array, from: number) => StepResult;
type StepResult = number | WalkResult;

function wasmWalkStep(): WalkStep | undefined {
  let walker: Walker;
  try {
    walker = instantiate(WASM) as Walker;
  } catch {
    return undefined;
  }
  const capacity = walker.capacity();
  const input = new Uint8Array(walker.memory.buffer, walker.input(), capacity);
  return (bytes, from) => {
    if (from === 0) walker.begin();
    const kept = walker.rest();
    const to = Math.min(bytes.length, from + capacity - kept);
    const isWhole = from === 0 && to === bytes.length;
    input.set(isWhole ? bytes : bytes.subarray(from, to), kept);
    const length = kept + to - from;
    return WALK_RESULTS[walker.walk(length, to === bytes.length ? 1 : 0)] ?? to;
  };
}
