/** The report: one line for each finished item, then the failed items, `same` and `mended` apart, then the count. */
import type { Mark } from "./item.ts";
import type { Outcome, Result } from "./runner.ts";

const WORD = { passed: "pass", failed: "FAIL", skipped: "skip" } as const;

export function line(result: Result): string {
  const { id, outcome, mark, claim, took_ms } = result;
  const head = `${WORD[outcome]}  ${id.padEnd(9)} ${mark.padEnd(6)} ${claim} (${took_ms} ms)`;
  return result.seen === "" ? head : `${head}\n${indented(result.seen)}`;
}

/** The failed items, grouped by mark, each with its source. */
export function summary(results: readonly Result[]): string {
  const headings: Record<Mark, string> = {
    same: "Failed, though Kallichore 0.1.64 does it:",
    mended:
      "Failed where Kallichore 0.1.64 is known to fail too (a successor must do better):",
  };
  const sections = (["same", "mended"] as const).flatMap((mark) => {
    const failed = results.filter(
      (result) => result.outcome === "failed" && result.mark === mark,
    );
    if (failed.length === 0) return [];
    const lines = failed.map(
      ({ id, claim, source, seen }) =>
        `  ${id.padEnd(9)} ${claim}\n            [${source}]\n${indented(seen)}`,
    );
    return ["", headings[mark], ...lines];
  });
  return [...sections, ""].join("\n");
}

export function closing(results: readonly Result[]): string {
  const count = (outcome: Outcome) =>
    results.filter((result) => result.outcome === outcome).length;
  return `${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`;
}

function indented(seen: string): string {
  return seen.replace(/^/gm, "            ");
}
