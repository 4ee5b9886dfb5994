/** Lists at the end of a run the skipped tests, grouped by the requirement that this machine lacks. */
import type { Reporter, TestCase, TestModule, TestSuite } from "vitest/node";

export default class SkippedReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const reasons = new Map<string, TestCase[]>();
    for (const module of modules) {
      for (const test of module.children.allTests("skipped")) {
        const reason = reasonOf(test);
        if (reason === undefined) continue;
        const tests = reasons.get(reason) ?? [];
        reasons.set(reason, [...tests, test]);
      }
    }
    if (reasons.size === 0) return;
    const lines = [...reasons].map(([reason, tests]) => {
      const files = new Set(tests.map((test) => test.module.relativeModuleId));
      const number = String(tests.length).padStart(5);
      return `${number} need ${reason}: ${[...files].join(", ")}`;
    });
    process.stdout.write(`\nSkipped:\n${lines.join("\n")}\n`);
  }
}

/** `undefined` for a test that `-t` or `.only` excludes. */
function reasonOf(test: TestCase): string | undefined {
  for (
    let task: TestCase | TestSuite | TestModule = test;
    task.type !== "module";
    task = task.parent
  ) {
    const { mode } = task.options;
    const { needs } = task.meta();
    if (mode === "skip" && needs !== undefined) return needs;
  }
  return undefined;
}
