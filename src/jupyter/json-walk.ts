/**
 * Checks in JavaScript whether a UTF-8 text is exactly one JSON value.
 *
 * `assembly/json.ts` is the same walk in WebAssembly, several times as fast. This
 * walk is used if WebAssembly is not available. Both must return the same result
 * for every text.
 */
import { runAtOnce } from "../time/request-scheduler.ts";
import { BadText, jsonText, type TextBounds } from "./json-text.ts";
import { bufferOf } from "./message.ts";

/** The most levels of nested arrays and objects. */
export const DEEPEST = 1_000;

/** `non_finite`: JSON except for bare `NaN` and `Infinity`. */
export type WalkResult = "json" | "non_finite" | "not_json" | "too_deep";

export function walk(bytes: Uint8Array): WalkResult {
  return runAtOnce(walking(bytes));
}

/** The same in steps. A step is short unless a single number in the text is long. */
export function* walking(bytes: Uint8Array): Generator<void, WalkResult> {
  try {
    const { isFinite } = yield* jsonText(bufferOf(bytes), FRAME);
    return isFinite ? "json" : "non_finite";
  } catch (error) {
    if (!(error instanceof BadText)) throw error;
    return error.reason === "too_deep" ? "too_deep" : "not_json";
  }
}

const FRAME: TextBounds = {
  depth: DEEPEST,
  digits: Infinity,
  takesNonFinite: true,
};
