/**
 * Runs tests with one file replaced, in a process of its own that is kept: what
 * it has compiled once serves for every mutant. The sources on disk stay as
 * they are. A mutant that never ends is ended with this process.
 */
import { resolve } from "node:path";
import { createVitest, type Reporter, type TestCase } from "vitest/node";

export interface Request {
  readonly tests: readonly string[];
  /** `undefined`: the program as it is. */
  readonly mutant: { readonly file: string; readonly text: string } | undefined;
}

export interface Answer {
  readonly isNoticed: boolean;
  /** The first test that failed. */
  readonly by: string | undefined;
}

let replaced: { readonly path: string; readonly text: string } | undefined;
const failed: string[] = [];
const first: Reporter = {
  onTestCaseResult(test: TestCase) {
    if (test.result().state !== "failed") return;
    failed.push(`${test.module.relativeModuleId}: ${test.fullName}`);
  },
};

const vitest = await createVitest(
  "test",
  { bail: 1, maxWorkers: 1, reporters: [first], watch: false },
  {
    plugins: [
      {
        name: "mutant",
        enforce: "pre",
        load: (id: string) =>
          id === replaced?.path ? replaced.text : undefined,
      },
    ],
  },
);
await vitest.standalone();

process.on("message", ({ tests, mutant }: Request) => {
  void run(tests, mutant).then((answer) => process.send?.(answer));
});
process.on("disconnect", () => process.exit());

async function run(
  tests: readonly string[],
  mutant: Request["mutant"],
): Promise<Answer> {
  const before = replaced?.path;
  replaced = mutant && { path: resolve(mutant.file), text: mutant.text };
  for (const path of [before, replaced?.path]) {
    if (path !== undefined) vitest.invalidateFile(path);
  }
  failed.length = 0;
  const specifications = await vitest.globTestSpecifications([...tests]);
  const { testModules, unhandledErrors } =
    await vitest.runTestSpecifications(specifications);
  for (const module of testModules) {
    const isOfThisRun = tests.includes(module.relativeModuleId); // those of earlier runs are there, too
    if (isOfThisRun && !module.ok()) failed.push(module.relativeModuleId); // before any of its tests
  }
  if (unhandledErrors.length > 0) failed.push("an error outside of tests");
  return { isNoticed: failed.length > 0, by: failed[0] };
}
