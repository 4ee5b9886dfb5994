/**
 * Runs tests with one file replaced. This process is reused, so that code that it
 * has compiled serves for every mutant. The sources on disk do not change. To end a
 * mutant that never ends, the parent kills this process.
 */
import { resolve } from "node:path";
import { createVitest, type Reporter, type TestCase } from "vitest/node";

export interface Request {
  readonly tests: readonly string[];
  /** `undefined`: the unchanged program. */
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
    const isOfThisRun = tests.includes(module.relativeModuleId); // the list also has the modules of earlier runs
    if (isOfThisRun && !module.ok()) failed.push(module.relativeModuleId); // it failed before its first test
  }
  if (unhandledErrors.length > 0) failed.push("an error outside the tests");
  return { isNoticed: failed.length > 0, by: failed[0] };
}
