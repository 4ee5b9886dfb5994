/** Parses numbers of bytes as people write them: 67108864, 512K, 64M, 1G. */
import { InvalidArgumentError } from "commander";

const units = { "": 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 } as const;

/** A parser for an option of commander; accepts `least` or more. */
export function bytes(least: number) {
  return (text: string): number => {
    const [, number, unit = ""] = /^(\d+)([KMG]?)B?$/i.exec(text) ?? [];
    const value =
      Number(number) * units[unit.toUpperCase() as keyof typeof units];
    if (Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(
      `Use a number of bytes, such as 67108864, 512K, 64M or 1G; at least ${least}.`,
    );
  };
}
