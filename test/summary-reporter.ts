/** Lists at the end of a run what the default reporter does not: tests that passed only when they were repeated, and skipped tests, grouped by the requirement that this machine lacks. */
import type { Reporter, TestCase, TestModule, TestSuite } from "vitest/node";

export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    write("Passed only when they were repeated", [...repeatedIn(modules)]);
    write("Skipped", [...skippedIn(modules)]);
  }
}

function write(title: string, lines: readonly string[]): void {
  if (lines.length === 0) return;
  process.stdout.write(`\n${title}:\n${lines.join("\n")}\n`);
}

function* repeatedIn(modules: readonly TestModule[]): Generator<string> {
  for (const module of modules) {
    for (const test of module.children.allTests("passed")) {
      if (test.diagnostic()?.flaky !== true) continue;
      yield `    ${module.relativeModuleId}: ${test.fullName}`;
    }
  }
}

function* skippedIn(modules: readonly TestModule[]): Generator<string> {
  const reasons = new Map<string, TestCase[]>();
  for (const module of modules) {
    for (const test of module.children.allTests("skipped")) {
      const reason = reasonOf(test);
      if (reason === undefined) continue;
      const tests = reasons.get(reason) ?? [];
      reasons.set(reason, [...tests, test]);
    }
  }
  for (const [reason, tests] of reasons) {
    const files = new Set(tests.map((test) => test.module.relativeModuleId));
    const number = String(tests.length).padStart(5);
    yield `${number} need ${reason}: ${[...files].join(", ")}`;
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
