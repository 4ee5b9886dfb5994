/** How the set of sessions handles kernels that end by themselves, or that are culled. */
import { expect, onTestFinished, test, vi } from "vitest";
import { NO_POLICY, type PolicyChange } from "../../contract/index.ts";
import { DiskBudget } from "../../src/journal/disk-budget.ts";
import { MemoryBudget } from "../../src/journal/memory-budget.ts";
import { Faults } from "../../src/log/faults.ts";
import { silentLog } from "../../src/log/log.ts";
import { changed } from "../../src/session/policy.ts";
import { Supervisor } from "../../src/supervisor/supervisor.ts";
import { FakeProvisioner, SPEC } from "../session/fake-kernel.ts";

async function supervised(policy: PolicyChange) {
  const provisioner = new FakeProvisioner();
  const log = silentLog();
  const supervisor = new Supervisor({
    provisioner,
    log,
    faults: new Faults(log),
    journal: {
      memory: 1024 * 1024,
      disk: 0,
      budget: new MemoryBudget(1024 * 1024),
      diskBudget: new DiskBudget(0),
      directory: () => "",
    },
  });
  onTestFinished(() => supervisor[Symbol.asyncDispose]());
  const session = supervisor.create({
    ...SPEC,
    policy: changed(NO_POLICY, policy),
  });
  await session.start();
  return { supervisor, provisioner, session, kernel: provisioner.kernel };
}

const AUTORESTART = { autorestart: { limit: 5, window_s: 60 } };
const settled = () => new Promise((resolve) => setImmediate(resolve));

test("a session whose kernel is being started again cannot be deleted", async () => {
  const { supervisor, provisioner, session, kernel } =
    await supervised(AUTORESTART);
  provisioner.isSlow = true;
  kernel.die(1);
  await expect(supervisor.delete(session.id)).rejects.toMatchObject({
    reason: "session_running",
  });
  provisioner.kernel.answer();
  await settled();
  expect(session.status).toBe("idle");
});

test("a session that is deleted after its restart limit was reached starts no kernel", async () => {
  const { supervisor, provisioner, session, kernel } = await supervised({
    autorestart: { limit: 1, window_s: 60 },
  });
  kernel.die(1);
  await settled();
  provisioner.kernel.die(1);
  await supervisor.delete(session.id);
  await settled();
  expect(provisioner.kernels).toHaveLength(2);
});

test("kernels that die while the server ends are not started again", async () => {
  const { supervisor, provisioner, kernel } = await supervised(AUTORESTART);
  kernel.ignoresShutdown = true;
  const end = supervisor[Symbol.asyncDispose]();
  kernel.die(-1, "SIGKILL");
  await end;
  await settled();
  expect(provisioner.kernels).toHaveLength(1);
});

test("a kernel without use is culled, and its session can then be deleted", async () => {
  vi.useFakeTimers({ toFake: ["performance", "setTimeout", "clearTimeout"] });
  try {
    const { supervisor, session } = await supervised({ cull_idle_timeout: 10 });
    await vi.advanceTimersByTimeAsync(10_100);
    expect(session.status).toBe("exited");
    const deleted = supervisor.delete(session.id);
    await vi.advanceTimersByTimeAsync(5_000);
    await deleted;
    expect(supervisor.sessions).toEqual([]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(vi.getTimerCount()).toBe(0); // no check is scheduled any more
  } finally {
    vi.useRealTimers();
  }
});

test("with many sessions, each is culled at its own time, with one timer", async () => {
  vi.useFakeTimers({ toFake: ["performance", "setTimeout", "clearTimeout"] });
  try {
    const { supervisor, session } = await supervised({ cull_idle_timeout: 30 });
    const others = await Promise.all(
      [10, 20, 0].map(async (seconds) => {
        const policy = { ...NO_POLICY, cull_idle_timeout: seconds };
        const session_id = `other-${seconds}`;
        const other = supervisor.create({ ...SPEC, session_id, policy });
        await other.start();
        return other;
      }),
    );
    const all = [session, ...others];
    const alive = () =>
      all.filter(({ status }) => status === "idle").map(({ id }) => id);
    const counts: string[][] = [];
    for (let i = 0; i < 4; i += 1) {
      expect(vi.getTimerCount()).toBe(1);
      await vi.advanceTimersByTimeAsync(10_010);
      counts.push(alive());
    }
    expect(counts).toEqual([
      ["s", "other-20", "other-0"],
      ["s", "other-0"],
      ["other-0"],
      ["other-0"],
    ]);
  } finally {
    vi.useRealTimers();
  }
});
