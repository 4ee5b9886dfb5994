/**
 * Is this UTF-8 text one JSON value? The walk over the bytes, in JavaScript.
 *
 * `assembly/json.ts` is the same walk in WebAssembly, several times as fast.
 * This one is for where WebAssembly cannot be had; both must say the same of
 * every text.
 */
import { runAtOnce } from "../time/request-scheduler.ts";
import { BadText, jsonText, type TextBounds } from "./json-text.ts";
import { bufferOf } from "./message.ts";

/** Arrays and objects that may be nested in each other. */
export const DEEPEST = 1_000;

/** `non_finite`: JSON, but for bare `NaN` and `Infinity`. */
export type WalkResult = "json" | "non_finite" | "not_json" | "too_deep";

export function walk(bytes: Uint8Array): WalkResult {
  return runAtOnce(walking(bytes));
}

/** The same, in steps, which are short where no single number or word in it is long. */
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
