/** Suggestions for names that people mistype. */
import { describe, expect, test } from "vitest";
import { closest } from "../../src/command/names.ts";
import { exits } from "../../src/command/exit.ts";
import { size, span } from "../../src/command/table.ts";
import { readFileSync } from "node:fs";

describe("the closest name", () => {
  const names = ["python3", "python-wasm", "ir"];
  test.each([
    ["pyhton3", "python3"],
    ["Python", "python3"],
    ["ri", "ir"],
    ["pythonwasm", "python-wasm"],
    ["julia", undefined],
    ["", undefined],
  ])("to %s is %s", (name, expected) => {
    expect(closest(name, names)).toBe(expected);
  });
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [4_200, "4.2 kB"],
  [120_000_000, "120 MB"],
])("%d bytes are %s", (bytes, expected) => {
  expect(size(bytes)).toBe(expected);
});

test.each([
  [-5, "0 s"],
  [59_400, "59 s"],
  [3_599_000, "59 min"],
  [86_400_000, "1 d"],
])("%d ms are %s", (ms, expected) => {
  expect(span(ms)).toBe(expected);
});

test("the manual lists every exit code, and no other", () => {
  const path = new URL("../../docs/command.md", import.meta.url);
  const manual = readFileSync(path, "utf8").split("## Exit codes")[1] ?? "";
  const codes = [...manual.matchAll(/^\| (\d+) /gm)].map(([, code]) =>
    Number(code),
  );
  expect(codes).toEqual(Object.values(exits).map(([code]) => code));
});
