/** Finds the tests that may notice a change to a file: the tests that import it, directly or not. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const IMPORT = /\b(?:from|import)\s*\(?\s*"(\.[^"]+)"/g;
const known = new Map<string, readonly string[]>();

/**
 * The tests whose imports reach `file`, in two groups. `near`: the tests with the
 * shortest chain of imports, or with one import more; `far`: all others.
 */
export function testsOf(
  file: string,
  tests: readonly string[],
): { readonly near: readonly string[]; readonly far: readonly string[] } {
  const distances = tests.map((test) => ({
    test,
    steps: distance(test, file),
  }));
  const shortest = Math.min(...distances.map(({ steps }) => steps));
  const reaching = distances.filter(({ steps }) => steps < Infinity);
  const isNear = ({ steps }: { steps: number }) => steps <= shortest + 1;
  const names = (some: typeof reaching) => some.map(({ test }) => test);
  return {
    near: names(reaching.filter(isNear)),
    far: names(reaching.filter((one) => !isNear(one))),
  };
}

/** The number of imports from one file to the other; Infinity if no chain of imports reaches it. */
function distance(from: string, to: string): number {
  const seen = new Set([from]);
  let layer = [from];
  for (let steps = 0; layer.length > 0; steps += 1) {
    if (layer.includes(to)) return steps;
    layer = layer.flatMap(importsOf).filter((file) => {
      const isNew = !seen.has(file);
      seen.add(file);
      return isNew;
    });
  }
  return Infinity;
}

function importsOf(file: string): readonly string[] {
  let imports = known.get(file);
  if (imports === undefined) {
    const text = file.endsWith(".ts") ? readFileSync(file, "utf8") : "";
    imports = [...text.matchAll(IMPORT)]
      .map(([, path = ""]) => join(dirname(file), path))
      .filter((path) => existsSync(path));
    known.set(file, imports);
  }
  return imports;
}
