/** The imports between the files of the project. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const IMPORT = /\b(?:from|import)\s*\(?\s*"(\.[^"]+)"/g;
const known = new Map<string, readonly string[]>();

/** The file, and all files that it imports, directly or not. */
export function importedBy(file: string): readonly string[] {
  return [...layersFrom(file)].flat();
}

/** The number of imports from one file to the other; Infinity if no chain of imports reaches it. */
export function distance(from: string, to: string): number {
  let steps = 0;
  for (const layer of layersFrom(from)) {
    if (layer.includes(to)) return steps;
    steps += 1;
  }
  return Infinity;
}

/** The file; then the files that it imports; then the files that these import; and so on. */
function* layersFrom(file: string): Generator<readonly string[]> {
  const seen = new Set([file]);
  let layer = [file];
  while (layer.length > 0) {
    yield layer;
    layer = layer.flatMap(importsOf).filter((path) => {
      const isNew = !seen.has(path);
      seen.add(path);
      return isNew;
    });
  }
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
