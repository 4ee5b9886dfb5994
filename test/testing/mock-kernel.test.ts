import { expect, onTestFinished, test, vi } from "vitest";
import { countingIds, ManualClock } from "../../testing/clock.ts";
import { memoryServer } from "../../testing/memory-server.ts";
import {
  mockKernel,
  type MockKernelOptions,
} from "../../testing/mock-kernel.ts";
import {
  answerLate,
  background,
  broken,
  clear,
  commMsg,
  commOpen,
  display,
  error,
  exit,
  flood,
  omit,
  hang,
  input,
  print,
  result,
  startHeartbeat,
  stopHeartbeat,
  stream,
  update,
  wait,
} from "../../testing/steps.ts";
import { assertOrder, eventNames } from "../../testing/transcript.ts";

function serverWith(options: MockKernelOptions) {
  return memoryServer({ kernels: { mock: mockKernel(options) } });
}

test("a script publishes its steps between busy and idle", async () => {
  await using server = serverWith({ on: { 'print("hi")': [stream("hi\n")] } });
  const session = await server.start();
  const msg_id = await session.run('print("hi")');
  const outputs = await session.transcript.outputs(msg_id);
  expect(outputs).toEqual([
    { output_type: "stream", name: "stdout", text: "hi\n" },
  ]);
  expect(eventNames(session.transcript.events, msg_id)).toEqual([
    "busy",
    "execute_input",
    "stream",
    "execute_reply",
    "idle",
  ]);
});

test("patterns and functions get the code, and the first that matches answers", async () => {
  await using server = serverWith({
    on: [
      [
        /^add (\d+) (\d+)$/,
        ({ match }) => [
          result(String(Number(match?.[1]) + Number(match?.[2]))),
        ],
      ],
      [/^add/, error("SyntaxError", "two numbers")],
    ],
  });
  const session = await server.start();
  const sum = await session.execute("add 2 3");
  expect(sum.outputs).toEqual([
    {
      output_type: "execute_result",
      data: { "text/plain": "5" },
      metadata: {},
      execution_count: 1,
    },
  ]);
  const wrong = await session.execute("add");
  expect(wrong).toMatchObject({ status: "error", execution_count: 2 });
});

test("code without a script fails with a named error", async () => {
  await using server = serverWith({ on: {} });
  const session = await server.start();
  const { outputs } = await session.execute("who?");
  expect(outputs).toMatchObject([
    { output_type: "error", ename: "NotScripted" },
  ]);
  expect(JSON.stringify(outputs)).toContain("who?");
});

test("displays, updates, clearings and buffers arrive as a kernel sends them", async () => {
  await using server = serverWith({
    on: {
      show: [
        display({ "text/plain": "gone" }),
        clear({ wait: true }),
        display("one", {
          display_id: "d",
          buffers: [new Uint8Array([0, 255])],
        }),
        update("d", { "text/plain": "two" }),
      ],
    },
  });
  const session = await server.start();
  const msg_id = await session.run("show");
  expect(await session.transcript.outputs(msg_id)).toEqual([
    {
      output_type: "display_data",
      data: { "text/plain": "two" },
      metadata: {},
    },
  ]);
  const shown = await session.transcript.until(
    "the buffers",
    (event) => event.kind === "jupyter" && event.buffers.length > 0,
  );
  expect(shown).toMatchObject({ buffers: ["AP8="] });
});

test("an input request reaches the client, and the script continues with its answer", async () => {
  await using server = serverWith({
    on: [
      ["data", input("Name? ", (name) => stream(`Hello ${name}\n`))],
      [
        "code",
        async function* ({ input: ask }) {
          yield stream("who?\n");
          const name = await ask("Name? ");
          yield result(name);
        },
      ],
    ],
  });
  const session = await server.start();
  for (const [code, answer] of [
    ["data", "Hello Ada"],
    ["code", "'Ada'"],
  ] as const) {
    const msg_id = await session.run(code);
    await session.transcript.until(
      `the prompt of ${code}`,
      (event) =>
        event.kind === "jupyter" &&
        event.channel === "stdin" &&
        event.parent_header?.msg_id === msg_id,
    );
    await session.answer("Ada");
    const outputs = await session.transcript.outputs(msg_id);
    expect(JSON.stringify(outputs)).toContain(answer.replaceAll("'", ""));
  }
});

test("completion, inspection, completeness, history and comms have answers", async () => {
  await using server = serverWith({
    on: { x: stream("x"), open: commOpen("c1", "widget", { a: 1 }) },
    complete: ["print", "property", "other"],
    inspect: { print: "prints" },
    is_complete: (code) =>
      code.endsWith(":")
        ? { status: "incomplete", indent: "  " }
        : { status: "complete" },
  });
  const session = await server.start();
  expect(
    await session.request("complete_request", { code: "é.pr", cursor_pos: 4 }),
  ).toMatchObject({ matches: [], cursor_start: 0 });
  expect(
    await session.request("complete_request", { code: "(pr", cursor_pos: 3 }),
  ).toMatchObject({ matches: ["print", "property"], cursor_start: 1 });
  expect(
    await session.request("inspect_request", { code: "print", cursor_pos: 2 }),
  ).toMatchObject({ found: true, data: { "text/plain": "prints" } });
  expect(
    await session.request("is_complete_request", { code: "if:" }),
  ).toMatchObject({ status: "incomplete", indent: "  " });
  await session.execute("x");
  await session.execute("open");
  expect(
    await session.request("history_request", {
      hist_access_type: "tail",
      n: 5,
    }),
  ).toMatchObject({
    history: [
      [1, 1, "x"],
      [1, 2, "open"],
    ],
  });
  expect(await session.request("comm_info_request")).toMatchObject({
    comms: { c1: { target_name: "widget" } },
  });
});

test("a client's comm messages have reactions, buffers included", async () => {
  await using server = serverWith({
    comm: {
      echo: ({ msg_type, comm_id, data, buffers }) =>
        msg_type === "comm_msg" ? commMsg(comm_id, data, { buffers }) : [],
    },
  });
  const session = await server.start();
  await session.send("shell", "comm_open", {
    comm_id: "c",
    target_name: "echo",
    data: {},
  });
  const msg_id = await session.send(
    "shell",
    "comm_msg",
    { comm_id: "c", data: { x: 1 } },
    ["AQI="],
  );
  const echo = await session.transcript.until(
    "the echo",
    (event) =>
      event.kind === "jupyter" &&
      event.parent_header?.msg_id === msg_id &&
      event.header.msg_type === "comm_msg",
  );
  expect(echo).toMatchObject({
    content: { comm_id: "c", data: { x: 1 } },
    buffers: ["AQI="],
  });
});

test("running code is interrupted, and executions after an error are aborted", async () => {
  await using server = serverWith({ on: { sleep: hang(), next: stream("?") } });
  const session = await server.start();
  const sleeping = await session.run("sleep");
  await session.transcript.until(
    "busy",
    (event) => event.kind === "status" && event.status === "busy",
  );
  const next = await session.run("next");
  await session.interrupt();
  expect(await session.transcript.untilReply(sleeping)).toMatchObject({
    status: "error",
    ename: "KeyboardInterrupt",
  });
  expect(await session.transcript.untilReply(next)).toMatchObject({
    status: "aborted",
  });
});

test("ids, dates and time are set by the test", async () => {
  const clock = new ManualClock("2026-05-01T12:00:00Z");
  await using server = serverWith({
    clock,
    ids: countingIds("m"),
    on: { slow: [wait(1_000), stream("done")] },
  });
  const session = await server.start();
  const msg_id = await session.run("slow");
  await session.transcript.until(
    "busy",
    (event) => event.kind === "status" && event.status === "busy",
  );
  await clock.advance(999);
  expect(eventNames(session.transcript.events, msg_id)).not.toContain("stream");
  await clock.advance(1);
  const event = await session.transcript.until(
    "the stream",
    (event) => event.kind === "jupyter" && event.header.msg_type === "stream",
  );
  expect(event).toMatchObject({
    header: { date: "2026-05-01T12:00:01.000Z" },
  });
  expect((event as { header: { msg_id: string } }).header.msg_id).toMatch(
    /^m-\d+$/,
  );
});

test("a kernel dies at a step, and its session reports how", async () => {
  await using server = serverWith({
    on: { die: [stream("last words"), exit({ signal: "SIGSEGV" })] },
  });
  const session = await server.start();
  const msg_id = await session.run("die");
  expect(
    await session.transcript.until("exit", ({ kind }) => kind === "exited"),
  ).toMatchObject({ exit_code: -1, signal: "SIGSEGV" });
  assertOrder(session.transcript.events, ["stream", "exited!"]);
  expect(await session.transcript.untilReply(msg_id)).toMatchObject({
    status: "aborted",
    ename: "KernelExited",
  });
  await session.restart();
  expect(await server.trpc.sessions.get.query(session)).toMatchObject({
    status: "idle",
  });
});

test("a heartbeat stops and starts again", async () => {
  await using server = serverWith({
    on: { faint: [stopHeartbeat(), startHeartbeat()] },
  });
  const session = await server.start();
  await session.execute("faint");
  const { transcript } = session;
  await transcript.until(
    "the end",
    (event) => event.kind === "status" && event.status === "idle",
  );
  assertOrder(transcript.events, ["busy!", "offline!", "busy!"]);
});

test("an idle is never sent, a reply is late, and a broken message never arrives", async () => {
  const clock = new ManualClock();
  await using server = serverWith({
    clock,
    on: {
      forgetful: omit("idle"),
      late: answerLate(500),
      broken: [broken("signature"), stream("after")],
    },
  });
  const session = await server.start();
  const forgotten = await session.run("forgetful");
  await session.transcript.untilReply(forgotten);
  expect(eventNames(session.transcript.events, forgotten)).not.toContain(
    "idle",
  );

  await session.interrupt();
  const other = await server.start("mock", "second");
  const late = await other.run("late");
  await other.transcript.untilIdle(late);
  expect(eventNames(other.transcript.events, late)).not.toContain(
    "execute_reply",
  );
  await clock.advance(500);
  await other.transcript.untilReply(late);
  const after = await other.execute("broken");
  expect(after.outputs).toEqual([
    { output_type: "stream", name: "stdout", text: "after" },
  ]);
});

test("a flood arrives whole and in order", async () => {
  await using server = serverWith({ on: { flood: flood({ count: 2_000 }) } });
  const session = await server.start();
  const { outputs } = await session.execute("flood");
  const lines = Array.from({ length: 2_000 }, (_, i) => `${i + 1}\n`).join("");
  expect(outputs).toEqual([
    { output_type: "stream", name: "stdout", text: lines },
  ]);
});

test("the output of a thread arrives after the idle, with its own parent", async () => {
  const clock = new ManualClock();
  await using server = serverWith({
    clock,
    on: { thread: background([wait(100), stream("later")]) },
  });
  const session = await server.start();
  const msg_id = await session.run("thread");
  await session.transcript.untilIdle(msg_id);
  await clock.advance(100);
  await session.transcript.until(
    "the thread's stream",
    (event) => event.kind === "jupyter" && event.header.msg_type === "stream",
  );
  assertOrder(session.transcript.events, ["idle", "stream"], msg_id);
});

test("the failed start of a kernel that ends at once contains its output", async () => {
  await using server = serverWith({
    faults: { exitsAtStart: { exit_code: 3, output: "no module named x" } },
  });
  const failed = await server.fetch("/sessions", {
    method: "PUT",
    body: JSON.stringify({ session_id: "a", kernel_name: "mock" }),
  });
  expect(failed.status).toBe(200);
  const started = await server.fetch("/sessions/a/start", { method: "POST" });
  expect(started.status).toBe(500);
  expect(await started.json()).toMatchObject({
    exit_code: 3,
    output: "no module named x",
    error: { reason: "exited_during_start" },
  });
});

test("the start of an unresponsive kernel times out, and a kernel that ignores shutdown requests is killed", async () => {
  const clock = new ManualClock();
  await using server = memoryServer({
    kernels: {
      unresponsive: mockKernel({ clock, faults: { unresponsive: true } }),
      stubborn: mockKernel({ clock, faults: { ignoresShutdown: true } }),
    },
  });
  const start = server.start("unresponsive");
  start.catch(() => {}); // awaited below
  await clock.advance(30_000);
  await expect(start).rejects.toMatchObject({
    data: { failure: { reason: "connection_timeout" } },
  });
  const session = await server.start("stubborn");
  const stopped = session.shutDown();
  await clock.advance(5_000);
  await stopped;
  expect(
    await session.transcript.until("exit", ({ kind }) => kind === "exited"),
  ).toMatchObject({ signal: "SIGKILL" });
});

test("in pairs, the second execution is answered first", async () => {
  await using server = serverWith({
    faults: { repliesOutOfOrder: true },
    on: { a: [], b: [] },
  });
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const session = await server.start();
  const first = await session.run("a");
  await session.transcript.untilIdle(first);
  const second = await session.run("b");
  await vi.advanceTimersByTimeAsync(2_000); // the queue sends the second one when the reply to the first is overdue
  await session.transcript.untilReply(first);
  const replies = session.transcript.events.flatMap((event) =>
    event.kind === "jupyter" && event.header.msg_type === "execute_reply"
      ? [event.parent_header?.msg_id]
      : [],
  );
  expect(replies).toEqual([second, first]);
});

test("a process's own output is an output event", async () => {
  await using server = serverWith({ on: { p: print("raw\n", "stderr") } });
  const session = await server.start();
  await session.execute("p");
  expect(
    await session.transcript.until("output", ({ kind }) => kind === "output"),
  ).toMatchObject({ stream: "stderr", text: "raw\n" });
});

test("a script that publishes a message against the contract fails with a named error", async () => {
  await using server = serverWith({
    on: { bad: stream("x", "stdlog" as "stdout") },
  });
  const session = await server.start();
  const { outputs } = await session.execute("bad");
  expect(outputs).toMatchObject([{ ename: "TypeError" }]);
});
