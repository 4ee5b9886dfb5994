import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Only these files and what they import: the whole project is compiled by `npm run check:types`.
    typecheck: {
      enabled: true,
      include: ["test/**/*.test-d.ts"],
      tsconfig: "tsconfig.type-tests.json",
    },
    reporters: ["default", "./test/skipped-reporter.ts"],
    // Connection files of the tests' kernels are not for the user's tools.
    env: { JUPYTER_RUNTIME_DIR: join(tmpdir(), "kallichore-test-runtime") },
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Kernels are processes of their own and keep the second core busy.
    maxWorkers: process.env["CI"] === undefined ? 2 : 1,
  },
});
