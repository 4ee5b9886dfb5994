import { PassThrough } from "node:stream";
import { afterEach, describe, expect, test, vi } from "vitest";
import { request } from "../../src/jupyter/client-message.ts";
import {
  code,
  message,
  newSession,
  summaryOf,
  startedSession,
} from "./fake-kernel.ts";

afterEach(() => void vi.useRealTimers());

describe("life", () => {
  test("the events of a start are: starting, ready, and idle from the first request", async () => {
    const { session } = await startedSession();
    expect(summaryOf(session)).toEqual(["starting", "ready", "idle"]);
    expect(session.status).toBe("idle");
  });

  test("a kernel that does not report idle stays ready", async () => {
    const { session, provisioner } = newSession();
    provisioner.omitsIdle = true;
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
    provisioner.omitsIdle = true;
    const adopted = session.adopt(await provisioner.reserve());
    provisioner.kernel.settle("busy");
    provisioner.kernel.answer();
    await adopted;
    provisioner.kernel.settle("idle");
    expect(summaryOf(session)).toEqual(["starting", "ready", "busy", "idle"]);
  });

  test("an adopted kernel without a command cannot be restarted, and keeps running", async () => {
    const { session, provisioner } = newSession({ argv: [] });
    const refused = {
      reason: "start_failed",
      message: expect.stringContaining("`argv` is empty") as string,
    };
    await expect(session.restart({})).rejects.toMatchObject(refused);
    expect(summaryOf(session)).toEqual([]);
    await session.adopt(await provisioner.reserve());
    await expect(session.restart({})).rejects.toMatchObject(refused);
    expect(summaryOf(session)).toEqual(["starting", "ready", "idle"]);
    session.send(code("a"));
    expect(provisioner.kernel.received).toEqual(["a"]);
  });

  test("a kernel that dies right after its first answer leaves nothing running", async () => {
    for (let ticks = 0; ticks < 12; ticks += 1) {
      const { session, provisioner } = newSession();
      provisioner.isSlow = true;
      const started = session.start().catch(() => {});
      const { kernel } = provisioner;
      const request = code("a");
      session.send(request);
      kernel.answer();
      for (let tick = 0; tick < ticks; tick += 1) await Promise.resolve();
      kernel.die(1);
      await started;
      expect(session.status).toBe("exited");
      const { state } = session.executions.get(request.header.msg_id);
      expect([ticks, state]).not.toEqual([ticks, "running"]);
    }
  });

  test("a second start is refused, and starts no kernel", async () => {
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

  test("the events of a restart are in order: exited, how, starting, ready, idle", async () => {
    const { session } = await startedSession();
    const before = session.journal.last;
    await session.restart({});
    expect(summaryOf(session, before)).toEqual([
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
    expect(summaryOf(session)).toEqual(["starting", "ready", "idle"]);
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
    kernel.ignoresShutdown = true;
    const restart = session.restart({});
    const end = session.shutDown();
    kernel.die(0);
    await expect(restart).rejects.toMatchObject({ reason: "restart_failed" });
    await end;
    expect(session.status).toBe("exited");
    expect(provisioner.kernels.length).toBe(1);
  });

  test("a session that is disposed of while its kernel ends for a restart starts no kernel", async () => {
    const { session, provisioner, kernel } = await startedSession();
    kernel.ignoresShutdown = true;
    const restart = session.restart({});
    const end = session.dispose();
    kernel.die(0);
    await expect(restart).rejects.toMatchObject({ reason: "restart_failed" });
    await end;
    expect(provisioner.kernels.length).toBe(1);
  });

  test("after a shutdown during a restart, a restart works again", async () => {
    const { session, kernel } = await startedSession();
    kernel.ignoresShutdown = true;
    const restart = session.restart({});
    const end = session.shutDown();
    kernel.die(0);
    await Promise.allSettled([restart, end]);
    await session.restart({});
    expect(session.status).toBe("idle");
  });

  test("a kernel that answers while it is being stopped is ended, and its start fails", async () => {
    const { session, provisioner } = newSession();
    provisioner.isSlow = true;
    const start = session.start();
    provisioner.kernel.answer();
    const end = session.shutDown();
    await expect(start).rejects.toMatchObject({ reason: "start_failed" });
    await end;
    expect(session.status).toBe("exited");
  });

  test("variables of a restart apply to all later starts", async () => {
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
    expect(summaryOf(session)).toEqual(["starting", "exited", "exited -1"]);
  });

  test("a kernel that dies while it starts fails the start", async () => {
    const { session, provisioner } = newSession();
    provisioner.isSlow = true;
    const start = session.start();
    provisioner.kernel.die(3);
    await expect(start).rejects.toMatchObject({
      reason: "exited_during_start",
    });
    expect(summaryOf(session)).toEqual(["starting", "exited", "exited 3"]);
  });

  test("late messages of an old kernel are ignored", async () => {
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

  test("an exit that is reported twice is published once", async () => {
    const { session, kernel } = await startedSession();
    const before = session.journal.last;
    kernel.die(1);
    kernel.die(1);
    expect(summaryOf(session, before)).toEqual(["exited", "exited 1"]);
  });

  test("a kernel that was busy is busy again when its heartbeat returns", async () => {
    const { session, kernel } = await startedSession();
    const before = session.journal.last;
    kernel.busy(message("complete_request"));
    kernel.beat(false);
    kernel.beat(true);
    expect(summaryOf(session, before)).toEqual([
      "busy",
      "iopub status busy",
      "offline",
      "busy",
    ]);
  });

  test("a kernel that has run no code is idle again when its heartbeat returns", async () => {
    const { session, kernel } = await startedSession();
    const before = session.journal.last;
    kernel.beat(false);
    kernel.beat(true);
    expect(summaryOf(session, before)).toEqual(["offline", "idle"]);
  });

  test("a kernel without a known state is ready again when its heartbeat returns", async () => {
    const { session, provisioner } = newSession();
    provisioner.omitsIdle = true;
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

  test("a session that was disposed of cannot be started", async () => {
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

  test("a usage sample is published, and kept after the exit", async () => {
    const { session, kernel } = await startedSession();
    const before = session.journal.last;
    const usage = {
      ...{ cpu_percent: 12, memory_bytes: 1024, thread_count: 3 },
      ...{ sampling_period_ms: 1_000, timestamp: 1_700_000_000_000 },
    };
    session.sampled(usage);
    expect(summaryOf(session, before)).toEqual(["resource_usage"]);
    kernel.die();
    expect(session.resource_usage).toEqual(usage);
  });

  test("an interrupt without running code publishes the status", async () => {
    const { session } = await startedSession();
    const before = session.journal.last;
    await session.interrupt();
    expect(summaryOf(session, before)).toEqual(["idle"]);
  });
});

describe("while a kernel ends for a restart", () => {
  /** A restart whose old kernel has not ended yet. */
  async function restarting() {
    const { session, provisioner, kernel } = await startedSession();
    kernel.ignoresShutdown = true;
    const restart = session.restart({});
    restart.catch(() => {}); // the caller that awaits it gets the rejection
    return { session, provisioner, kernel, restart };
  }

  test("it is busy until the old kernel is gone, with any messages of the old kernel", async () => {
    const { session, provisioner, kernel, restart } = await restarting();
    kernel.run(message("complete_request"));
    kernel.beat(false);
    kernel.beat(true);
    kernel.settle("idle");
    expect(session.status).toBe("busy");
    provisioner.omitsIdle = true;
    kernel.die(0);
    await restart;
    const statuses = summaryOf(session).filter((what) => !what.includes(" "));
    expect(statuses).toEqual([
      ...["starting", "ready", "idle"],
      ...["busy", "offline", "busy", "exited"],
      ...["starting", "ready"],
    ]);
  });

  test("code runs on the new kernel", async () => {
    const { session, provisioner, kernel, restart } = await restarting();
    const [sent, executed] = [code("a"), code("b")];
    session.send(sent);
    const execution = session.execute(executed, undefined);
    expect(kernel.received).toEqual([]);
    kernel.die(0);
    await restart;
    provisioner.kernel.run(sent);
    provisioner.kernel.run(executed);
    expect(provisioner.kernel.received).toEqual(["a", "b"]);
    expect(execution.state).toBe("done");
  });

  test("earlier queued requests are dropped, and later ones are not", async () => {
    const { session, provisioner, kernel } = await startedSession();
    kernel.ignoresShutdown = true;
    const [running, queued, later] = [code("a"), code("b"), code("c")];
    session.send(running);
    session.send(queued);
    const restart = session.restart({});
    session.send(later);
    kernel.die(0);
    await restart;
    const reasons = [running, queued, later].map(
      ({ header }) => session.executions.get(header.msg_id).reason,
    );
    expect(reasons).toEqual(["kernel_exited", "shutdown", undefined]);
    expect(provisioner.kernel.received).toEqual(["c"]);
  });

  test("the new kernel answers a request", async () => {
    const { session, provisioner, kernel, restart } = await restarting();
    const one = message("complete_request");
    const requested = session.request(one, 10_000);
    kernel.die(0);
    await restart;
    provisioner.kernel.reply(one, { status: "ok", matches: ["a"] });
    expect((await requested).content).toMatchObject({ matches: ["a"] });
  });

  test("control and stdin still go to the old one", async () => {
    const { session, provisioner, kernel, restart } = await restarting();
    session.send(message("debug_request", "control"));
    session.send({ ...message("input_reply"), channel: "stdin" });
    expect(kernel.received).toEqual(["debug_request", "input_reply"]);
    await session.interrupt();
    expect(kernel.interrupts).toBe(1);
    kernel.die(0);
    await restart;
    expect(provisioner.kernel.received).toEqual([]);
  });

  test("an interrupt does not affect requests that wait for the new kernel", async () => {
    const { session, provisioner, kernel, restart } = await restarting();
    session.send(code("a"));
    await session.interrupt();
    kernel.die(0);
    await restart;
    expect(provisioner.kernel.received).toEqual(["a"]);
  });

  test("waiting requests can be cancelled, and have their deadlines", async () => {
    vi.useFakeTimers();
    const { session, provisioner, kernel, restart } = await restarting();
    const cancelled = session.execute(code("a"), undefined);
    const late = session.execute(code("b"), 100);
    session.cancel(cancelled);
    await vi.advanceTimersByTimeAsync(100);
    expect([cancelled.reason, late.reason]).toEqual(["cancelled", "deadline"]);
    kernel.die(0);
    await restart;
    expect(provisioner.kernel.received).toEqual([]);
  });

  test("a start, an adoption and a second restart are refused", async () => {
    const { session, provisioner, kernel, restart } = await restarting();
    const running = { reason: "session_running" };
    await expect(session.start()).rejects.toMatchObject(running);
    const connection = await provisioner.reserve();
    await expect(session.adopt(connection)).rejects.toMatchObject(running);
    await expect(session.restart({})).rejects.toMatchObject({
      reason: "restart_failed",
    });
    kernel.die(0);
    await restart;
    expect(session.status).toBe("idle");
  });

  test("a kill ends the old kernel, and the new one runs the waiting requests", async () => {
    const { session, provisioner, restart } = await restarting();
    session.send(code("a"));
    await session.kill();
    await restart;
    expect(provisioner.kernel.received).toEqual(["a"]);
  });

  test.each(["shutDown", "dispose"] as const)(
    "%s: the waiting requests are aborted, and no kernel is started",
    async (end) => {
      const { session, provisioner, kernel, restart } = await restarting();
      const execution = session.execute(code("a"), undefined);
      const requested = session.request(message("complete_request"), 10_000);
      requested.catch(() => {}); // awaited below
      const ended = session[end]();
      kernel.die(0);
      await expect(restart).rejects.toMatchObject({
        reason: "restart_failed",
      });
      await ended;
      expect(execution).toMatchObject({ state: "aborted", reason: "shutdown" });
      await expect(requested).rejects.toMatchObject({
        reason: "kernel_exited",
      });
      expect(provisioner.kernels.length).toBe(1);
    },
  );

  test("a client's own shutdown_request counts too, unless it has restart", async () => {
    const asking = (restart: boolean) =>
      request(
        "shutdown_request",
        { restart },
        { session: "c", username: "", version: "5.3", channel: "control" },
      );
    const first = await restarting();
    first.session.send(asking(true));
    first.kernel.die(0);
    await first.restart;

    const second = await restarting();
    const execution = second.session.execute(code("a"), undefined);
    second.session.send(asking(false));
    second.kernel.die(0);
    await expect(second.restart).rejects.toMatchObject({
      reason: "restart_failed",
    });
    expect(execution.reason).toBe("shutdown");
  });

  test("if the new kernel does not start, waiting requests are aborted with the reason", async () => {
    const { session, provisioner, kernel, restart } = await restarting();
    const before = session.journal.last;
    const one = code("a");
    const execution = session.execute(one, undefined);
    session.send(message("comm_info_request"));
    provisioner.isSlow = true;
    kernel.die(0);
    await vi.waitUntil(() => provisioner.kernels.length === 2);
    provisioner.kernel.die(3);
    await expect(restart).rejects.toMatchObject({
      reason: "exited_during_start",
    });
    expect(execution).toMatchObject({
      state: "aborted",
      reason: "start_failed",
      reply: { evalue: expect.stringContaining("exit code 3") as string },
    });
    expect(summaryOf(session, before)).toEqual([
      "exited",
      "exited 0",
      "starting",
      "exited",
      "exited 3",
      "shell execute_reply aborted",
      "iopub status idle",
      "execution aborted",
      "shell comm_info_reply aborted",
      "iopub status idle",
    ]);
    provisioner.isSlow = false;
    await session.start();
    expect(provisioner.kernel.received).toEqual([]);
  });

  test("if the old kernel cannot be ended, waiting requests are aborted, and it continues", async () => {
    const { session, kernel } = await startedSession();
    kernel.survivesKill = true;
    const restart = session.restart({});
    const execution = session.execute(code("a"), undefined);
    await expect(restart).rejects.toMatchObject({
      reason: "process_not_found",
    });
    expect(execution.reason).toBe("start_failed");
    expect(session.status).toBe("idle");
    session.send(code("b"));
    expect(kernel.received).toEqual(["b"]);
    kernel.survivesKill = false;
  });

  test("a start under way is aborted, and the next kernel gets the waiting requests", async () => {
    const { session, provisioner } = newSession();
    provisioner.isSlow = true;
    const start = session.start();
    start.catch(() => {}); // awaited below
    session.send(code("before"));
    provisioner.isSlow = false;
    const restart = session.restart({});
    session.send(code("after"));
    await expect(start).rejects.toMatchObject({ reason: "start_failed" });
    await restart;
    expect(provisioner.kernel.received).toEqual(["before"]);
    expect(session.queue.pending.length).toBe(1);
  });
});

test("messages for a kernel that did not start do not go to the next one", async () => {
  const { session, provisioner } = newSession();
  provisioner.isSlow = true;
  const start = session.start();
  session.send(code("a"));
  session.send(message("shutdown_request", "control"));
  const requested = session.request(message("complete_request"), 10_000);
  provisioner.kernel.die(3);
  await expect(start).rejects.toMatchObject({ reason: "exited_during_start" });
  await expect(requested).rejects.toMatchObject({ reason: "kernel_exited" });
  provisioner.isSlow = false;
  await session.start();
  expect(provisioner.kernel.received).toEqual(["a"]);
});

test("a kernel that is shut down is busy until it is gone", async () => {
  const { session, kernel } = await startedSession();
  kernel.ignoresShutdown = true;
  const before = session.journal.last;
  const end = session.shutDown();
  kernel.run(message("complete_request"));
  expect(session.status).toBe("busy");
  kernel.die(0);
  await end;
  expect(
    summaryOf(session, before).filter((what) => !what.startsWith("shell")),
  ).toEqual([
    "busy",
    "iopub status busy",
    "iopub status idle",
    "exited",
    "exited 0",
  ]);
});

describe("clients that are attached when a session ends", () => {
  test("receive all messages, and then its end", async () => {
    const { session } = await startedSession();
    const numbers: number[] = [];
    const reader = (async () => {
      const { signal } = new AbortController();
      for await (const reading of session.journal.follow(0, signal)) {
        if ("gap" in reading) throw new Error("a gap");
        numbers.push(...[...reading.entries].map(({ seq }) => seq));
        expect(session.ended.aborted).toBe(false);
      }
    })();
    await session.dispose("the server ends");
    await reader;
    expect(session.closeReason).toBe("the server ends");
    expect(numbers.length).toBe(session.journal.last);
    expect(summaryOf(session).slice(-2)).toEqual(["exited", "exited 0"]);
  });

  test("delay it by at most two seconds", async () => {
    vi.useFakeTimers();
    const { session } = await startedSession();
    const slow = session.journal.follow(0, new AbortController().signal);
    await slow.next(); // and reads nothing more
    let isOver = false;
    const end = session.dispose().then(() => (isOver = true));
    await vi.advanceTimersByTimeAsync(1_999);
    expect(isOver).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    await end;
    expect(session.ended.aborted).toBe(true);
    await slow.return();
  });

  test("receive the answers to the waiting requests", async () => {
    const { session } = newSession();
    const execution = session.execute(code("a"), undefined);
    await session.dispose();
    expect(execution).toMatchObject({ state: "aborted", reason: "shutdown" });
    await expect(session.start()).rejects.toMatchObject({
      reason: "session_not_found",
    });
  });
});

describe("messages", () => {
  test("messages sent before the start wait, and are sent in order", async () => {
    const { session, provisioner } = newSession();
    for (const one of [message("complete_request"), message("comm_msg")]) {
      session.send(one);
    }
    await session.start();
    session.send(message("inspect_request"));
    expect(provisioner.kernel.received).toEqual([
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
    expect(provisioner.kernel.received).toEqual(["debug_request"]);
  });

  test("a repeated message is sent once", async () => {
    const { session, kernel } = await startedSession();
    const one = message("comm_msg");
    expect([session.send(one), session.send(one)]).toEqual([true, false]);
    expect(kernel.received).toEqual(["comm_msg"]);
  });

  test("a refused message may be sent again", async () => {
    const { session, kernel } = await startedSession();
    const one = code("a");
    kernel.refusesMessages = true;
    expect(() => session.send(one)).toThrow(
      expect.objectContaining({ reason: "kernel_unreachable" }),
    );
    kernel.refusesMessages = false;
    expect(session.send(one)).toBe(true);
    expect(kernel.received).toEqual(["a"]);
  });

  test("a request resolves with its reply", async () => {
    const { session, kernel } = await startedSession();
    const one = message("complete_request");
    const requested = session.request(one, 1000);
    kernel.reply(one, { status: "ok", matches: ["a"] });
    expect((await requested).content).toMatchObject({ matches: ["a"] });
  });

  test("a request fails when the kernel exits", async () => {
    const { session, kernel } = await startedSession();
    const requested = session.request(message("complete_request"), 1000);
    kernel.die();
    await expect(requested).rejects.toMatchObject({ reason: "kernel_exited" });
  });

  test("a request with an input request has no reply yet", async () => {
    const { session, kernel } = await startedSession();
    const one = code("input()");
    const requested = session.request(one, 1000);
    kernel.busy(one);
    kernel.ask(one, "?");
    kernel.reply(one);
    expect((await requested).msg_type).toBe("execute_reply");
  });

  test("a request without an answer fails at the timeout", async () => {
    vi.useFakeTimers();
    const { session } = await startedSession();
    const requested = session.request(message("complete_request"), 1000);
    const failed = expect(requested).rejects.toMatchObject({
      reason: "no_answer",
    });
    await vi.advanceTimersByTimeAsync(1000);
    await failed;
  });
});

describe("the queue", () => {
  test("the next request is sent when the first is over", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    session.send(a);
    session.send(b);
    expect(kernel.received).toEqual(["a"]);
    kernel.run(a);
    expect(kernel.received).toEqual(["a", "b"]);
  });

  test("an idle that arrives before the reply does not advance it alone", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    session.send(a);
    session.send(b);
    kernel.busy(a);
    kernel.idle(a);
    expect(kernel.received).toEqual(["a"]);
    kernel.reply(a);
    expect(kernel.received).toEqual(["a", "b"]);
  });

  test("the idle of another request does not advance it", async () => {
    const { session, kernel } = await startedSession();
    const other = message("complete_request");
    for (const one of [code("a"), code("b"), other]) session.send(one);
    kernel.busy(other);
    kernel.reply(other);
    kernel.idle(other);
    expect(kernel.received).toEqual(["a", "complete_request"]);
  });

  test.each(["idle", "reply"] as const)(
    "a kernel that sends only %s does not block the queue for long",
    async (sign) => {
      vi.useFakeTimers();
      const { session, kernel } = await startedSession();
      const [a, b] = [code("a"), code("b")];
      session.send(a);
      session.send(b);
      kernel[sign](a);
      expect(kernel.received).toEqual(["a"]);
      await vi.advanceTimersByTimeAsync(2000);
      expect(kernel.received).toEqual(["a", "b"]);
    },
  );

  test("an interrupt drops the waiting requests, which are answered as aborted", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    session.send(a);
    session.send(b);
    kernel.busy(a);
    const before = session.journal.last;
    await session.interrupt();
    expect(kernel.interrupts).toBe(1);
    expect(summaryOf(session, before)).toEqual([
      "shell execute_reply aborted",
      "iopub status idle",
      "execution aborted",
    ]);
    kernel.fail(a, "KeyboardInterrupt");
    expect(kernel.received).toEqual(["a"]);
  });

  test.each(["interrupt_request", "shutdown_request"])(
    "an %s of a client drops the waiting requests",
    async (msg_type) => {
      const { session, kernel } = await startedSession();
      for (const one of [code("a"), code("b")]) session.send(one);
      session.send(message(msg_type, "control"));
      expect(session.queue.pending).toEqual([]);
      expect(kernel.received).toEqual(["a", msg_type]);
    },
  );

  test("a kernel that dies leaves no request unanswered", async () => {
    const { session, kernel } = await startedSession();
    for (const one of [code("a"), code("b")]) session.send(one);
    const before = session.journal.last;
    kernel.die(1);
    expect(summaryOf(session, before)).toEqual([
      "shell execute_reply aborted",
      "iopub status idle",
      "execution aborted",
      "shell execute_reply aborted",
      "iopub status idle",
      "execution aborted",
      "exited",
      "exited 1",
    ]);
    expect(session.queue.active).toBeUndefined();
  });

  test("requests that were answered before the kernel died are not answered again", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    session.send(a);
    kernel.busy(a);
    kernel.reply(a);
    const before = session.journal.last;
    kernel.die(1);
    expect(summaryOf(session, before)).toEqual([
      "execution done",
      "exited",
      "exited 1",
    ]);
  });

  test("requests that cannot be sent when their turn comes are answered", async () => {
    const { session, kernel } = await startedSession();
    const [a, b, c] = [code("a"), code("b"), code("c")];
    for (const one of [a, b, c]) session.send(one);
    kernel.refusesMessages = true;
    kernel.run(a);
    expect(session.queue.pending).toEqual([]);
    expect(
      [b, c].map(({ header }) => session.executions.get(header.msg_id).reason),
    ).toEqual(["not_sent", "not_sent"]);
  });
});

describe("a port of the kernel", () => {
  test("is reached through the session while the kernel runs", async () => {
    const { session, kernel } = await startedSession();
    const connection = new PassThrough();
    const asked: number[] = [];
    kernel.place = (port) => {
      asked.push(port);
      return Promise.resolve(connection);
    };
    expect(await session.forward(8888)).toBe(connection);
    expect(asked).toEqual([8888]);
    kernel.die(0);
    await expect(session.forward(8888)).rejects.toMatchObject({
      reason: "session_not_running",
    });
  });
});

describe("the limits", () => {
  test("that the kernel refuses stay as they were, and those of a kernel that starts cannot be changed", async () => {
    const { session, kernel, provisioner } = await startedSession();
    await session.setLimits({ run_time_s: 60 });
    await expect(
      session.setLimits({ cpus: 1, run_time_s: 1 }),
    ).rejects.toMatchObject({ reason: "bad_configuration" });
    const limits = { memory_bytes: null, cpus: null, run_time_s: 60 };
    expect(session.limits).toEqual(limits);
    expect(kernel.limits).toEqual([{ run_time_s: 60 }]);
    kernel.die(0);
    provisioner.isSlow = true;
    const start = session.start();
    await expect(session.setLimits({ run_time_s: 1 })).rejects.toThrow(
      "cannot be changed while its kernel starts",
    );
    provisioner.kernel.answer();
    await start;
    expect(provisioner.recipes.at(-1)?.limits).toEqual(limits);
  });
});
