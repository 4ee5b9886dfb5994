/**
 * Changes the program in small ways, one at a time, and looks whether a test
 * fails. A change that no test notices is printed: it is equivalent, or it
 * promises nothing, or a test is missing.
 *
 *     npm run mutate -- --sample 20 --seed 1
 *     npm run mutate -- --files src/session/requests.ts,src/session/replies.ts
 *
 * `--files`: files or folders (default: all of the parts below). `--sample`:
 * mutants of each part, drawn at random (default: all). `--seed`: of the draw
 * (default: 1). `--near`: only the tests with the shortest way of imports to the
 * changed file, which take minutes where all take hours. `--timeout`: seconds
 * after which a mutant is taken for one that never ends (default: 600). `--json`:
 * where the result goes (default: mutants.json).
 *
 * Only what runs in the process of the tests is changed, not a server or kernel
 * that a test starts as a program. A run over everything takes many hours.
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
  /** Where its promises are tested. */
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

/** Written by a script. */
const GENERATED = ["client/checks.ts", "client/version.ts"];
/** `unclear`: the test that noticed it fails without it, too. */
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
/** Whether tests pass without a mutant, where that is known. */
const green = new Map<string, boolean>();
const samples = Object.entries(parts).map(([name, part]) => ({
  name,
  mutants: sampleOf(part),
  tests: part.tests.flatMap((under) => filesUnder(under, ".test.ts")),
}));
const most = Math.max(...samples.map(({ mutants }) => mutants.length));
for (let nth = 0; nth < most; nth += 1) {
  // The parts in turn: what is interrupted has something of each.
  for (const { name, mutants, tests } of samples) {
    const mutant = mutants[nth];
    if (mutant === undefined) continue;
    const result = { part: name, ...(await tried(mutant, tests)) };
    results.push(result);
    console.log(wordsOf(result));
    writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
  }
}
report();
if (runner !== undefined) end(runner);

function sampleOf({ files }: Part): readonly Mutant[] {
  const wanted = values.files?.split(",");
  const mutants = files
    .flatMap((under) => filesUnder(under, ".ts"))
    .filter((file) => !GENERATED.includes(file))
    .filter((file) => wanted?.some((under) => isUnder(file, under)) ?? true)
    .flatMap((file) => mutantsOf(file, readFileSync(file, "utf8")));
  if (values.sample === undefined) return mutants;
  const random = randomOf(Number(values.seed));
  return mutants
    .map((mutant) => ({ mutant, at: random() }))
    .toSorted((a, b) => a.at - b.at)
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

/** The nearest tests first: most mutants go no further. */
async function tried(
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
    detached: true, // a group of its own: what its tests started ends with it
  });
  const child = runner;
  child.send({ tests, mutant } satisfies Request);
  const over = new AbortController();
  const answered = once(child, "message", over) as Promise<[Answer]>;
  const gone = once(child, "exit", over).then(() => "gone" as const);
  const late = delay(Number(values.timeout) * 1_000, "late" as const, over);
  const all = [answered, gone, late];
  for (const each of all) each.catch(() => {}); // those that lose are aborted
  const first = await Promise.race(all);
  over.abort();
  if (Array.isArray(first)) {
    const [{ isNoticed, by }] = first;
    return { outcome: isNoticed ? "killed" : "survived", by };
  }
  end(child);
  runner = undefined;
  if (first === "late") return { outcome: "timeout", by: undefined };
  return { outcome: "killed", by: "the end of the process of the tests" };
}

/** With all that it started. */
function end({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // They are gone.
  }
}

function wordsOf({ file, line, change, outcome, by }: Result): string {
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
