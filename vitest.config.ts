import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    reporters: ["default", "./test/skipped-reporter.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Kernels are processes of their own and keep the second core busy.
    maxWorkers: process.env["CI"] === undefined ? 2 : 1,
  },
});
