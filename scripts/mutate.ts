/**
 * Makes small changes to the program (mutants), one at a time, and checks whether a
 * test fails. It prints each mutant that no test notices: the changed program is
 * equivalent, or the line promises nothing, or a test is missing.
 *
 *     npm run mutate -- --sample 20 --seed 1
 *     npm run mutate -- --files src/session/requests.ts,src/session/replies.ts
 *
 * `--files`: files or folders (default: all files of the parts below).
 * `--sample`: the number of mutants of each part, chosen at random (default: all).
 * `--seed`: the seed of the choice (default: 1).
 * `--near`: run only the tests with the shortest chain of imports to the changed
 *   file. They take minutes; all tests take hours.
 * `--timeout`: seconds after which a mutant counts as one that never ends
 *   (default: 600).
 * `--json`: the file of the result (default: mutants.json).
 *
 * Only code in the process of the tests is changed, not a server or kernel that a
 * test starts as a program. A run over everything takes many hours.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Mutant, mutantsOf } from "./mutate/mutants.ts";
import type { Answer, Request } from "./mutate/runner.ts";
import { testsOf } from "./mutate/tests.ts";

interface Part {
  readonly files: readonly string[];
  /** The folders of its tests. */
  readonly tests: readonly string[];
}

const parts: Readonly<Record<string, Part>> = {
  journal: {
    files: ["src/journal"],
    tests: ["test/journal", "test/jupyter", "test/session"],
  },
  session: { files: ["src/session"], tests: ["test/session", "test/server"] },
  server: {
    files: ["src/server/relay.ts", "src/server/socket.ts", "src/server/doors"],
    tests: ["test/server"],
  },
  zmq: { files: ["src/zmq"], tests: ["test/zmq", "test/kernel"] },
  client: { files: ["client"], tests: ["test/client", "test/testing"] },
};

/** Files that a script generates. */
const GENERATED = ["client/checks.ts", "client/version.ts"];
/** `unclear`: the test that failed also fails without the mutant. */
type Outcome = "killed" | "timeout" | "survived" | "unclear";

interface Result extends Omit<Mutant, "text"> {
  readonly part: string;
  readonly outcome: Outcome;
  /** The first test that failed. */
  readonly by: string | undefined;
}

const { values } = parseArgs({
  options: {
    files: { type: "string" },
    sample: { type: "string" },
    seed: { type: "string", default: "1" },
    near: { type: "boolean", default: false },
    timeout: { type: "string", default: "600" },
    json: { type: "string", default: "mutants.json" },
  },
});

let runner: ChildProcess | undefined;
process.once("exit", () => {
  if (runner !== undefined) end(runner);
});
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => process.exit(130));
}

const results: Result[] = [];
/** Whether a test passes without a mutant, if that is known. */
const green = new Map<string, boolean>();
const samples = Object.entries(parts).map(([name, part]) => ({
  name,
  mutants: sampleOf(part),
  tests: part.tests.flatMap((under) => filesUnder(under, ".test.ts")),
}));
const rounds = Math.max(...samples.map(({ mutants }) => mutants.length));
for (let nth = 0; nth < rounds; nth += 1) {
  // One mutant of each part at a time, so that an interrupted run has results of every part.
  for (const { name, mutants, tests } of samples) {
    const mutant = mutants[nth];
    if (mutant === undefined) continue;
    const result = { part: name, ...(await testMutant(mutant, tests)) };
    results.push(result);
    console.log(describe(result));
    writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
  }
}
report();
if (runner !== undefined) end(runner);

function sampleOf({ files }: Part): readonly Mutant[] {
  const selected = values.files?.split(",");
  const mutants = files
    .flatMap((under) => filesUnder(under, ".ts"))
    .filter((file) => !GENERATED.includes(file))
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

/** Runs the nearest tests first: they notice most mutants. */
async function testMutant(
  { text, ...mutant }: Mutant,
  tests: readonly string[],
): Promise<Omit<Result, "part">> {
  const { near, far } = testsOf(mutant.file, tests);
  for (const group of values.near ? [near] : [near, far]) {
    if (group.length === 0) continue;
    const { outcome, by } = await run(group, { file: mutant.file, text });
    if (outcome === "survived") continue;
    const file = tests.find((test) => by?.startsWith(test));
    const isClear = file === undefined || (await isGreen(file));
    return { ...mutant, outcome: isClear ? outcome : "unclear", by };
  }
  return { ...mutant, outcome: "survived", by: undefined };
}

/** Whether the test passes without a mutant. */
async function isGreen(test: string): Promise<boolean> {
  let known = green.get(test);
  if (known === undefined) {
    known = (await run([test])).outcome === "survived";
    green.set(test, known);
  }
  return known;
}

async function run(
  tests: readonly string[],
  mutant?: Request["mutant"],
): Promise<{ outcome: Outcome; by: string | undefined }> {
  runner ??= fork("scripts/mutate/runner.ts", {
    execArgv: ["--import", "tsx"],
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    detached: true, // its own process group, so that the processes of its tests end with it
  });
  const child = runner;
  child.send({ tests, mutant } satisfies Request);
  const over = new AbortController();
  const answered = once(child, "message", over) as Promise<[Answer]>;
  const gone = once(child, "exit", over).then(() => "gone" as const);
  const late = delay(Number(values.timeout) * 1_000, "late" as const, over);
  const all = [answered, gone, late];
  for (const each of all) each.catch(() => {}); // the waits that did not win are aborted
  const first = await Promise.race(all);
  over.abort();
  if (Array.isArray(first)) {
    const [{ isNoticed, by }] = first;
    return { outcome: isNoticed ? "killed" : "survived", by };
  }
  end(child);
  runner = undefined;
  if (first === "late") return { outcome: "timeout", by: undefined };
  return { outcome: "killed", by: "the end of the test process" };
}

/** Kills the runner with its process group. */
function end({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The processes have ended.
  }
}

function describe({ file, line, change, outcome, by }: Result): string {
  const how = by === undefined ? outcome : `${outcome} by ${by}`;
  return `${file}:${line}  ${change}\n    ${how}`;
}

function report(): void {
  const rows = [...Object.keys(parts), undefined].map((part) => {
    const all = results.filter(
      (one) =>
        one.outcome !== "unclear" && (part === undefined || one.part === part),
    );
    const alive = all.filter(({ outcome }) => outcome === "survived").length;
    return [part ?? "all", all.length - alive, all.length] as const;
  });
  console.log("\nNoticed:");
  for (const [part, noticed, all] of rows) {
    if (all === 0) continue;
    const percent = Math.round((100 * noticed) / all);
    console.log(`  ${part.padEnd(8)} ${noticed} of ${all} (${percent} %)`);
  }
  const alive = results.filter(({ outcome }) => outcome === "survived");
  if (alive.length > 0) console.log("\nNot noticed by any test:");
  for (const { file, line, change } of alive) {
    console.log(`  ${file}:${line}  ${change}`);
  }
}
