/**
 * A setup file of the tests. It writes into each test's `meta.reached` which marks
 * (`marked` in mutants.ts) the test reaches. The module `meta` has those that the
 * hooks before its first test reach. Marks that only the loading of modules reaches
 * count for no test.
 */
import { beforeAll, beforeEach, type RunnerTestCase } from "vitest";

declare module "vitest" {
  interface TaskMeta {
    reached?: readonly number[];
  }
}

const MARKS = 100_000;
const marks = new Uint8Array(MARKS);
Object.assign(globalThis, { __reached: marks });

/** The tests that run, with what each has reached so far. */
const running = new Map<unknown, Set<number>>();
let isFirst = true;

beforeAll(() => {
  take();
});

beforeEach(({ task, onTestFinished }) => {
  if (isFirst) task.file.meta.reached = take();
  isFirst = false;
  running.set(task, new Set());
  // The first one to be registered runs last, after the hooks and the test's own ends.
  onTestFinished(() => finish(task));
});

function finish(task: Readonly<RunnerTestCase>): void {
  const reached = take();
  for (const all of running.values()) for (const mark of reached) all.add(mark);
  task.meta.reached = [...(running.get(task) ?? [])];
  running.delete(task);
}

function take(): number[] {
  const reached: number[] = [];
  for (let at = marks.indexOf(1); at !== -1; at = marks.indexOf(1, at + 1)) {
    reached.push(at);
  }
  marks.fill(0);
  return reached;
}
