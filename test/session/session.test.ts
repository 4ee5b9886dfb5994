import { afterEach, describe, expect, test, vi } from "vitest";
import {
  code,
  message,
  newSession,
  said,
  startedSession,
} from "./fake-kernel.ts";

afterEach(() => void vi.useRealTimers());

describe("life", () => {
  test("a start is heard: starting, ready, and idle as the first request told", async () => {
    const { session } = await startedSession();
    expect(said(session)).toEqual(["starting", "ready", "idle"]);
    expect(session.status).toBe("idle");
  });

  test("a kernel that does not say that it is idle stays ready until it does", async () => {
    const { session, provisioner } = newSession();
    provisioner.isReticent = true;
    await session.start();
    expect(session.status).toBe("ready");
    provisioner.kernel.settle("idle");
    expect(session.status).toBe("idle");
    const late = session.journal.last;
    provisioner.kernel.settle("idle");
    expect(session.journal.last).toBe(late);
  });

  test("a kernel that is adopted while it runs code is busy, then idle", async () => {
    const { session, provisioner } = newSession();
    provisioner.isSlow = true;
    provisioner.isReticent = true;
    const adopted = session.adopt(await provisioner.reserve());
    provisioner.kernel.settle("busy");
    provisioner.kernel.answer();
    await adopted;
    provisioner.kernel.settle("idle");
    expect(said(session)).toEqual(["starting", "ready", "busy", "idle"]);
  });

  test("a second start is refused, and starts nothing", async () => {
    const { session, provisioner } = await startedSession();
    await expect(session.start()).rejects.toMatchObject({
      reason: "session_running",
    });
    expect(provisioner.kernels.length).toBe(1);
  });

  test("a second start is refused while the first is under way", async () => {
    const { session, provisioner } = newSession();
    provisioner.isSlow = true;
    const first = session.start();
    await expect(session.start()).rejects.toMatchObject({
      reason: "session_running",
    });
    provisioner.kernel.answer();
    await first;
    expect(session.status).toBe("idle");
  });

  test("a restart is heard in order: exited, how, starting, ready, idle", async () => {
    const { session } = await startedSession();
    const before = session.journal.last;
    await session.restart({});
    expect(said(session, before)).toEqual([
      "exited",
      "exited 0",
      "starting",
      "ready",
      "idle",
    ]);
  });

  test("a restart starts a session without a kernel", async () => {
    const { session } = newSession();
    await session.restart({});
    expect(said(session)).toEqual(["starting", "ready", "idle"]);
  });

  test("a second restart is refused while the first is under way", async () => {
    const { session, provisioner } = await startedSession();
    provisioner.isSlow = true;
    const first = session.restart({});
    await expect(session.restart({})).rejects.toMatchObject({
      reason: "restart_failed",
    });
    await vi.waitUntil(() => provisioner.kernels.length === 2);
    provisioner.kernel.answer();
    await first;
  });

  test("a session that is shut down while its kernel ends for a restart stays shut down", async () => {
    const { session, provisioner, kernel } = await startedSession();
    kernel.isStubborn = true;
    const restart = session.restart({});
    const end = session.shutDown();
    kernel.die(0);
    await expect(restart).rejects.toMatchObject({ reason: "restart_failed" });
    await end;
    expect(session.status).toBe("exited");
    expect(provisioner.kernels.length).toBe(1);
  });

  test("a session that is disposed of while its kernel ends for a restart starts no other", async () => {
    const { session, provisioner, kernel } = await startedSession();
    kernel.isStubborn = true;
    const restart = session.restart({});
    const end = session.dispose();
    kernel.die(0);
    await expect(restart).rejects.toMatchObject({ reason: "restart_failed" });
    await end;
    expect(provisioner.kernels.length).toBe(1);
  });

  test("a restart that was shut down on its way can be asked for again", async () => {
    const { session, kernel } = await startedSession();
    kernel.isStubborn = true;
    const restart = session.restart({});
    const end = session.shutDown();
    kernel.die(0);
    await Promise.allSettled([restart, end]);
    await session.restart({});
    expect(session.status).toBe("idle");
  });

  test("a kernel that answers just when it is stopped is ended, and its start fails", async () => {
    const { session, provisioner } = newSession();
    provisioner.isSlow = true;
    const start = session.start();
    provisioner.kernel.answer();
    const end = session.shutDown();
    await expect(start).rejects.toMatchObject({ reason: "start_failed" });
    await end;
    expect(session.status).toBe("exited");
  });

  test("variables given with a restart hold for all starts after it", async () => {
    const { session, provisioner } = await startedSession();
    const env = [{ action: "replace", name: "A", value: "1" }] as const;
    await session.restart({ env });
    await session.restart({ env: [] });
    expect(provisioner.recipes.map((recipe) => recipe.env)).toEqual([
      [],
      env,
      env,
    ]);
  });

  test("a kernel killed while it starts exits once, and its start fails", async () => {
    const { session, provisioner } = newSession();
    provisioner.isSlow = true;
    const start = session.start();
    await session.kill();
    await expect(start).rejects.toMatchObject({
      reason: "exited_during_start",
    });
    expect(said(session)).toEqual(["starting", "exited", "exited -1"]);
  });

  test("a kernel that dies while it starts fails the start", async () => {
    const { session, provisioner } = newSession();
    provisioner.isSlow = true;
    const start = session.start();
    provisioner.kernel.die(3);
    await expect(start).rejects.toMatchObject({
      reason: "exited_during_start",
    });
    expect(said(session)).toEqual(["starting", "exited", "exited 3"]);
  });

  test("what an old kernel still says is not heard", async () => {
    const { session, kernel } = await startedSession();
    await session.restart({});
    const before = session.journal.last;
    kernel.busy(code("late"));
    kernel.beat(false);
    kernel.settle("busy");
    kernel.die(9);
    expect(session.journal.last).toBe(before);
    expect(session.status).toBe("idle");
  });

  test("an exit that is told twice is heard once", async () => {
    const { session, kernel } = await startedSession();
    const before = session.journal.last;
    kernel.die(1);
    kernel.die(1);
    expect(said(session, before)).toEqual(["exited", "exited 1"]);
  });

  test("a kernel that was busy is busy again when its heart is", async () => {
    const { session, kernel } = await startedSession();
    const before = session.journal.last;
    kernel.busy(message("complete_request"));
    kernel.beat(false);
    kernel.beat(true);
    expect(said(session, before)).toEqual([
      "busy",
      "iopub status busy",
      "offline",
      "busy",
    ]);
  });

  test("a kernel that has run nothing yet is idle again when its heart is", async () => {
    const { session, kernel } = await startedSession();
    const before = session.journal.last;
    kernel.beat(false);
    kernel.beat(true);
    expect(said(session, before)).toEqual(["offline", "idle"]);
  });

  test("a kernel of which nothing is known is ready again when its heart is", async () => {
    const { session, provisioner } = newSession();
    provisioner.isReticent = true;
    await session.start();
    provisioner.kernel.beat(false);
    provisioner.kernel.beat(true);
    expect(session.status).toBe("ready");
    provisioner.kernel.beat(false);
    provisioner.kernel.settle("idle");
    expect(session.status).toBe("idle");
  });

  test("a session without a kernel can be neither shut down nor interrupted", async () => {
    const { session } = newSession();
    await expect(session.shutDown()).rejects.toMatchObject({
      reason: "session_not_running",
    });
    await expect(session.interrupt()).rejects.toMatchObject({
      reason: "interrupt_failed",
    });
  });

  test("a session that was disposed of starts no more", async () => {
    const { session } = newSession();
    await session.dispose();
    await expect(session.start()).rejects.toMatchObject({
      reason: "session_not_found",
    });
    expect(session.ended.aborted).toBe(true);
  });

  test("disposing of a session ends its kernel", async () => {
    const { session } = await startedSession();
    await session.dispose();
    expect(session.status).toBe("exited");
  });

  test("an interrupt with nothing to interrupt is answered by the status", async () => {
    const { session } = await startedSession();
    const before = session.journal.last;
    await session.interrupt();
    expect(said(session, before)).toEqual(["idle"]);
  });
});

describe("messages", () => {
  test("what is sent before the start waits, and goes out in order", async () => {
    const { session, provisioner } = newSession();
    for (const one of [message("complete_request"), message("comm_msg")]) {
      session.send(one);
    }
    await session.start();
    session.send(message("inspect_request"));
    expect(provisioner.kernel.heard).toEqual([
      "complete_request",
      "comm_msg",
      "inspect_request",
    ]);
  });

  test("control messages without a kernel are refused", () => {
    const { session } = newSession();
    expect(() => session.send(message("interrupt_request", "control"))).toThrow(
      expect.objectContaining({ reason: "session_not_running" }),
    );
  });

  test("control messages wait for a kernel that is starting", async () => {
    const { session, provisioner } = newSession();
    provisioner.isSlow = true;
    const start = session.start();
    session.send(message("debug_request", "control"));
    provisioner.kernel.answer();
    await start;
    expect(provisioner.kernel.heard).toEqual(["debug_request"]);
  });

  test("a message that repeats itself is sent once", async () => {
    const { session, kernel } = await startedSession();
    const one = message("comm_msg");
    expect([session.send(one), session.send(one)]).toEqual([true, false]);
    expect(kernel.heard).toEqual(["comm_msg"]);
  });

  test("a message that was refused may be sent again", async () => {
    const { session, kernel } = await startedSession();
    const one = code("a");
    kernel.isDeaf = true;
    expect(() => session.send(one)).toThrow(
      expect.objectContaining({ reason: "kernel_unreachable" }),
    );
    kernel.isDeaf = false;
    expect(session.send(one)).toBe(true);
    expect(kernel.heard).toEqual(["a"]);
  });

  test("a request resolves with its reply", async () => {
    const { session, kernel } = await startedSession();
    const one = message("complete_request");
    const asked = session.request(one, 1000);
    kernel.reply(one, { status: "ok", matches: ["a"] });
    expect((await asked).content).toMatchObject({ matches: ["a"] });
  });

  test("a request fails when the kernel exits", async () => {
    const { session, kernel } = await startedSession();
    const asked = session.request(message("complete_request"), 1000);
    kernel.die();
    await expect(asked).rejects.toMatchObject({ reason: "kernel_exited" });
  });

  test("a request that asks for input has not been replied to", async () => {
    const { session, kernel } = await startedSession();
    const one = code("input()");
    const asked = session.request(one, 1000);
    kernel.busy(one);
    kernel.ask(one, "?");
    kernel.reply(one);
    expect((await asked).msg_type).toBe("execute_reply");
  });

  test("a request nobody answers fails in time", async () => {
    vi.useFakeTimers();
    const { session } = await startedSession();
    const asked = session.request(message("complete_request"), 1000);
    const failed = expect(asked).rejects.toMatchObject({ reason: "no_answer" });
    await vi.advanceTimersByTimeAsync(1000);
    await failed;
  });
});

describe("the queue", () => {
  test("the next request goes out when the first is over", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    session.send(a);
    session.send(b);
    expect(kernel.heard).toEqual(["a"]);
    kernel.run(a);
    expect(kernel.heard).toEqual(["a", "b"]);
  });

  test("an idle that comes before the reply does not advance it alone", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    session.send(a);
    session.send(b);
    kernel.busy(a);
    kernel.idle(a);
    expect(kernel.heard).toEqual(["a"]);
    kernel.reply(a);
    expect(kernel.heard).toEqual(["a", "b"]);
  });

  test("another's idle does not advance it", async () => {
    const { session, kernel } = await startedSession();
    const other = message("complete_request");
    for (const one of [code("a"), code("b"), other]) session.send(one);
    kernel.busy(other);
    kernel.reply(other);
    kernel.idle(other);
    expect(kernel.heard).toEqual(["a", "complete_request"]);
  });

  test.each(["idle", "reply"] as const)(
    "a kernel that says nothing but %s holds nobody up for long",
    async (sign) => {
      vi.useFakeTimers();
      const { session, kernel } = await startedSession();
      const [a, b] = [code("a"), code("b")];
      session.send(a);
      session.send(b);
      kernel[sign](a);
      expect(kernel.heard).toEqual(["a"]);
      await vi.advanceTimersByTimeAsync(2000);
      expect(kernel.heard).toEqual(["a", "b"]);
    },
  );

  test("an interrupt drops what waits, which is answered as aborted", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    session.send(a);
    session.send(b);
    kernel.busy(a);
    const before = session.journal.last;
    await session.interrupt();
    expect(kernel.interrupts).toBe(1);
    expect(said(session, before)).toEqual([
      "shell execute_reply aborted",
      "iopub status idle",
    ]);
    kernel.fail(a, "KeyboardInterrupt");
    expect(kernel.heard).toEqual(["a"]);
  });

  test.each(["interrupt_request", "shutdown_request"])(
    "an %s of a client drops what waits",
    async (msg_type) => {
      const { session, kernel } = await startedSession();
      for (const one of [code("a"), code("b")]) session.send(one);
      session.send(message(msg_type, "control"));
      expect(session.queue.pending).toEqual([]);
      expect(kernel.heard).toEqual(["a", msg_type]);
    },
  );

  test("a kernel that dies leaves nothing unanswered", async () => {
    const { session, kernel } = await startedSession();
    for (const one of [code("a"), code("b")]) session.send(one);
    const before = session.journal.last;
    kernel.die(1);
    expect(said(session, before)).toEqual([
      "shell execute_reply aborted",
      "iopub status idle",
      "shell execute_reply aborted",
      "iopub status idle",
      "exited",
      "exited 1",
    ]);
    expect(session.queue.active).toBeUndefined();
  });

  test("what was answered before the kernel died is not answered again", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    session.send(a);
    kernel.busy(a);
    kernel.reply(a);
    const before = session.journal.last;
    kernel.die(1);
    expect(said(session, before)).toEqual(["exited", "exited 1"]);
  });

  test("requests that cannot go out when their turn comes are answered", async () => {
    const { session, kernel } = await startedSession();
    const [a, b, c] = [code("a"), code("b"), code("c")];
    for (const one of [a, b, c]) session.send(one);
    kernel.isDeaf = true;
    kernel.run(a);
    expect(session.queue.pending).toEqual([]);
    expect(
      [b, c].map(({ header }) => session.executions.get(header.msg_id).reason),
    ).toEqual(["not_sent", "not_sent"]);
  });
});
