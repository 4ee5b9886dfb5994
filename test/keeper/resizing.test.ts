/** Limits of real kernels that are changed while they run: of a keeper's, and of the server's own process tree. */
import { describe, expect, test } from "vitest";
import { settingsOf, whyNoControlGroup } from "../../src/host/control-group.ts";
import { isAlive } from "../../src/host/process-table.ts";
import { needs, needsLinux, needsPosix } from "../needs.ts";
import { execute, inKeeper, inOwnTree } from "./place.ts";
import { eventually } from "../harness.ts";

const MIB = 1024 * 1024;
const LIMITS = { memory_bytes: null, cpus: null, run_time_s: null };
const whyNoCpus = whyNoControlGroup(settingsOf({ cpus: 1 }));

describe.each([
  ["of a keeper", inKeeper],
  ["of the server's own tree", inOwnTree],
])("a kernel %s", needsPosix, (_, started) => {
  test("gets a limit on run time that it did not have, and is shut down when it has run for as long", async () => {
    const { kernel, calls } = await started();
    await kernel.resize({ run_time_s: 3600 });
    await kernel.resize({ run_time_s: 1 });
    const exit = await kernel.exited;
    const [name, reported] = calls.at(-1) ?? [];
    expect([name, reported]).toEqual([
      "exited",
      expect.objectContaining({
        limit: "run_time",
        why: "time_limit: it has run for 1 s, as long as it may",
      }),
    ]);
    expect(exit.exit_code).toBe(0);
  });

  test("outlives a limit on run time that was raised, or taken away", async () => {
    for (const run_time_s of [3600, null]) {
      const { kernel, texts } = await started({
        limits: { ...LIMITS, run_time_s: 3 },
      });
      const began = performance.now();
      await kernel.resize({ run_time_s });
      await eventually("4 s later", () =>
        performance.now() - began > 4_000 ? true : undefined,
      );
      expect(isAlive(kernel.pid ?? 0)).toBe(true);
      kernel.send(execute("flood 1 1", "still-there"));
      await eventually("its line", () => texts[0]);
      await kernel.stop(false);
    }
  }, 30_000);

  test(
    "is killed when it uses more than a new limit on memory, and not by an earlier one",
    { timeout: 30_000, ...needsLinux },
    async () => {
      const { kernel, calls } = await started({
        limits: { ...LIMITS, memory_bytes: 4096 * MIB },
      });
      await kernel.resize({ memory_bytes: null });
      await kernel.resize({ memory_bytes: 10 * MIB });
      await kernel.exited;
      expect(calls.at(-1)).toEqual([
        "exited",
        expect.objectContaining({
          limit: "memory",
          oom: true,
          why: expect.stringMatching(
            /^out of memory: it used .*, and its limit is 10 MiB$/,
          ) as string,
        }),
      ]);
    },
  );

  test(
    "is told why its cores cannot be limited here, and no other limit changes",
    needs(whyNoCpus !== undefined, "a system that cannot limit cores"),
    async () => {
      const { kernel } = await started();
      await expect(
        kernel.resize({ cpus: 1, memory_bytes: 10 * MIB, run_time_s: 1 }),
      ).rejects.toMatchObject({
        reason: "bad_configuration",
        message: `The limits of the kernel of session s cannot be changed: \`cpus\` stays as it is, because ${whyNoCpus}`,
      });
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      expect(isAlive(kernel.pid ?? 0)).toBe(true);
      await kernel.resize({ cpus: null }); // it had none
      await kernel.stop(false);
    },
  );

  test(
    "gets a limit on its cores",
    needs(
      whyNoCpus === undefined,
      "the right to make control groups of version 2",
    ),
    async () => {
      const { kernel } = await started();
      await kernel.resize({ cpus: 0.5 });
      await kernel.resize({ cpus: null });
      await kernel.stop(false);
    },
  );
});
