/** Which tests may notice a change to a file: those that import it, the nearest first. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const IMPORT = /\b(?:from|import)\s*\(?\s*"(\.[^"]+)"/g;
const known = new Map<string, readonly string[]>();

/**
 * The tests from which imports lead to `file`, in two groups: those with the
 * shortest way, or one import more; and the others.
 */
export function testsOf(
  file: string,
  tests: readonly string[],
): { readonly near: readonly string[]; readonly far: readonly string[] } {
  const distances = tests.map((test) => ({ test, far: distance(test, file) }));
  const shortest = Math.min(...distances.map(({ far }) => far));
  const reaching = distances.filter(({ far }) => far < Infinity);
  const isNear = ({ far }: { far: number }) => far <= shortest + 1;
  const names = (some: typeof reaching) => some.map(({ test }) => test);
  return {
    near: names(reaching.filter(isNear)),
    far: names(reaching.filter((one) => !isNear(one))),
  };
}

/** How many imports lead from one file to the other; Infinity where none do. */
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
