/**
 * The checks of an item. A refuted claim is an error whose message has the
 * expected and the actual value. An item that cannot be tried here names the
 * reason. Answers are `unknown` and read by path.
 */
import { isDeepStrictEqual } from "node:util";

export class Refuted extends Error {}

export class Skipped extends Error {}

export function refute(what: string): never {
  throw new Refuted(what);
}

export function skip(why: string): never {
  throw new Skipped(why);
}

export function holds(claim: boolean, otherwise: string): asserts claim {
  if (!claim) refute(otherwise);
}

export function equal(seen: unknown, wanted: unknown, what: string): void {
  if (isDeepStrictEqual(seen, wanted)) return;
  refute(`${what}: wanted ${shown(wanted)}, saw ${shown(seen)}`);
}

/** The value at a path inside a JSON value; undefined if there is none. */
export function at(value: unknown, ...path: (string | number)[]): unknown {
  let here = value;
  for (const step of path) {
    if (typeof here !== "object" || here === null) return undefined;
    here = (here as Record<string | number, unknown>)[step];
  }
  return here;
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

export function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

export function keys(value: unknown): readonly string[] {
  return typeof value === "object" && value !== null ? Object.keys(value) : [];
}

export function shown(value: unknown): string {
  const whole = value === undefined ? "nothing" : JSON.stringify(value);
  return whole.length > 300 ? `${whole.slice(0, 300)}…` : whole;
}
