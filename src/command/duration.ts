/** Parses times as people write them: 90s, 30m, 8h, 7d. */
import { InvalidArgumentError } from "commander";

const UNITS = { s: 1, m: 60, h: 3_600, d: 86_400 } as const;

/** A parser for an option of commander, which gives seconds; a number without a unit is seconds. Accepts `least` or more, and at most so many days. */
export function duration(least: number, days: number) {
  return (text: string): number => {
    const [, number, unit = "s"] =
      /^(\d+(?:\.\d+)?)([smhd])?$/.exec(text) ?? [];
    const seconds = Number(number) * UNITS[unit as keyof typeof UNITS];
    if (seconds >= least && seconds <= days * UNITS.d) return seconds;
    throw new InvalidArgumentError(
      `Use a number with s, m, h or d, such as 90s, 30m or 8h; at most ${days}d.`,
    );
  };
}
