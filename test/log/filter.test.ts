import { describe, expect, test } from "vitest";
import { filterAt, parseFilter } from "../../src/log/filter.ts";

const INFO = 30;
const DEBUG = 20;
const TRACE = 10;
const ERROR = 50;

function passes(text: string, weight: number, target: string): boolean {
  return parseFilter(text).filter?.passes(weight, target) ?? false;
}

describe("a filter", () => {
  test.each([
    ["info", INFO, "kcserver", true],
    ["info", DEBUG, "kcserver", false],
    ["INFO", INFO, "kcserver", true],
    ["off", ERROR, "kcserver", false],
    ["kcserver=debug", DEBUG, "kcserver::session", true],
    ["kcserver=debug", TRACE, "kcserver::session", false],
    ["kcserver", TRACE, "kcserver::server", true],
    ["kcserver=", TRACE, "kcserver::server", true],
    ["debug,kcserver::server=trace", TRACE, "kcserver::server", true],
    ["debug,kcserver::server=trace", TRACE, "kcserver::session", false],
    ["debug,kcserver::server=trace", DEBUG, "kcserver::session", true],
    ["trace,kcserver::session=off", ERROR, "kcserver::session", false],
    ["kcserver::server=trace", ERROR, "kcserver::session", false],
    ["hyper=trace", ERROR, "kcserver", false],
    ["kcserver::s=trace", TRACE, "kcserver::session", false],
    [" warn , kcserver = debug ", DEBUG, "kcserver", true],
    ["info/pattern", INFO, "kcserver", true],
  ])("%j lets %i of %s pass: %s", (text, weight, target, expected) => {
    expect(passes(text, weight, target)).toBe(expected);
  });

  test.each([
    ["verbose", ["verbose"]],
    ["kcserver=loud", ["kcserver=loud"]],
    ["a=b=c", ["a=b=c"]],
    ["=info", ["=info"]],
  ])("%j is not valid, and is reported", (text, faults) => {
    expect(parseFilter(text)).toEqual({ filter: undefined, faults });
  });

  test("valid parts apply, with any other parts beside them", () => {
    const { filter, faults } = parseFilter("nonsense!,debug");
    expect(faults).toEqual(["nonsense!"]);
    expect(filter?.passes(DEBUG, "kcserver")).toBe(true);
  });

  test.each(["trace", "debug", "info", "warn", "error"] as const)(
    "at %s reports this level",
    (word) => expect(filterAt(word).level).toBe(word),
  );
});
