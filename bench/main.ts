/** `npm run bench -- [QUESTION…] [options]`: see README.md. */
import { Missing } from "./harness/kernel.ts";
import { optionsOf, usage } from "./harness/options.ts";
import { Bench, type Question, type Series } from "./harness/question.ts";
import { endAll } from "./harness/process.ts";
import { load, machine, measured, save, table } from "./harness/report.ts";

/** In the order in which they are asked. */
const names = [
  "relay",
  "rate",
  "readers",
  "to-kernel",
  "execution",
  "jupyter",
  "start-up",
  "sampling",
  "memory",
  "replay",
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
  throw new Error(`No question ${unknown.join(", ")}: ${names.join(", ")}`);
const asked = options.questions.length > 0 ? options.questions : names;
const passed: Record<string, string> = {};
const results: Series[] = [];
const began = { ...machine(), load: load() };
console.log(
  `${began.cpu}, ${began.cores} cores, ${began.os}, Node ${began.node}`,
);

for (const name of asked) {
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
    passed[name] = error instanceof Error ? error.message : String(error);
    console.log(`${isMissing ? "passed over" : "given up"}: ${passed[name]}`);
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
      passed,
      results,
    });
  }
}
