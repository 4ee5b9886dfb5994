import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { expectedVersion } from "../../../src/command/kcserver/expected-version.ts";
import { temporaryFolder } from "../../harness.ts";

/** The directories of Positron's extension, with this `package.json`; returns the server's path there. */
function positronWith(text: string): string {
  const extension = temporaryFolder();
  const folder = join(extension, "resources", "kallichore");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(extension, "package.json"), text);
  return join(folder, "kcserver");
}

function manifest(name: string, kallichore: unknown): string {
  const positron = { binaryDependencies: { kallichore } };
  return JSON.stringify({ name, version: "1.0.0", positron });
}

test("the surrounding Positron determines the expected version of Kallichore", () => {
  const path = positronWith(manifest("positron-supervisor", "0.1.68"));
  expect(expectedVersion(path)).toBe("0.1.68");
});

test.each([
  ["of another package", manifest("something-else", "0.1.68")],
  ["without a version", manifest("positron-supervisor", undefined)],
  ["with a list for a version", manifest("positron-supervisor", ["0.1.68"])],
  ["with a range", manifest("positron-supervisor", "^0.1.68")],
  ["with a line break", manifest("positron-supervisor", "0.1.68\nx: y")],
  ["without Positron's part", '{"name":"positron-supervisor"}'],
  ["that is not JSON", "{"],
  ["that is null", "null"],
])("a package.json %s gives no expected version", (_, text) => {
  expect(expectedVersion(positronWith(text))).toBeUndefined();
});

test("without a package.json, no version is expected", () => {
  expect(expectedVersion(join(temporaryFolder(), "kcserver"))).toBeUndefined();
  expect(expectedVersion("kcserver")).toBeUndefined();
});
