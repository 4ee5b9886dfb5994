/**
 * Makes small changes to the program (mutants), one at a time, and checks whether a
 * test fails. It prints each mutant that no test notices: the changed program is
 * equivalent, or the line promises nothing, or a test is missing.
 *
 *     npm run mutate -- --sample 20 --seed 1 --near
 *     npm run mutate -- --files src/session/requests.ts,src/session/replies.ts
 *
 * `--files`: files or folders (default: all files of the parts below).
 * `--sample`: the number of mutants of each part, chosen at random (default: all).
 * `--seed`: the seed of the choice (default: 1).
 * `--near`: run at most a minute of tests for each mutant, the nearest first. A
 *   mutant that survives them can be noticed only by tests farther away.
 * `--json`: the file of the result (default: mutants.json).
 *
 * A first run records which tests reach which mutants (about 16 minutes; later
 * runs record only what has changed). Then each mutant meets only the tests that
 * reach it. A test that also fails without the mutant is not counted.
 *
 * Only code in the process of the tests is changed, not a server or kernel that a
 * test starts as a program.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { distance } from "./mutate/imports.ts";
import { type Mutant, mutantsOf, mutated } from "./mutate/mutants.ts";
import { recordReach, type Test, type TestFile } from "./mutate/reach.ts";
import { endRunner, runTests } from "./mutate/worker.ts";

/** The files of each part. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  journal: ["src/journal"],
  session: ["src/session"],
  relay: ["src/server/relay.ts", "src/server/socket.ts", "src/server/doors"],
  zmq: ["src/zmq"],
  client: ["client"],
};

/** The tests that run the program in their own process. */
const TESTS = [
  ...["journal", "jupyter", "outputs", "session", "supervisor"],
  ...["server", "zmq", "kernel", "client", "testing"],
].map((folder) => `test/${folder}`);

/** Files that a script generates. */
const GENERATED = ["client/checks.ts", "client/version.ts"];

/** With `--near`: the time of the tests that run for each mutant. */
const NEAR_MS = 60_000;
/** The time to load a test file. */
const LOAD_MS = 2_000;
/** A run that takes this much longer than recorded, and `FACTOR` times as long, never ends. */
const SLACK_MS = 20_000;
const FACTOR = 4;

/** `unreached`: no test runs the line. `unclear`: the test that failed also fails without the mutant. */
type Outcome = "killed" | "timeout" | "survived" | "unreached" | "unclear";

interface Result extends Pick<Mutant, "file" | "line" | "change"> {
  readonly part: string;
  readonly outcome: Outcome;
  /** The first test that failed. */
  readonly by: string | undefined;
  readonly seconds: number;
}

/** Tests of one file. */
interface Group {
  readonly file: string;
  readonly tests: readonly Test[];
  readonly duration_ms: number;
}

const { values } = parseArgs({
  options: {
    files: { type: "string" },
    sample: { type: "string" },
    seed: { type: "string", default: "1" },
    near: { type: "boolean", default: false },
    json: { type: "string", default: "mutants.json" },
  },
});

const samples = Object.entries(PARTS).map(([part, folders]) => ({
  part,
  mutants: sampleOf(filesIn(folders)),
}));
const allFiles = filesIn(Object.values(PARTS).flat());
const sampled = samples.flatMap(({ mutants }) =>
  mutants.map(({ file }) => file),
);
const testFiles = await recordReach(
  TESTS.flatMap((folder) => filesUnder(folder, ".test.ts")).filter((test) =>
    sampled.some((file) => distance(test, file) < Infinity),
  ),
  allFiles,
);

const results: Result[] = [];
/** Whether a selection of tests passes without a mutant, if that is known. */
const green = new Map<string, boolean>();
const rounds = Math.max(...samples.map(({ mutants }) => mutants.length));
for (let nth = 0; nth < rounds; nth += 1) {
  // One mutant of each part at a time, so that an interrupted run has results of every part.
  for (const { part, mutants } of samples) {
    const mutant = mutants[nth];
    if (mutant === undefined) continue;
    const begin = performance.now();
    const { outcome, by } = await testMutant(mutant);
    const seconds = Math.round((performance.now() - begin) / 1_000);
    const { file, line, change } = mutant;
    const result = { part, file, line, change, outcome, by, seconds };
    results.push(result);
    console.log(describe(result));
    writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
  }
}
report();
endRunner();

function filesIn(folders: readonly string[]): readonly string[] {
  return folders
    .flatMap((folder) => filesUnder(folder, ".ts"))
    .filter((file) => !GENERATED.includes(file));
}

function sampleOf(files: readonly string[]): readonly Mutant[] {
  const selected = values.files?.split(",");
  const mutants = files
    .filter((file) => selected?.some((under) => isUnder(file, under)) ?? true)
    .flatMap((file) => mutantsOf(file, readFileSync(file, "utf8")));
  if (values.sample === undefined) return mutants;
  const random = randomOf(Number(values.seed));
  return mutants
    .map((mutant) => ({ mutant, order: random() }))
    .toSorted((a, b) => a.order - b.order)
    .slice(0, Number(values.sample))
    .map(({ mutant }) => mutant);
}

function filesUnder(path: string, ending: string): readonly string[] {
  if (path.endsWith(ending)) return [path];
  return readdirSync(path, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(ending))
    .map((file) => join(path, file))
    .toSorted();
}

function isUnder(file: string, path: string): boolean {
  return file === path || file.startsWith(`${path.replace(/\/$/, "")}/`);
}

/** The same numbers for the same seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function testMutant(
  mutant: Mutant,
): Promise<Pick<Result, "outcome" | "by">> {
  const groups = testsFor(mutant);
  if (groups.length === 0) return { outcome: "unreached", by: undefined };
  let isUnclear = false;
  for (const group of groups) {
    let { outcome, by } = await run(group, mutant);
    // A busy machine may need longer to load the tests, above all into a new process.
    if (outcome === "timeout") {
      ({ outcome, by } = await run(group, mutant, 2));
    }
    if (outcome === "survived") continue;
    if (await isGreen(group)) return { outcome, by };
    // Some of its tests need the tests before them: all of them run.
    const file = testFiles.find((one) => one.file === group.file);
    if (file?.isGreen !== true) {
      isUnclear = true;
      continue;
    }
    const again = await run(groupOf(file, file.tests), mutant);
    if (again.outcome !== "survived") return again;
  }
  return { outcome: isUnclear ? "unclear" : "survived", by: undefined };
}

/** The tests that reach the mutant. Those that come first are near and fast. */
function testsFor({ file, index }: Mutant): readonly Group[] {
  const reaching = groupsWhere(({ reached }) =>
    (reached[file] ?? []).includes(index),
  );
  // A constant that other files use is only loaded: take the tests that run something of its file.
  const groups =
    reaching.length > 0
      ? reaching
      : groupsWhere(({ reached }) => reached[file] !== undefined);
  const sorted = groups
    .map((group) => ({
      group,
      order: (LOAD_MS + group.duration_ms) * distance(group.file, file),
    }))
    .toSorted((a, b) => a.order - b.order)
    .map(({ group }) => group);
  return values.near ? within(NEAR_MS, sorted) : sorted;
}

/** The first groups that fit into the time; of the last one only its fastest tests. */
function within(limit_ms: number, groups: readonly Group[]): readonly Group[] {
  const fitting: Group[] = [];
  let left_ms = limit_ms;
  for (const { file, tests } of groups) {
    left_ms -= LOAD_MS;
    const some: Test[] = [];
    for (const test of tests.toSorted(byDuration)) {
      if (left_ms < test.duration_ms) break;
      left_ms -= test.duration_ms;
      some.push(test);
    }
    if (some.length > 0) fitting.push(groupOf({ file }, some));
  }
  return fitting;
}

function byDuration(a: Test, b: Test): number {
  return a.duration_ms - b.duration_ms;
}

function groupsWhere(fits: (test: Test) => boolean): readonly Group[] {
  return testFiles.flatMap((file) => {
    const tests = file.tests.filter(fits);
    return tests.length === 0 ? [] : [groupOf(file, tests)];
  });
}

function groupOf(
  { file }: Pick<TestFile, "file">,
  tests: readonly Test[],
): Group {
  const duration_ms = tests.reduce((sum, test) => sum + test.duration_ms, 0);
  return { file, tests, duration_ms };
}

/** Whether these tests pass without a mutant if the others of their file do not run. */
async function isGreen(group: Group): Promise<boolean> {
  const ids = group.tests.map(({ id }) => id);
  const key = JSON.stringify([group.file, ids]);
  let known = green.get(key);
  if (known === undefined) {
    known = (await run(group)).outcome === "survived";
    green.set(key, known);
  }
  return known;
}

async function run(
  { file, tests, duration_ms }: Group,
  mutant?: Mutant,
  times = 1,
): Promise<Pick<Result, "outcome" | "by">> {
  const replaced =
    mutant === undefined
      ? {}
      : { [mutant.file]: mutated(mutant, readFileSync(mutant.file, "utf8")) };
  const answer = await runTests(
    { replaced, tests: [{ file, ids: tests.map(({ id }) => id) }], bail: true },
    times * (SLACK_MS + FACTOR * duration_ms),
  );
  if (answer === "timeout") return { outcome: "timeout", by: file };
  if (answer === "ended") {
    return { outcome: "killed", by: `${file}: the test process ended` };
  }
  const test = answer.tests.find(({ state }) => state === "failed");
  const failure = answer.failures[0];
  if (test === undefined && failure === undefined) {
    return { outcome: "survived", by: undefined };
  }
  return { outcome: "killed", by: `${file}: ${test?.name ?? failure?.why}` };
}

function describe({
  file,
  line,
  change,
  outcome,
  by,
  seconds,
}: Result): string {
  const how = by === undefined ? outcome : `${outcome} by ${by}`;
  return `${file}:${line}  ${change}\n    ${how} (${seconds} s)`;
}

function report(): void {
  const isAlive = ({ outcome }: Result) =>
    outcome === "survived" || outcome === "unreached";
  const rows = [...Object.keys(PARTS), undefined].map((part) => {
    const all = results.filter(
      (one) =>
        one.outcome !== "unclear" && (part === undefined || one.part === part),
    );
    return [part ?? "all", all.filter(isAlive).length, all.length] as const;
  });
  console.log("\nNoticed:");
  for (const [part, alive, all] of rows) {
    if (all === 0) continue;
    const percent = Math.round((100 * (all - alive)) / all);
    console.log(`  ${part.padEnd(8)} ${all - alive} of ${all} (${percent} %)`);
  }
  const alive = results.filter(isAlive);
  if (alive.length > 0) console.log("\nNot noticed by any test:");
  for (const { file, line, change, outcome } of alive) {
    console.log(`  ${file}:${line}  ${change}  (${outcome})`);
  }
}
