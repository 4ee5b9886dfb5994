/** A kernel that dies is started again, as often as its session's policy allows. */
import { describe, expect, test, vi } from "vitest";
import { NO_POLICY, type PolicyChange } from "../../contract/index.ts";
import { changed } from "../../src/session/policy.ts";
import type { Session } from "../../src/session/session.ts";
import {
  code,
  type FakeProvisioner,
  message,
  newSession,
  summaryOf,
  entriesIn,
} from "./fake-kernel.ts";

const FIVE = { autorestart: { limit: 5, window_s: 60 } };

async function started(policy: PolicyChange = FIVE): Promise<{
  session: Session;
  provisioner: FakeProvisioner;
}> {
  const made = newSession();
  made.session.policy = changed(made.session.policy, policy);
  await made.session.start();
  return made;
}

function reasons(session: Session): string[] {
  return entriesIn(session).flatMap((entry) =>
    entry.isEvent && entry.event.kind === "status"
      ? [`${entry.event.status}: ${entry.event.reason}`]
      : [],
  );
}

/** Lets all work that was begun proceed. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

test("a kernel that dies is started again, and clients get the reason, in order", async () => {
  const { session, provisioner } = await started();
  const before = session.journal.last;
  provisioner.kernel.die(-1, "SIGSEGV");
  await settled();
  expect(summaryOf(session, before)).toEqual([
    "exited",
    "exited -1",
    "starting",
    "ready",
    "idle",
  ]);
  expect(reasons(session)).toContain(
    "exited: child process exited: signal SIGSEGV; it is started again (1 of 5 times in 60 s)",
  );
  expect(reasons(session)).toContain("starting: autorestart");
  expect(provisioner.kernels).toHaveLength(2);
});

test("without the policy it stays exited", async () => {
  const { session, provisioner } = await started({});
  provisioner.kernel.die(1);
  await settled();
  expect(session.status).toBe("exited");
  expect(provisioner.kernels).toHaveLength(1);
});

test("running code is answered as lost, and later code runs on the new kernel", async () => {
  const { session, provisioner } = await started();
  const lost = session.execute(code("crash"), undefined);
  provisioner.isSlow = true;
  provisioner.kernel.die(-1, "SIGKILL");
  expect(session.status).toBe("starting");
  expect(lost).toMatchObject({ state: "aborted", reason: "kernel_exited" });
  const next = session.execute(code("next"), undefined);
  expect(next.state).toBe("queued");
  provisioner.kernel.answer();
  await settled();
  expect(provisioner.kernel.received).toEqual(["next"]);
});

test("late messages of an old kernel do not affect the new one", async () => {
  const { session, provisioner } = await started();
  const { kernel: old } = provisioner;
  old.die(1);
  await settled();
  const { last } = session.journal;
  old.die(1);
  old.beat(false);
  old.settle("busy");
  expect(session.journal.last).toBe(last);
  expect(provisioner.kernels).toHaveLength(2);
});

describe("the restart limit", () => {
  test("ends a crash loop, and clients get the reason", async () => {
    const { session, provisioner } = await started({
      autorestart: { limit: 3, window_s: 60 },
    });
    for (let i = 0; i < 4; i += 1) {
      provisioner.kernel.die(1);
      await settled();
    }
    expect(session.status).toBe("exited");
    expect(provisioner.kernels).toHaveLength(4);
    expect(reasons(session).at(-1)).toBe(
      "exited: child process exited: exit code 1; it is not started again: it was 3 times in 60 s",
    );
  });

  test("counts kernels that die before they answer, and their waiting requests are answered", async () => {
    const { session, provisioner } = await started({
      autorestart: { limit: 3, window_s: 60 },
    });
    provisioner.isSlow = true;
    provisioner.kernel.die(1);
    const waiting = session.execute(code("1"), undefined);
    for (let i = 0; i < 3; i += 1) {
      expect(session.status).toBe("starting");
      provisioner.kernel.die(1);
      await settled();
    }
    expect(session.status).toBe("exited");
    expect(provisioner.kernels).toHaveLength(4);
    expect(waiting).toMatchObject({ state: "aborted", reason: "start_failed" });
  });

  test("starts anew after its window", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    try {
      const { session, provisioner } = await started({
        autorestart: { limit: 1, window_s: 60 },
      });
      provisioner.kernel.die(1);
      await settled();
      vi.advanceTimersByTime(60_001);
      provisioner.kernel.die(1);
      await settled();
      expect(session.status).toBe("idle");
      provisioner.kernel.die(1);
      await settled();
      expect(session.status).toBe("exited");
    } finally {
      vi.useRealTimers();
    }
  });

  test("starts anew when a client starts the session", async () => {
    const { session, provisioner } = await started({
      autorestart: { limit: 1, window_s: 60 },
    });
    for (let i = 0; i < 2; i += 1) {
      provisioner.kernel.die(1);
      await settled();
    }
    expect(session.status).toBe("exited");
    await session.start();
    provisioner.kernel.die(1);
    await settled();
    expect(session.status).toBe("idle");
  });
});

describe("a requested end is not a crash:", () => {
  test("a shutdown", async () => {
    const { session, provisioner } = await started();
    await session.shutDown();
    await settled();
    expect(session.status).toBe("exited");
    expect(provisioner.kernels).toHaveLength(1);
  });

  test("a kill", async () => {
    const { session, provisioner } = await started();
    await session.kill();
    await settled();
    expect(session.status).toBe("exited");
    expect(provisioner.kernels).toHaveLength(1);
  });

  test("a shutdown_request of a client", async () => {
    const { session, provisioner } = await started();
    session.send(message("shutdown_request", "control"));
    provisioner.kernel.die(0);
    await settled();
    expect(session.status).toBe("exited");
  });

  test("a failed start is not repeated, because its caller can repeat it", async () => {
    const { session, provisioner } = newSession();
    session.policy = { ...NO_POLICY, ...FIVE };
    provisioner.isSlow = true;
    const start = session.start();
    provisioner.kernel.die(1);
    await expect(start).rejects.toMatchObject({
      reason: "exited_during_start",
    });
    await settled();
    expect(provisioner.kernels).toHaveLength(1);
  });
});

describe("while a kernel is being started again", () => {
  async function dying() {
    const made = await started();
    made.provisioner.isSlow = true;
    made.provisioner.kernel.die(1);
    expect(made.session.status).toBe("starting");
    return made;
  }

  test("a shutdown ends the start, and the session stays stopped", async () => {
    const { session, provisioner } = await dying();
    await session.shutDown();
    await settled();
    expect(session.status).toBe("exited");
    expect(provisioner.kernels).toHaveLength(2);
  });

  test("a restart replaces it: only one kernel is started", async () => {
    const { session, provisioner } = await dying();
    const restart = session.restart({});
    await vi.waitUntil(() => provisioner.kernels.length === 3);
    provisioner.kernel.answer();
    await restart;
    await settled();
    expect(session.status).toBe("idle");
    expect(provisioner.kernels).toHaveLength(3);
  });

  test("a client's start is refused, because one is under way", async () => {
    const { session, provisioner } = await dying();
    await expect(session.start()).rejects.toMatchObject({
      reason: "session_running",
    });
    expect(provisioner.kernels).toHaveLength(2);
  });

  test("the end of the session ends it, and no kernel is started", async () => {
    const { session, provisioner } = await dying();
    await session.dispose();
    await settled();
    expect(provisioner.kernels).toHaveLength(2);
  });
});

test("an adopted kernel is not started again, and clients get the reason", async () => {
  const { session, provisioner } = newSession();
  session.policy = { ...NO_POLICY, ...FIVE };
  await session.adopt(await provisioner.reserve());
  provisioner.kernel.die(1);
  await settled();
  expect(session.status).toBe("exited");
  expect(reasons(session).at(-1)).toContain("it was adopted");
});
