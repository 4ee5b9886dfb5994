/**
 * Records once which tests reach which mutants, and how long each test takes. The
 * record of a test file stays valid until the file, or a file that it imports,
 * changes. It is kept in `node_modules/.cache`.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { marked, type Mutant, mutantsOf } from "./mutants.ts";
import { importedBy } from "./imports.ts";
import { runTests } from "./worker.ts";

const CACHE = "node_modules/.cache/mutate.json";
const TIMEOUT_MS = 600_000;

/** What is known of a test file. */
export interface TestFile {
  readonly file: string;
  readonly digest: string;
  /** The tests that passed without a mutant. */
  readonly tests: readonly Test[];
  /** Whether every test passed or was skipped. */
  readonly isGreen: boolean;
}

export interface Test {
  readonly id: string;
  readonly name: string;
  readonly duration_ms: number;
  /** The indices of the mutants that it reaches, by file. */
  readonly reached: Readonly<Record<string, readonly number[]>>;
}

export async function recordReach(
  tests: readonly string[],
  files: readonly string[],
): Promise<readonly TestFile[]> {
  const known = readCache();
  const marks = marksOf(files);
  for (const [index, file] of tests.entries()) {
    const digest = digestOf(file);
    if (known.get(file)?.digest === digest) continue;
    process.stderr.write(
      `recording ${index + 1} of ${tests.length}: ${file}\n`,
    );
    known.set(file, await record(file, digest, marks));
    mkdirSync(dirname(CACHE), { recursive: true });
    writeFileSync(CACHE, JSON.stringify([...known.values()]));
  }
  return tests.flatMap((file) => known.get(file) ?? []);
}

function readCache(): Map<string, TestFile> {
  try {
    const list = JSON.parse(readFileSync(CACHE, "utf8")) as TestFile[];
    return new Map(list.map((one) => [one.file, one]));
  } catch {
    return new Map();
  }
}

function digestOf(test: string): string {
  const hash = createHash("sha256");
  const code = ["scripts/mutate/mutants.ts", "scripts/mutate/marks.ts"];
  for (const file of [...code, ...importedBy(test)]) {
    hash.update(file).update(readFileSync(file));
  }
  return hash.digest("hex");
}

interface Marks {
  readonly texts: Readonly<Record<string, string>>;
  /** The file and the index of each mark's mutant. */
  readonly mutants: readonly Mutant[];
}

function marksOf(files: readonly string[]): Marks {
  const texts: Record<string, string> = {};
  const mutants: Mutant[] = [];
  for (const file of files) {
    const source = readFileSync(file, "utf8");
    texts[file] = marked(file, source, mutants.length);
    mutants.push(...mutantsOf(file, source));
  }
  return { texts, mutants };
}

async function record(
  file: string,
  digest: string,
  { texts, mutants }: Marks,
): Promise<TestFile> {
  const answer = await runTests(
    { replaced: texts, tests: [{ file }], bail: false },
    TIMEOUT_MS,
  );
  if (typeof answer === "string") {
    process.stderr.write(`  not recorded: ${answer}\n`);
    return { file, digest, tests: [], isGreen: false };
  }
  const failed = answer.tests.filter(({ state }) => state === "failed");
  for (const { name } of failed) process.stderr.write(`  fails: ${name}\n`);
  for (const { why } of answer.failures) process.stderr.write(`  ${why}\n`);
  const tests = answer.tests
    .filter(({ state }) => state === "passed")
    .map(({ id, name, duration_ms, reached }) => ({
      id,
      name,
      duration_ms,
      reached: byFile([...new Set([...answer.reached, ...reached])], mutants),
    }));
  const isGreen = failed.length === 0 && answer.failures.length === 0;
  return { file, digest, tests, isGreen };
}

function byFile(
  reached: readonly number[],
  mutants: readonly Mutant[],
): Record<string, number[]> {
  const files: Record<string, number[]> = {};
  for (const mark of reached) {
    const mutant = mutants[mark];
    if (mutant !== undefined) (files[mutant.file] ??= []).push(mutant.index);
  }
  return files;
}
