/** Kernels without use are shut down if their session's policy says so. The test sets the clock. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { NO_POLICY, type PolicyChange } from "../../contract/index.ts";
import { changed } from "../../src/session/policy.ts";
import type { Session } from "../../src/session/session.ts";
import { cullIdle } from "../../src/supervisor/culling.ts";
import { silentLog } from "../../src/log/log.ts";
import { Faults } from "../../src/log/faults.ts";
import {
  code,
  type FakeKernel,
  type FakeProvisioner,
  message,
  newSession,
  entriesIn,
} from "../session/fake-kernel.ts";

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ["performance", "setTimeout", "clearTimeout", "Date"],
  });
});
afterEach(() => vi.useRealTimers());

const TEN = { cull_idle_timeout: 10 };

interface Watched {
  readonly session: Session;
  readonly provisioner: FakeProvisioner;
  readonly kernel: FakeKernel;
  readonly culling: Disposable;
  /** What the listener was told. */
  readonly reported: readonly string[];
}

/** A session with a kernel, and its supervisor. */
async function watched(
  policy: PolicyChange = TEN,
  begin: (
    session: Session,
    provisioner: FakeProvisioner,
  ) => Promise<unknown> = (session) => session.start(),
): Promise<Watched> {
  const listeners = new Set<(session: Session) => void>();
  const { session, provisioner } = newSession({
    changed: (one) => {
      for (const listener of listeners) listener(one);
    },
  });
  const log = silentLog();
  const reported: string[] = [];
  const culling = cullIdle({
    listener: {
      warned: (_, in_s) => reported.push(`warned: ${in_s} s`),
      culled: () => reported.push("culled"),
      failed: () => reported.push("failed"),
    },
    supervisor: {
      sessions: [session],
      onChange: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    log,
    faults: new Faults(log),
  });
  session.policy = changed(NO_POLICY, policy);
  await begin(session, provisioner);
  return {
    session,
    provisioner,
    kernel: provisioner.kernel,
    culling,
    reported,
  };
}

function pass(seconds: number): Promise<unknown> {
  return vi.advanceTimersByTimeAsync(seconds * 1000);
}

function lastReason(session: Session): string | null | undefined {
  const events = entriesIn(session).flatMap((entry) =>
    entry.isEvent ? [entry.event] : [],
  );
  return events.findLast((event) => event.kind === "status")?.reason;
}

test("a kernel that is not used for the whole time is shut down, and clients get the reason", async () => {
  const { session, culling } = await watched();
  await pass(9.9);
  expect(session.status).toBe("idle");
  await pass(0.2);
  expect(session.status).toBe("exited");
  expect(lastReason(session)).toBe("culled after 10 s idle");
  culling[Symbol.dispose]();
});

describe("a listener", () => {
  test("is warned a moment before, and told of the end", async () => {
    const { reported } = await watched({ cull_idle_timeout: 3600 });
    await pass(3539);
    expect(reported).toEqual([]);
    await pass(1.1);
    expect(reported).toEqual(["warned: 60 s"]);
    await pass(60);
    expect(reported).toEqual(["warned: 60 s", "culled"]);
  });

  test("is warned after half of a short time", async () => {
    const { reported } = await watched();
    await pass(5.1);
    expect(reported).toEqual(["warned: 5 s"]);
  });

  test("is warned again if the kernel was used after the warning", async () => {
    const { reported, session, kernel } = await watched();
    await pass(6);
    session.execute(code("short"), undefined);
    const [request] = kernel.sent;
    if (request === undefined) throw new Error("Nothing was sent");
    kernel.busy(request);
    kernel.reply(request);
    kernel.idle(request);
    await pass(9.9);
    expect(reported).toEqual(["warned: 5 s", "warned: 5 s"]);
    await pass(0.2);
    expect(reported.at(-1)).toBe("culled");
  });

  test("is not warned of a kernel that is in use", async () => {
    const { reported, session } = await watched();
    session.ownership.take("", () => Promise.resolve());
    await pass(100);
    expect(reported).toEqual([]);
  });

  test("is told that a kernel could not be ended", async () => {
    const { reported, kernel } = await watched();
    kernel.survivesKill = true;
    await pass(30);
    expect(reported.slice(0, 2)).toEqual(["warned: 5 s", "failed"]);
  });
});

test("without a policy it stays", async () => {
  const { session } = await watched({});
  await pass(1_000_000);
  expect(session.status).toBe("idle");
});

test("and no timer is set", async () => {
  await watched({});
  expect(vi.getTimerCount()).toBe(0);
  await watched({ cull_idle_timeout: 86_400 });
  expect(vi.getTimerCount()).toBe(1);
});

test("a busy kernel is not culled, and the time begins when the code ends", async () => {
  const { session, kernel } = await watched();
  session.execute(code("long"), undefined);
  const [request] = kernel.sent;
  if (request === undefined) throw new Error("Nothing was sent");
  kernel.busy(request);
  await pass(100);
  expect(session.status).toBe("busy");
  kernel.reply(request);
  kernel.idle(request);
  await pass(9.9);
  expect(session.status).toBe("idle");
  await pass(0.2);
  expect(session.status).toBe("exited");
});

test("a kernel with code in a subshell, beside an idle main shell, is not culled", async () => {
  const { session } = await watched();
  const request = code("long");
  const header = { ...request.header, subshell_id: "one" };
  session.execute({ ...request, header }, undefined);
  await pass(100);
  expect(session.status).toBe("idle");
});

test("busy kernels are culled if the policy says so", async () => {
  const { session, kernel } = await watched({ ...TEN, cull_busy: true });
  session.execute(code("long"), undefined);
  const [request] = kernel.sent;
  if (request === undefined) throw new Error("Nothing was sent");
  kernel.busy(request);
  await pass(10.1);
  expect(session.status).toBe("exited");
});

test("a kernel with a reader is not culled; the time begins when the last one leaves", async () => {
  const { session } = await watched();
  const left = new AbortController();
  const reading = (async () => {
    const entries = session.journal.follow(0, left.signal);
    while ((await entries.next()).done !== true);
  })();
  await pass(55);
  expect(session.status).toBe("idle");
  left.abort();
  await reading;
  await pass(9.9);
  expect(session.status).toBe("idle");
  await pass(0.2);
  expect(session.status).toBe("exited");
});

test("the same holds for the owner of its channels", async () => {
  const { session } = await watched();
  const claim = session.ownership.take("", () => Promise.resolve());
  await pass(55);
  claim.release();
  await pass(9.9);
  expect(session.status).toBe("idle");
  await pass(0.2);
  expect(session.status).toBe("exited");
});

test("connected kernels are culled if the policy says so", async () => {
  const { session } = await watched({ ...TEN, cull_connected: true });
  session.ownership.take("", () => Promise.resolve());
  await pass(10.1);
  expect(session.status).toBe("exited");
});

test("requests that check a kernel do not count as use", async () => {
  const { session, kernel } = await watched();
  for (let i = 0; i < 3; i += 1) {
    await pass(3);
    const request = message("kernel_info_request");
    session.send(request);
    kernel.busy(request);
    kernel.idle(request);
  }
  await pass(1.1);
  expect(session.status).toBe("exited");
});

test("a shorter timeout counts from the last use", async () => {
  const { session } = await watched({ cull_idle_timeout: 3600 });
  await pass(60);
  session.policy = changed(session.policy, TEN);
  await pass(0.1);
  expect(session.status).toBe("exited");
});

test("a removed policy culls nothing", async () => {
  const { session } = await watched();
  await pass(9);
  session.policy = changed(session.policy, { cull_idle_timeout: 0 });
  await pass(100);
  expect(session.status).toBe("idle");
});

test("an adopted kernel is not culled", async () => {
  const { session } = await watched(TEN, async (one, provisioner) =>
    one.adopt(await provisioner.reserve()),
  );
  await pass(100);
  expect(session.status).toBe("idle");
});

test("a culled kernel is not started again, also with autorestart", async () => {
  const { session, provisioner } = await watched({
    ...TEN,
    autorestart: { limit: 5, window_s: 60 },
  });
  await pass(10.1);
  expect(session.status).toBe("exited");
  expect(provisioner.kernels).toHaveLength(1);
  await session.start();
  expect(session.status).toBe("idle");
});

describe("code that arrives while its kernel is culled", () => {
  test("a moment before the cull, runs", async () => {
    const { session } = await watched();
    await pass(9.99);
    const execution = session.execute(code("just"), undefined);
    await pass(5);
    expect(execution.state).toBe("running");
    expect(session.status).toBe("idle");
  });

  test("a moment after the cull, is answered as lost", async () => {
    const { session, kernel } = await watched();
    kernel.ignoresShutdown = true;
    await pass(10.1);
    const execution = session.execute(code("late"), undefined);
    kernel.die(0);
    await pass(0.1);
    expect(execution.isOver).toBe(true);
    expect(session.status).toBe("exited");
    expect(lastReason(session)).toBe("culled after 10 s idle");
  });

  test("and a restart at that time starts a kernel", async () => {
    const { session, kernel, provisioner } = await watched();
    kernel.ignoresShutdown = true;
    await pass(10.1);
    const restart = session.restart({});
    kernel.die(0);
    await restart;
    expect(session.status).toBe("idle");
    expect(provisioner.kernels).toHaveLength(2);
  });
});

test("if a kernel cannot be ended, the next attempt follows after the whole time", async () => {
  const { session, kernel } = await watched();
  kernel.survivesKill = true;
  await pass(10.1);
  expect(session.status).not.toBe("exited");
  kernel.survivesKill = false;
  await pass(30);
  expect(session.status).toBe("exited");
});

test("a process that slept does not cull for the time in which clients could not use kernels", async () => {
  const { session } = await watched();
  await pass(5);
  // The clock advances while timers do not fire, as when a process is stopped.
  const before = performance.now();
  const spy = vi.spyOn(performance, "now");
  spy.mockImplementation(() => before + 3_600_000);
  await pass(6);
  expect(session.status).toBe("idle");
  spy.mockRestore();
});
