import { afterEach, describe, expect, test, vi } from "vitest";
import type { OwnEvent } from "../../../contract/index.ts";
import type { Entry } from "../../../src/journal/entry.ts";
import type { Message } from "../../../src/jupyter/message.ts";
import { collect } from "../../../src/session/executions/collect.ts";
import { eventsOf, pastOf } from "../../../src/session/executions/events.ts";
import { Execution } from "../../../src/session/executions/execution.ts";
import { Executions } from "../../../src/session/executions/executions.ts";
import { outputsIn } from "../../../src/session/executions/outputs.ts";
import type { Session } from "../../../src/session/session.ts";
import { describeSnapshot } from "../../../src/server/answers/describe-snapshot.ts";
import {
  code,
  type FakeKernel,
  message,
  newSession,
  summaryOf,
  startedSession,
  entriesIn,
} from "../fake-kernel.ts";

afterEach(() => void vi.useRealTimers());

function send(session: Session, request: Message): Execution {
  session.send(request);
  return session.executions.get(request.header.msg_id);
}

const forever = new AbortController().signal;

describe("an execution's states", () => {
  test("it is queued, runs and is done", async () => {
    const { session, provisioner } = newSession();
    const a = code("a");
    const execution = send(session, a);
    expect(execution.state).toBe("queued");
    await session.start();
    expect(execution.state).toBe("running");
    provisioner.kernel.run(a, 7);
    expect(execution).toMatchObject({
      state: "done",
      isOver: true,
      reply: { execution_count: 7 },
    });
  });

  test("it is queued until it is sent", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    const [first, second] = [send(session, a), send(session, b)];
    expect([first.state, second.state]).toEqual(["running", "queued"]);
    kernel.run(a);
    expect([first.state, second.state]).toEqual(["done", "running"]);
  });

  test("code that raises has failed, and the waiting requests are aborted", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    const [first, second] = [send(session, a), send(session, b)];
    kernel.fail(a);
    expect(first).toMatchObject({ state: "failed", reason: undefined });
    expect(second).toMatchObject({
      state: "aborted",
      reason: "earlier_failure",
      reply: { status: "aborted", reason: "earlier_failure" },
      startedAt: undefined,
    });
  });

  test.each([
    ["ok", "done"],
    ["error", "failed"],
    ["aborted", "aborted"],
    ["abort", "aborted"],
  ])("a reply with %s: %s", async (status, state) => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.reply(a, { status });
    kernel.idle(a);
    expect(execution.state).toBe(state);
  });

  test.each([
    ["ok", "done"],
    ["error", "interrupted"],
    ["aborted", "interrupted"],
    ["abort", "interrupted"],
  ])("after an interrupt, a reply with %s: %s", async (status, state) => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.print("it runs", a);
    await session.interrupt();
    kernel.reply(a, { status });
    kernel.idle(a);
    expect(execution.state).toBe(state);
  });

  test("an interrupt request that a client sends to the kernel counts too", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    session.send(message("interrupt_request", "control"));
    kernel.fail(a);
    expect(execution.state).toBe("interrupted");
  });

  test("after an interrupt that did not reach the kernel, a failure is a failure", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.print("it runs", a);
    kernel.refusesInterrupts = true;
    await expect(session.interrupt()).rejects.toMatchObject({
      reason: "interrupt_failed",
    });
    kernel.fail(a);
    expect(execution.state).toBe("failed");
  });

  test("a kernel that exits aborts the running and the waiting requests, with the reason", async () => {
    const { session, kernel } = await startedSession();
    const executions = [code("a"), code("b")].map((one) => send(session, one));
    kernel.die(1);
    for (const execution of executions) {
      expect(execution).toMatchObject({
        state: "aborted",
        reason: "kernel_exited",
        reply: {
          status: "aborted",
          reason: "kernel_exited",
          ename: "KernelExited",
        },
      });
    }
  });

  test("the reply of the code that ran tells the user why its kernel is gone", async () => {
    const { session, kernel } = await startedSession();
    const [ran, waited] = [code("a"), code("b")].map((one) =>
      send(session, one),
    );
    kernel.die(1);
    expect(ran?.reply).toMatchObject({
      kernel_notice: "The kernel died: exit code 1",
    });
    expect(waited?.reply).not.toHaveProperty("kernel_notice");
  });

  test("requests that were answered before the kernel died keep their result", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.reply(a);
    kernel.die(1);
    expect(execution.state).toBe("done");
  });

  test("a restart aborts the waiting requests", async () => {
    const { session } = await startedSession();
    const [first, second] = [code("a"), code("b")].map((one) =>
      send(session, one),
    );
    await session.restart({});
    expect(first).toMatchObject({ state: "aborted", reason: "kernel_exited" });
    expect(second).toMatchObject({ state: "aborted", reason: "shutdown" });
  });

  test("requests that wait for a kernel survive a start that fails", async () => {
    const { session, provisioner } = newSession();
    const a = code("a");
    const execution = send(session, a);
    provisioner.isSlow = true;
    const start = session.start();
    provisioner.kernel.die(1);
    await expect(start).rejects.toThrow();
    expect(execution.state).toBe("queued");
    provisioner.isSlow = false;
    await session.start();
    provisioner.kernel.run(a);
    expect(execution.state).toBe("done");
  });

  test.each([
    ["idle", "done"],
    ["reply", "done"],
  ] as const)(
    "a kernel that sends only %s ends it too: %s",
    async (sign, state) => {
      vi.useFakeTimers();
      const { session, kernel } = await startedSession();
      const a = code("a");
      const execution = send(session, a);
      kernel[sign](a);
      expect(execution.isOver).toBe(false);
      await vi.advanceTimersByTimeAsync(2000);
      expect(execution.state).toBe(state);
    },
  );

  test("a reply that overtakes outputs does not end it before they have arrived", async () => {
    vi.useFakeTimers();
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.reply(a);
    for (let n = 1; n <= 5; n += 1) {
      await vi.advanceTimersByTimeAsync(1500);
      kernel.emit("stream", { name: "stdout", text: String(n) }, a);
      expect(execution.isOver).toBe(false);
    }
    kernel.idle(a);
    expect(execution.state).toBe("done");
  });

  test("a message that is being received delays the end, a minute at most", async () => {
    vi.useFakeTimers();
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    const first = send(session, a);
    kernel.sends = true;
    kernel.reply(a);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(first.isOver).toBe(false);
    kernel.emit("stream", { name: "stdout", text: "large" }, a);
    kernel.idle(a);
    expect(first.state).toBe("done");
    expect(first.outputBytes).toBeGreaterThan(0);

    const second = send(session, b);
    kernel.reply(b);
    await vi.advanceTimersByTimeAsync(58_000);
    expect(second.isOver).toBe(false);
    await vi.advanceTimersByTimeAsync(4_000);
    expect(second.state).toBe("done");
  });

  test("output of a thread does not keep an execution without idle open for ever", async () => {
    vi.useFakeTimers();
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.reply(a);
    for (let second = 1; second <= 63; second += 1) {
      kernel.emit("stream", { name: "stdout", text: "." }, a);
      await vi.advanceTimersByTimeAsync(1000);
    }
    expect(execution.state).toBe("done");
  });

  test("an error without a reply has failed", async () => {
    vi.useFakeTimers();
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.emit("error", { ename: "", evalue: "", traceback: [] }, a);
    kernel.idle(a);
    await vi.advanceTimersByTimeAsync(2000);
    expect(execution.state).toBe("failed");
  });

  test("a request that the kernel does not accept is not an execution", async () => {
    const { session, kernel } = await startedSession();
    kernel.refusesMessages = true;
    const a = code("a");
    expect(() => session.send(a)).toThrow();
    expect([...session.executions]).toEqual([]);
  });
});

describe("a subshell's execution", () => {
  function inSubshell(text: string): Message {
    const request = code(text);
    return { ...request, header: { ...request.header, subshell_id: "1" } };
  }

  test("it runs beside the main shell", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), inSubshell("b")];
    const [main, sub] = [send(session, a), send(session, b)];
    expect([main.state, sub.state]).toEqual(["running", "running"]);
    kernel.run(b);
    expect([main.state, sub.state]).toEqual(["running", "done"]);
  });

  test("an interrupt does not reach it", async () => {
    const { session, kernel } = await startedSession();
    const b = inSubshell("b");
    const sub = send(session, b);
    await expect(session.interruptExecution(sub)).rejects.toMatchObject({
      reason: "execution_state",
    });
    await session.interrupt();
    kernel.fail(b);
    expect(sub.state).toBe("failed");
  });

  test("it is answered when the kernel exits", async () => {
    const { session, kernel } = await startedSession();
    const sub = send(session, inSubshell("b"));
    const before = session.journal.last;
    kernel.die(1);
    expect(sub).toMatchObject({ state: "aborted", reason: "kernel_exited" });
    expect(summaryOf(session, before)[0]).toBe("shell execute_reply aborted");
  });
});

describe("input", () => {
  test("it waits for input, and continues after the answer", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    const question = kernel.ask(a, "name?");
    expect(execution.state).toBe("waiting_for_input");
    session.answer(execution, { value: "Ada" });
    expect(execution.state).toBe("running");
    const answer = kernel.sent.at(-1);
    expect(answer).toMatchObject({
      channel: "stdin",
      parent_header: { msg_id: question.header.msg_id },
    });
    expect(Buffer.from(answer?.raw.content ?? "").toString()).toBe(
      '{"value":"Ada"}',
    );
  });

  test("a second answer is refused", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.ask(a, "name?");
    session.answer(execution, { value: "Ada" });
    expect(() => session.answer(execution, { value: "Bob" })).toThrow(
      expect.objectContaining({ reason: "execution_state" }),
    );
  });

  test("a repeated answer is given once", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.ask(a, "name?");
    const answer = { value: "Ada", answer_id: "1" };
    session.answer(execution, answer);
    const sent = kernel.sent.length;
    kernel.ask(a, "password?");
    session.answer(execution, answer);
    expect(kernel.sent.length).toBe(sent);
    expect(kernel.sent.at(-1)?.header.msg_id).toBe("1");
    expect(execution.state).toBe("waiting_for_input");
  });

  test("an answer to an earlier input request is refused", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    const name = kernel.ask(a, "name?").header.msg_id;
    session.answer(execution, { value: "Ada" });
    const password = kernel.ask(a, "password?").header.msg_id;
    const answer = { value: "Bob", input_request_id: name };
    expect(() => session.answer(execution, answer)).toThrow(
      expect.objectContaining({ reason: "execution_state" }),
    );
    session.answer(execution, { value: "x", input_request_id: password });
    expect(execution.state).toBe("running");
  });

  test.each([
    ["that names its request", true],
    ["without a parent, as jupyter_client sends it,", false],
  ])("an answer over a channel %s counts", async (_, hasParent) => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    const { header } = kernel.ask(a, "name?");
    session.send({
      ...message("input_reply"),
      channel: "stdin",
      parent_header: hasParent ? header : undefined,
    });
    expect(execution.state).toBe("running");
  });

  test.each([
    ["an interrupt", (session: Session) => session.interrupt()],
    ["a kill", (session: Session) => session.kill()],
  ])("%s clears the input request", async (_, end) => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.ask(a, "name?");
    expect(describeSnapshot(session).input_request).not.toBeNull();
    await end(session);
    expect(execution.input).toBeUndefined();
    expect(describeSnapshot(session).input_request).toBeNull();
  });
});

describe("ending an execution", () => {
  test("a cancelled execution is answered, and never sent", async () => {
    const { session, kernel } = await startedSession();
    const [a, b, c] = [code("a"), code("b"), code("c")];
    const [, second, third] = [a, b, c].map((one) => send(session, one));
    if (second === undefined) throw new Error("Not accepted");
    const before = session.journal.last;
    session.cancel(second);
    expect(second).toMatchObject({ state: "aborted", reason: "cancelled" });
    expect(summaryOf(session, before)).toEqual([
      "shell execute_reply aborted",
      "iopub status idle",
      "execution aborted",
    ]);
    kernel.run(a);
    expect(kernel.received).toEqual(["a", "c"]);
    expect(third?.state).toBe("running");
  });

  test("an execution that waits for a kernel can be cancelled", async () => {
    const { session, provisioner } = newSession();
    const execution = send(session, code("a"));
    session.cancel(execution);
    await session.start();
    expect(execution.state).toBe("aborted");
    expect(provisioner.kernel.received).toEqual([]);
  });

  test("a running execution cannot be cancelled", async () => {
    const { session } = await startedSession();
    const execution = send(session, code("a"));
    expect(() => session.cancel(execution)).toThrow(
      expect.objectContaining({ reason: "execution_state" }),
    );
  });

  test("a waiting execution cannot be interrupted", async () => {
    const { session, kernel } = await startedSession();
    send(session, code("a"));
    const second = send(session, code("b"));
    await expect(session.interruptExecution(second)).rejects.toMatchObject({
      reason: "execution_state",
    });
    expect(kernel.interrupts).toBe(0);
  });

  test("after an interrupt that did not reach the kernel, a failure is a failure", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.print("it runs", a);
    kernel.refusesInterrupts = true;
    await expect(session.interruptExecution(execution)).rejects.toMatchObject({
      reason: "interrupt_failed",
    });
    kernel.fail(a);
    expect(execution.state).toBe("failed");
  });

  test("an interrupt drops other requests only if the code fails", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a", { stop_on_error: false }), code("b")];
    const [first, second] = [send(session, a), send(session, b)];
    kernel.print("it runs", a);
    await session.interruptExecution(first);
    expect(second.state).toBe("queued");
    kernel.fail(a);
    expect([first.state, second.state]).toEqual(["interrupted", "running"]);
  });

  test.each([
    [
      "one execution",
      (session: Session, execution: Execution) =>
        session.interruptExecution(execution),
    ],
    ["the session", (session: Session) => session.interrupt()],
  ])(
    "requests after an interrupt of %s are not dropped if the code fails",
    async (_, interrupt) => {
      const { session, kernel } = await startedSession();
      const [a, b, c] = [code("a"), code("b"), code("c")];
      const [first, before] = [send(session, a), send(session, b)];
      kernel.print("it runs", a);
      await interrupt(session, first);
      const after = send(session, c);
      kernel.fail(a);
      expect(first.state).toBe("interrupted");
      expect(before.state).toBe("aborted");
      expect(after.state).toBe("running");
      // Its own failure drops the requests behind it, as usual.
      const last = send(session, code("d"));
      kernel.fail(c);
      expect([after.state, last.state]).toEqual(["failed", "aborted"]);
    },
  );

  const interrupts = [
    [
      "that execution's",
      (session: Session, execution: Execution) =>
        session.interruptExecution(execution),
    ],
    ["the session's", (session: Session) => session.interrupt()],
  ] as const;
  test.each(interrupts)(
    "%s interrupt waits until the kernel runs the code",
    async (_, interrupt) => {
      vi.useFakeTimers();
      const { session, kernel } = await startedSession();
      const a = code("a");
      const interrupted = interrupt(session, send(session, a));
      await vi.advanceTimersByTimeAsync(500);
      kernel.busy(a);
      kernel.emit("execute_input", { code: "a", execution_count: 1 }, a);
      await vi.advanceTimersByTimeAsync(99);
      expect(kernel.interrupts).toBe(0);
      await vi.advanceTimersByTimeAsync(1);
      await interrupted;
      expect(kernel.interrupts).toBe(1);
    },
  );

  test.each(interrupts)(
    "%s interrupt waits at most a second for a silent kernel",
    async (_, interrupt) => {
      vi.useFakeTimers();
      const { session, kernel } = await startedSession();
      const interrupted = interrupt(session, send(session, code("a")));
      await vi.advanceTimersByTimeAsync(999);
      expect(kernel.interrupts).toBe(0);
      await vi.advanceTimersByTimeAsync(1);
      await interrupted;
      expect(kernel.interrupts).toBe(1);
    },
  );

  test.each(interrupts)(
    "%s interrupt before the code began is sent once more when it begins",
    async (_, interrupt) => {
      vi.useFakeTimers();
      const { session, kernel } = await startedSession();
      const [a, b, c] = [code("a"), code("b"), code("c")];
      const execution = send(session, a);
      const interrupted = [
        interrupt(session, execution),
        interrupt(session, execution),
      ];
      await vi.advanceTimersByTimeAsync(5_000);
      await Promise.all(interrupted);
      expect(kernel.interrupts).toBe(2);
      kernel.busy(a);
      await vi.advanceTimersByTimeAsync(100);
      expect(kernel.interrupts).toBe(3);
      kernel.fail(a);
      expect(execution.state).toBe("interrupted");

      const next = interrupt(session, send(session, b));
      await vi.advanceTimersByTimeAsync(1_000);
      await next;
      kernel.run(b); // it ended before the interrupt could reach it
      await vi.advanceTimersByTimeAsync(1_000);
      expect(kernel.interrupts).toBe(4);

      const last = interrupt(session, send(session, c));
      await vi.advanceTimersByTimeAsync(1_000);
      await last;
      kernel.busy(c);
      kernel.emit("error", { ename: "", evalue: "", traceback: [] }, c);
      await vi.advanceTimersByTimeAsync(1_000);
      expect(kernel.interrupts).toBe(5); // the first interrupt arrived after all
    },
  );

  test.each(interrupts)(
    "%s interrupt does not affect the code after code that ended before it",
    async (_, interrupt) => {
      const { session, kernel } = await startedSession();
      const a = code("a");
      const interrupted = interrupt(session, send(session, a));
      kernel.run(a);
      send(session, code("b"));
      await interrupted;
      expect(kernel.interrupts).toBe(0);
    },
  );

  test("a running execution is interrupted at its deadline", async () => {
    vi.useFakeTimers();
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = session.execute(a, 1000);
    kernel.print("it runs", a);
    await vi.advanceTimersByTimeAsync(1000);
    expect(kernel.interrupts).toBe(1);
    kernel.fail(a);
    expect(execution).toMatchObject({
      state: "interrupted",
      reason: "deadline",
    });
  });

  test("a waiting execution leaves the queue at its deadline, and no other is interrupted", async () => {
    vi.useFakeTimers();
    const { session, kernel } = await startedSession();
    const first = send(session, code("a"));
    const execution = session.execute(code("b"), 1000);
    await vi.advanceTimersByTimeAsync(1000);
    expect(execution).toMatchObject({ state: "aborted", reason: "deadline" });
    expect(first.state).toBe("running");
    expect(kernel.interrupts).toBe(0);
  });

  test("an execution that ended in time is not interrupted later", async () => {
    vi.useFakeTimers();
    const { session, kernel } = await startedSession();
    const a = code("a");
    session.execute(a, 1000);
    kernel.run(a);
    await vi.advanceTimersByTimeAsync(1000);
    expect(kernel.interrupts).toBe(0);
  });

  test("a repeated request with the same id returns the same execution", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    expect(session.execute(a, undefined)).toBe(session.execute(a, undefined));
    expect(kernel.received).toEqual(["a"]);
  });
});

describe("the history", () => {
  test("the last ended executions are kept", async () => {
    const { session, kernel } = await startedSession();
    const waiting = code("waiting", { stop_on_error: false });
    for (let i = 1; i <= 103; i += 1) {
      const one = code(String(i));
      session.send(one);
      kernel.run(one);
    }
    session.send(waiting);
    const kept = [...session.executions];
    expect(kept.length).toBe(101);
    expect(session.executions.forgotten).toBe(3);
    expect(kept.at(-1)?.request).toBe(waiting);
  });

  test("large requests are dropped sooner", () => {
    const executions = new Executions({ executions: 10, bytes: 1000 });
    const all = ["a", "b"].map(
      (text) =>
        new Execution(code(text.repeat(900)), {
          after: 0,
          deadline_ms: undefined,
          onEnd: () => {},
          onDeadline: () => {},
          isReceiving: () => Promise.resolve(false),
        }),
    );
    for (const one of all) {
      executions.add(one);
      executions.ended(one);
    }
    expect([...executions]).toEqual([all[1]]);
  });

  test("late output counts, and changes no state", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.run(a);
    kernel.emit("stream", { name: "stdout", text: "late" }, a);
    expect(execution.state).toBe("done");
    expect(execution.lastSeq).toBe(session.journal.last);
    expect(execution.counts.get("stream")).toBe(1);
  });
});

/** The execution whose events are read: sent after `first`, which runs. */
type Story = (world: {
  session: Session;
  kernel: FakeKernel;
  first: Message;
  second: Message;
}) => void | Promise<void>;

describe("the events of an execution in the journal", () => {
  const stories: readonly [string, Story, string[]][] = [
    [
      "that runs to its end",
      ({ kernel, first, second }) => {
        kernel.run(first);
        kernel.run(second);
      },
      ["queued", "running", "done"],
    ],
    [
      "that raises",
      ({ kernel, first, second }) => {
        kernel.run(first);
        kernel.fail(second);
      },
      ["queued", "running", "failed"],
    ],
    [
      "that asks",
      ({ kernel, session, first, second }) => {
        kernel.run(first);
        kernel.emit("input_request", { prompt: "?" }, second, "stdin");
        const execution = session.executions.get(second.header.msg_id);
        expect(execution.state).toBe("waiting_for_input");
        session.answer(execution, { value: "yes" });
        kernel.run(second);
      },
      ["queued", "running", "done"],
    ],
    [
      "that is interrupted",
      async ({ kernel, session, first, second }) => {
        kernel.run(first);
        kernel.busy(second);
        kernel.print("begun", second);
        await session.interruptExecution(
          session.executions.get(second.header.msg_id),
        );
        kernel.fail(second, "KeyboardInterrupt");
      },
      ["queued", "running", "interrupted interrupt"],
    ],
    [
      "that is cancelled",
      ({ session, second }) => {
        session.cancel(session.executions.get(second.header.msg_id));
      },
      ["queued", "aborted cancelled"],
    ],
    [
      "that is dropped for a failure before it",
      ({ kernel, first }) => {
        kernel.fail(first);
      },
      ["queued", "aborted earlier_failure"],
    ],
    [
      "whose kernel dies while it waits",
      ({ kernel }) => {
        kernel.die(1);
      },
      ["queued", "aborted kernel_exited"],
    ],
    [
      "whose kernel dies while it runs",
      ({ kernel, first }) => {
        kernel.run(first);
        kernel.die(1);
      },
      ["queued", "running", "aborted kernel_exited"],
    ],
    [
      "whose kernel dies after its idle and before its reply",
      ({ kernel, first, second }) => {
        kernel.run(first);
        kernel.busy(second);
        kernel.idle(second);
        kernel.die(1);
      },
      ["queued", "running", "aborted kernel_exited"],
    ],
    [
      "that cannot be sent",
      ({ kernel, first }) => {
        kernel.refusesMessages = true;
        kernel.run(first);
      },
      ["queued", "aborted not_sent"],
    ],
  ];

  test.each(stories)("one %s", async (_, story, states) => {
    const { session, kernel } = await startedSession();
    const [first, second] = [code("a"), code("b")];
    for (const one of [first, second]) session.send(one);
    await story({ session, kernel, first, second });
    const { id } = session.executions.get(second.header.msg_id);
    const entries = entriesOf(session, id);
    const events = entries.flatMap((entry) =>
      entry.isEvent && entry.event.kind === "execution" ? [entry] : [],
    );
    expect(events.map(({ event }) => named(event))).toEqual(states);
    const [{ seq: first_seq } = { seq: 0 }] = entries;
    expect(events.map(({ event }) => event)).toMatchObject(
      events.map(({ seq }) => ({ first_seq, last_seq: seq })),
    );
    expect(entries.at(-1)).toBe(events.at(-1));
    const execution = session.executions.get(id);
    expect(execution).toMatchObject({
      firstSeq: first_seq,
      lastSeq: events.at(-1)?.seq,
      endSeq: events.at(-1)?.seq,
    });
  });

  test("one that waits for a kernel is reported when it is sent", async () => {
    const { session, provisioner } = newSession();
    const a = code("a");
    const execution = send(session, a);
    expect([summaryOf(session), execution.state]).toEqual([[], "queued"]);
    await session.start();
    provisioner.kernel.run(a);
    expect(
      summaryOf(session).filter((one) => one.startsWith("execution")),
    ).toEqual(["execution running", "execution done"]);
  });

  test("the next one runs after the end of the one before is reported", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    for (const one of [a, b]) session.send(one);
    kernel.run(a);
    expect(summaryOf(session).slice(-2)).toEqual([
      "execution done",
      "execution running",
    ]);
  });
});

/** The journal's entries of an execution. */
function entriesOf(session: Session, id: string): readonly Entry[] {
  return entriesIn(session).filter((entry) =>
    entry.isEvent
      ? entry.event.kind === "execution" && entry.event.execution_id === id
      : entry.parent_id === id,
  );
}

function named(event: OwnEvent): string {
  if (event.kind !== "execution") return event.kind;
  const { state, reason } = event;
  return reason === null ? state : `${state} ${reason}`;
}

describe("the events of one execution", () => {
  async function types(
    session: Session,
    execution: Execution,
    after?: number,
  ): Promise<string[]> {
    const kinds: string[] = [];
    const readings = eventsOf(execution, session.journal, {
      signals: [forever],
      after,
    });
    for await (const reading of readings) {
      if ("gap" in reading) kinds.push("gap");
      else
        for (const entry of reading.entries) {
          kinds.push(entry.isEvent ? named(entry.event) : entry.msg_type);
        }
    }
    return kinds;
  }

  test("a follower gets only these, from the beginning to the end", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    session.send(a);
    const execution = send(session, b);
    const following = types(session, execution);
    kernel.emit("stream", { name: "stdout", text: "not its own" }, a);
    kernel.run(a);
    kernel.emit("stream", { name: "stdout", text: "its own" }, b);
    kernel.run(b);
    const all = [
      "queued",
      "running",
      "stream",
      "status",
      "execute_reply",
      "status",
      "done",
    ];
    expect(await following).toEqual(all);
    expect(await types(session, execution)).toEqual(all);
  });

  test("a follower that returns gets the rest", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.busy(a);
    const seen = session.journal.last;
    kernel.reply(a);
    kernel.idle(a);
    expect(await types(session, execution, seen)).toEqual([
      "execute_reply",
      "status",
      "done",
    ]);
    expect(await types(session, execution, execution.endSeq)).toEqual([]);
  });

  test("output of a thread after the end is only in the outputs", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    const execution = send(session, a);
    kernel.run(a);
    session.send(b);
    const following = types(session, execution);
    kernel.print("late", a);
    kernel.run(b);
    const all = ["running", "status", "execute_reply", "status", "done"];
    expect(await following).toEqual(all);
    expect(await types(session, execution)).toEqual(all);
    expect(execution.lastSeq).toBeGreaterThan(execution.endSeq ?? Infinity);
    const past = pastOf(execution, session.journal, forever);
    const { outputs } = await outputsIn(past, execution.id);
    expect(outputs).toMatchObject([{ text: "late" }]);
  });

  test("a follower gets the end that a forgetful kernel does not report", async () => {
    vi.useFakeTimers();
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    const following = types(session, execution);
    kernel.reply(a);
    await vi.advanceTimersByTimeAsync(2000);
    expect(await following).toEqual(["running", "execute_reply", "done"]);
  });

  test("a session is idle again although its kernel did not report it", async () => {
    vi.useFakeTimers();
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    for (const one of [a, b]) session.send(one);
    kernel.busy(a);
    kernel.reply(a);
    await vi.advanceTimersByTimeAsync(2000);
    expect(session.status).toBe("busy"); // with b, which has sent no message yet
    kernel.busy(b);
    kernel.reply(b);
    await vi.advanceTimersByTimeAsync(2000);
    expect(session.status).toBe("idle");
  });

  test("a follower gets a gap for entries that are no longer kept", async () => {
    const { session, provisioner } = newSession({ memory: 1000 });
    await session.start();
    const { kernel } = provisioner;
    const a = code("a");
    const execution = send(session, a);
    for (let i = 0; i < 10; i += 1) {
      kernel.emit("stream", { name: "stdout", text: "x".repeat(100) }, a);
    }
    kernel.run(a);
    expect((await types(session, execution))[0]).toBe("gap");
  });

  test("outputs have the form of a notebook, with later changes by other executions", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    const execution = send(session, a);
    const show = (text: string) => ({
      data: { "text/plain": text },
      metadata: {},
      transient: { display_id: "d" },
    });
    kernel.emit("stream", { name: "stdout", text: "1" }, a);
    kernel.emit("stream", { name: "stdout", text: "2" }, a);
    kernel.emit("display_data", show("before"), a);
    kernel.run(a);
    session.send(b);
    kernel.emit("update_display_data", show("after"), b);
    kernel.run(b);
    const past = pastOf(execution, session.journal, forever);
    const { outputs } = await outputsIn(past, execution.id);
    expect(outputs).toEqual([
      { output_type: "stream", name: "stdout", text: "12" },
      {
        output_type: "display_data",
        data: { "text/plain": "after" },
        metadata: {},
      },
    ]);
  });

  test("cleared outputs are removed when the next output arrives", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    const execution = send(session, a);
    kernel.emit("stream", { name: "stdout", text: "1" }, a);
    kernel.emit("clear_output", { wait: true }, a);
    kernel.emit("stream", { name: "stdout", text: "2" }, a);
    kernel.run(a);
    const { outputs } = await collect(session, execution, forever);
    expect(outputs).toEqual([
      { output_type: "stream", name: "stdout", text: "2" },
    ]);
  });

  test("a wait for a kernel that ignores interrupts ends", async () => {
    vi.useFakeTimers();
    const { session, kernel } = await startedSession();
    const a = code("a");
    const collected = collect(session, session.execute(a, 1000), forever);
    kernel.print("so far", a);
    await vi.advanceTimersByTimeAsync(6000);
    expect(await collected).toMatchObject({
      status: "timeout",
      timed_out: true,
      outputs: [{ text: "so far" }],
    });
  });
});

describe("a snapshot", () => {
  test("shows the running and waiting requests, and the number for which it is valid", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    session.send(a);
    session.send(b);
    kernel.busy(a);
    expect(describeSnapshot(session)).toMatchObject({
      seq: session.journal.last,
      status: "busy",
      kernel_info: { language_info: { name: "fake" } },
      execution: { code: "a", state: "running" },
      queue: { length: 1, active: { content: { code: "a" } } },
      input_request: null,
    });
  });

  test("contains a pending input request completely", async () => {
    const { session, kernel } = await startedSession();
    const a = code("a");
    session.send(a);
    kernel.ask(a, "name?");
    expect(describeSnapshot(session)).toMatchObject({
      execution: { state: "waiting_for_input" },
      input_request: {
        kind: "jupyter",
        channel: "stdin",
        header: { msg_type: "input_request" },
        parent_header: { msg_id: a.header.msg_id },
        content: { prompt: "name?" },
      },
    });
  });

  test("contains the present displays", async () => {
    const { session, kernel } = await startedSession();
    const show = (id: string, text: string) => ({
      data: { "text/plain": text },
      metadata: { of: id },
      transient: { display_id: id },
    });
    kernel.emit("display_data", show("d", "1"));
    kernel.emit("execute_result", show("e", "1"));
    kernel.emit("update_display_data", show("d", "2"));
    kernel.emit("display_data", {
      data: { "application/json": { display_id: "no such" } },
      metadata: {},
      transient: {},
    });
    kernel.emit("display_data", {
      data: { "application/json": { display_id: "no such" } },
      metadata: {},
      transient: { display_id: null },
    });
    const { displays } = describeSnapshot(session);
    expect(displays).toEqual({
      d: { data: { "text/plain": "2" }, metadata: { of: "d" } },
      e: { data: { "text/plain": "1" }, metadata: { of: "e" } },
    });
  });

  test("displays beyond the limit are dropped, the oldest first, and counted", async () => {
    const { session, kernel } = await startedSession();
    for (const display_id of ["a", "b", "c"]) {
      kernel.emit("display_data", {
        data: { "text/plain": "x".repeat(3 * 1024 * 1024) },
        metadata: {},
        transient: { display_id },
      });
    }
    const { displays, displays_dropped, displays_clipped, comms_clipped } =
      describeSnapshot(session);
    expect(Object.keys(displays)).toEqual(["b", "c"]);
    expect(displays_dropped).toBe(1);
    expect(displays_clipped).toEqual({
      bytes: expect.closeTo(3 * 1024 * 1024, -4) as number,
      limit_bytes: 8 * 1024 * 1024,
    });
    expect(comms_clipped).toBeNull();
  });

  test("contains the open comms, of either side", async () => {
    const { session, kernel } = await startedSession();
    const open = (comm_id: string) => ({
      comm_id,
      target_name: "t",
      data: { of: comm_id },
    });
    const send = (msg_type: string, content: object) =>
      session.send({
        ...message(msg_type),
        raw: {
          ...message(msg_type).raw,
          content: Buffer.from(JSON.stringify(content)),
        },
      });
    kernel.emit("comm_open", open("a"));
    kernel.emit("comm_open", open("b"));
    send("comm_open", open("c"));
    send("comm_open", open("d"));
    send("comm_close", { comm_id: "a" });
    kernel.emit("comm_close", { comm_id: "d" });
    const reported = JSON.parse(
      JSON.stringify(describeSnapshot(session)),
    ) as object;
    expect(reported).toMatchObject({
      comms: ["b", "c"].map((id) => ({
        ...open(id),
        metadata: {},
        buffers: [],
      })),
    });
    kernel.die();
    expect(describeSnapshot(session).comms).toEqual([]);
  });

  test("ignores content that is not JSON", async () => {
    const { session, kernel } = await startedSession();
    const bad = kernel.emit("stream", {});
    const raw = { ...bad.raw, content: Buffer.from('{"display_id": NaN,') };
    for (const msg_type of ["display_data", "comm_open", "status"]) {
      kernel.deliver({ ...bad, header: { ...bad.header, msg_type }, raw });
    }
    expect(describeSnapshot(session)).toMatchObject({
      displays: {},
      comms: [],
    });
  });
});
