/** The parts of the generated checks, which tell whether a received value has its type. */
import { isRecord } from "./frames.ts";

export type Check = (value: unknown) => boolean;

/** Any value that is present. */
export const anything: Check = (value) => value !== undefined;
export const string: Check = (value) => typeof value === "string";
export const boolean: Check = (value) => typeof value === "boolean";
export const int: Check = (value) => Number.isSafeInteger(value);

export function within(least: number, most: number): Check {
  return (value) =>
    int(value) && least <= (value as number) && (value as number) <= most;
}

export function oneOf(...values: readonly unknown[]): Check {
  return (value) => values.includes(value);
}

export function nullable(check: Check): Check {
  return (value) => value === null || check(value);
}

export function optional(check: Check): Check {
  return (value) => value === undefined || check(value);
}

export function list(check: Check): Check {
  return (value) => Array.isArray(value) && value.every(check);
}

export function map(check: Check): Check {
  return (value) => isRecord(value) && Object.values(value).every(check);
}

/** Checks the known members. A newer server may send others. */
export function members(checks: Readonly<Record<string, Check>>): Check {
  const all = Object.entries(checks);
  return (value) =>
    isRecord(value) && all.every(([name, check]) => check(value[name]));
}
