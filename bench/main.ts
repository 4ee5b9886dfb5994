/** `npm run bench -- [QUESTION…] [options]`: see README.md. */
import { Missing } from "./harness/kernel.ts";
import { optionsOf, usage } from "./harness/options.ts";
import { Bench, type Question, type Series } from "./harness/question.ts";
import { endAll } from "./harness/process.ts";
import { load, machine, measured, save, table } from "./harness/report.ts";

/** The questions in the order in which they run. */
const names = [
  "relay",
  "keeping",
  "rate",
  "readers",
  "to-kernel",
  "execution",
  "jupyter",
  "start-up",
  "sampling",
  "memory",
  "replay",
  "restoring",
  "replacing",
  "stall",
  "unread",
  "client",
  "size",
  "transport",
  "json-check",
];

if (process.platform !== "linux")
  throw new Error("The benches read processor time from /proc: Linux only");
if (process.argv.includes("--help")) {
  console.log(`${usage}\n\nQuestions: ${names.join(", ")}`);
  process.exit();
}
for (const [signal, number] of [
  ["SIGINT", 2],
  ["SIGTERM", 15],
] as const) {
  process.once(signal, () => {
    void endAll().finally(() => process.exit(128 + number));
  });
}
const options = optionsOf(process.argv.slice(2));
const unknown = options.questions.filter((name) => !names.includes(name));
if (unknown.length > 0)
  throw new Error(
    `Unknown question ${unknown.join(", ")}; the questions are ${names.join(", ")}`,
  );
const selected = options.questions.length > 0 ? options.questions : names;
const skipped: Record<string, string> = {};
const results: Series[] = [];
const began = { ...machine(), load: load() };
console.log(
  `${began.cpu}, ${began.cores} cores, ${began.os}, Node ${began.node}`,
);

for (const name of selected) {
  const file = new URL(`questions/${name}.ts`, import.meta.url).href;
  const { question } = (await import(file)) as { question: Question };
  console.log(`\n# ${name}: ${question.asks}`);
  const bench = new Bench(name, options, (series) => {
    console.log(`\n${series[0]?.case ?? ""} (load ${load()})`);
    console.log(table(series));
  });
  try {
    await question.run(bench);
  } catch (error) {
    const isMissing = error instanceof Missing;
    skipped[name] = error instanceof Error ? error.message : String(error);
    console.log(`${isMissing ? "skipped" : "failed"}: ${skipped[name]}`);
    if (!isMissing) {
      console.error(error);
      process.exitCode = 1;
    }
  }
  results.push(...bench.results);
  if (options.json !== undefined) {
    save(options.json, {
      machine: { ...began, load_after: load() },
      measured: measured(options),
      rounds: options.rounds,
      skipped,
      results,
    });
  }
}
