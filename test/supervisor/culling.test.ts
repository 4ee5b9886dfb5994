/** Kernels that nobody uses are shut down, when their session says so. By a clock that the test sets. */
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
}

/** A session with a kernel, and who watches it. */
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
  const culling = cullIdle({
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
  return { session, provisioner, kernel: provisioner.kernel, culling };
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

test("a kernel that is not used for the whole time is shut down, and clients hear why", async () => {
  const { session, culling } = await watched();
  await pass(9.9);
  expect(session.status).toBe("idle");
  await pass(0.2);
  expect(session.status).toBe("exited");
  expect(lastReason(session)).toBe("culled after 10 s idle");
  culling[Symbol.dispose]();
});

test("without a policy it lives on", async () => {
  const { session } = await watched({});
  await pass(1_000_000);
  expect(session.status).toBe("idle");
});

test("and nothing wakes up in vain", async () => {
  await watched({});
  expect(vi.getTimerCount()).toBe(0);
  await watched({ cull_idle_timeout: 86_400 });
  expect(vi.getTimerCount()).toBe(1);
});

test("what runs is not culled, and the time begins when it ends", async () => {
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

test("what runs in a subshell, beside an idle main shell, is not culled", async () => {
  const { session } = await watched();
  const request = code("long");
  const header = { ...request.header, subshell_id: "one" };
  session.execute({ ...request, header }, undefined);
  await pass(100);
  expect(session.status).toBe("idle");
});

test("busy kernels are culled where the policy says so", async () => {
  const { session, kernel } = await watched({ ...TEN, cull_busy: true });
  session.execute(code("long"), undefined);
  const [request] = kernel.sent;
  if (request === undefined) throw new Error("Nothing was sent");
  kernel.busy(request);
  await pass(10.1);
  expect(session.status).toBe("exited");
});

test("a kernel that somebody listens to is not culled; the time begins when the last one leaves", async () => {
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

test("likewise with the owner of its channels", async () => {
  const { session } = await watched();
  const claim = session.ownership.take("", () => Promise.resolve());
  await pass(55);
  claim.release();
  await pass(9.9);
  expect(session.status).toBe("idle");
  await pass(0.2);
  expect(session.status).toBe("exited");
});

test("connected kernels are culled where the policy says so", async () => {
  const { session } = await watched({ ...TEN, cull_connected: true });
  session.ownership.take("", () => Promise.resolve());
  await pass(10.1);
  expect(session.status).toBe("exited");
});

test("looking whether a kernel is there does not keep it", async () => {
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

test("a policy that is shortened counts from the last use", async () => {
  const { session } = await watched({ cull_idle_timeout: 3600 });
  await pass(60);
  session.policy = changed(session.policy, TEN);
  await pass(0.1);
  expect(session.status).toBe("exited");
});

test("a policy that is taken back culls nothing", async () => {
  const { session } = await watched();
  await pass(9);
  session.policy = changed(session.policy, { cull_idle_timeout: 0 });
  await pass(100);
  expect(session.status).toBe("idle");
});

test("a kernel that was adopted is not culled", async () => {
  const { session } = await watched(TEN, async (one, provisioner) =>
    one.adopt(await provisioner.reserve()),
  );
  await pass(100);
  expect(session.status).toBe("idle");
});

test("it is not started again where its policy starts what dies again", async () => {
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

describe("code that comes as its kernel is culled", () => {
  test("a moment before, is run", async () => {
    const { session } = await watched();
    await pass(9.99);
    const execution = session.execute(code("just"), undefined);
    await pass(5);
    expect(execution.state).toBe("running");
    expect(session.status).toBe("idle");
  });

  test("a moment after, is answered as lost, and not left waiting", async () => {
    const { session, kernel } = await watched();
    kernel.isStubborn = true;
    await pass(10.1);
    const execution = session.execute(code("late"), undefined);
    kernel.die(0);
    await pass(0.1);
    expect(execution.isOver).toBe(true);
    expect(session.status).toBe("exited");
    expect(lastReason(session)).toBe("culled after 10 s idle");
  });

  test("and a restart that comes then brings a kernel", async () => {
    const { session, kernel, provisioner } = await watched();
    kernel.isStubborn = true;
    await pass(10.1);
    const restart = session.restart({});
    kernel.die(0);
    await restart;
    expect(session.status).toBe("idle");
    expect(provisioner.kernels).toHaveLength(2);
  });
});

test("a kernel that cannot be ended is tried again after the whole time", async () => {
  const { session, kernel } = await watched();
  kernel.isImmortal = true;
  await pass(10.1);
  expect(session.status).not.toBe("exited");
  kernel.isImmortal = false;
  await pass(30);
  expect(session.status).toBe("exited");
});

test("a process that slept culls nothing for the time in which nobody could use it", async () => {
  const { session } = await watched();
  await pass(5);
  // The clock goes on while timers do not fire, as when a process is stopped.
  const before = performance.now();
  const spy = vi.spyOn(performance, "now");
  spy.mockImplementation(() => before + 3_600_000);
  await pass(6);
  expect(session.status).toBe("idle");
  spy.mockRestore();
});
