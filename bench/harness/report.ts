/** Prints figures as a table and writes them as JSON, with facts about the machine. */
import { writeFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { join } from "node:path";
import { readFileSync } from "node:fs";
import type { Options } from "./options.ts";
import type { Series } from "./question.ts";

/** The first candidate has the ratio 1. */
export function table(series: readonly Series[]): string {
  const head = ["ratio", "median", "least … most", "figure", "candidate"];
  const rows = series.map((each) => [
    each.ratio.toFixed(2),
    short(each.median),
    `${short(each.least)} … ${short(each.most)}`,
    each.figure,
    each.candidate,
  ]);
  const widths = head.map((title, column) =>
    Math.max(
      ...[head, ...rows].map((row) => row[column]?.length ?? 0),
      title.length,
    ),
  );
  return [head, ...rows]
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return column < 3 ? cell.padStart(width) : cell.padEnd(width);
        })
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function short(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return value.toPrecision(3).replace(/\.0+$/, "");
}

export function machine() {
  const [cpu] = cpus();
  return {
    date: new Date().toISOString().slice(0, 16),
    cpu: cpu?.model ?? "unknown",
    cores: cpus().length,
    memory_gb: Math.round(totalmem() / 1e9),
    os: `${process.platform} ${release()}`,
    node: process.version,
  };
}

/** The load averages of the machine, over 1, 5 and 15 minutes. */
export function load(): string {
  return loadavg()
    .map((each) => each.toFixed(2))
    .join(" ");
}

/** The measured servers with their versions, without paths. */
export function measured({ ours, kcserver, jupyter }: Options) {
  return {
    ours: ours.map(({ name, folder }) => ({
      name,
      version: versionIn(folder),
    })),
    kcserver: kcserver !== undefined,
    jupyter: jupyter !== undefined,
  };
}

function versionIn(folder: string): string {
  const text = readFileSync(join(folder, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

export function save(file: string, what: unknown): void {
  writeFileSync(file, `${JSON.stringify(what, null, 1)}\n`);
}
