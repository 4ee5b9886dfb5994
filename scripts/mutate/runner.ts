/**
 * Runs tests with some files of the program replaced. This process is reused, so
 * that code that it has compiled serves for every mutant. The sources on disk do not
 * change. To end a mutant that never ends, the parent kills this process.
 */
import { resolve } from "node:path";
import {
  BaseSequencer,
  createVitest,
  type Reporter,
  type TestCase,
  type TestSpecification,
} from "vitest/node";

export interface Request {
  /** The texts of the files that are replaced; all other files are unchanged. */
  readonly replaced: Readonly<Record<string, string>>;
  /** They run in this order. */
  readonly tests: readonly Selection[];
  /** Whether the first test that fails ends the run. */
  readonly bail: boolean;
}

export interface Selection {
  readonly file: string;
  /** The ids of the tests to run. Default: all tests of the file. */
  readonly ids?: readonly string[];
}

export interface Answer {
  readonly tests: readonly TestResult[];
  /** For each file that failed outside of its tests: why. */
  readonly failures: readonly { file: string; why: string }[];
  /** The marks that the hooks before the first test of the last file reached. */
  readonly reached: readonly number[];
}

export interface TestResult {
  readonly file: string;
  readonly id: string;
  readonly name: string;
  readonly state: "passed" | "failed";
  readonly duration_ms: number;
  readonly reached: readonly number[];
}

let replaced = new Map<string, string>();
let results: TestResult[] = [];
const collected: Reporter = {
  onTestCaseResult(test: TestCase) {
    const { state } = test.result();
    if (state !== "passed" && state !== "failed") return;
    results.push({
      file: test.module.relativeModuleId,
      id: test.id,
      name: test.fullName,
      state,
      duration_ms: test.diagnostic()?.duration ?? 0,
      reached: test.meta().reached ?? [],
    });
  },
};

class InGivenOrder extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return Promise.resolve(files);
  }
}

const vitest = await createVitest(
  "test",
  {
    maxWorkers: 1,
    reporters: [collected],
    watch: false,
    typecheck: { enabled: false },
    setupFiles: ["scripts/mutate/marks.ts"],
    sequence: { sequencer: InGivenOrder },
  },
  {
    plugins: [
      {
        name: "mutant",
        enforce: "pre",
        load: (id: string) => replaced.get(id),
      },
    ],
  },
);
await vitest.standalone();

process.on("message", (request: Request) => {
  void run(request).then((answer) => process.send?.(answer));
});
process.on("disconnect", () => process.exit());

async function run(request: Request): Promise<Answer> {
  const before = replaced;
  replaced = new Map(
    Object.entries(request.replaced).map(([file, text]) => [
      resolve(file),
      text,
    ]),
  );
  for (const path of new Set([...before.keys(), ...replaced.keys()])) {
    if (before.get(path) !== replaced.get(path)) vitest.invalidateFile(path);
  }
  results = [];
  const project = vitest.getRootProject();
  project.config.bail = request.bail ? 1 : 0;
  const specifications = request.tests.map(({ file, ids }) =>
    project.createSpecification(
      resolve(file),
      ids === undefined ? {} : { testIds: [...ids] },
    ),
  );
  const { testModules, unhandledErrors } =
    await vitest.runTestSpecifications(specifications);
  const files = new Set(request.tests.map(({ file }) => file));
  const failures: { file: string; why: string }[] = [];
  let reached: readonly number[] = [];
  for (const module of testModules) {
    const file = module.relativeModuleId;
    if (!files.has(file)) continue; // the list also has the modules of earlier runs
    reached = module.meta().reached ?? [];
    const isOfTest = results.some(
      (one) => one.file === file && one.state === "failed",
    );
    if (module.ok() || isOfTest) continue;
    const why = module.errors()[0]?.message ?? "it failed outside of its tests";
    failures.push({ file, why });
  }
  for (const error of unhandledErrors) {
    const last = results.at(-1)?.file ?? request.tests[0]?.file ?? "";
    failures.push({ file: last, why: String(error) });
  }
  return { tests: results, failures, reached };
}
