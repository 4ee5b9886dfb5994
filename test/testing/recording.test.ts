import { describe, expect, test } from "vitest";
import type { SessionEvent } from "../../contract/index.ts";
import {
  background,
  commMsg,
  commOpen,
  display,
  error,
  exit,
  hang,
  input,
  ManualClock,
  mockKernel,
  type MockKernel,
  openRecording,
  outputsOf,
  readRecording,
  record,
  replay,
  stream,
  testServer,
  type TestSession,
  update,
  wait,
  eventNames,
} from "../../testing/index.ts";
import { type KernelMatchers, matchers } from "../../testing/matchers.ts";

declare module "vitest" {
  // eslint-disable-next-line @typescript-eslint/no-empty-object-type -- vitest declares matchers in this way
  interface Matchers<T> extends KernelMatchers<T> {}
}
expect.extend(matchers);

const recorded = mockKernel({
  language: "python",
  on: {
    hi: stream("hi\n"),
    plot: [
      display(
        { "image/png": "aGVsbG8=" },
        { display_id: "d", buffers: [new Uint8Array([1, 2])] },
      ),
      update("d", { "image/png": "d29ybGQ=" }),
    ],
    widget: commOpen("c", "jupyter.widget", { state: { value: 1 } }),
    ask: input("Name? ", (name) =>
      stream(`Hello ${name}, the token is s3cret`),
    ),
    fail: error("ValueError", "no"),
    die: exit({ signal: "SIGKILL" }),
  },
  comm: {
    "*": ({ comm_id }) =>
      commMsg(comm_id, { method: "update", state: { value: 2 } }),
  },
});

/** Acts as a client. Returns what it receives, without the parts that differ in each run. */
async function visit(session: TestSession) {
  const { transcript } = session;
  const ids: string[] = [];
  for (const code of ["hi", "plot", "widget", "fail"]) {
    const msg_id = await session.run(code);
    await transcript.outputs(msg_id);
    ids.push(msg_id);
  }
  const moved = await session.send("shell", "comm_msg", {
    comm_id: "c",
    data: { method: "update" },
  });
  await transcript.untilIdle(moved);
  const ask = await session.run("ask");
  await transcript.untilPrompt();
  await session.answer("Ada");
  await transcript.outputs(ask);
  return [...ids, moved, ask].map((msg_id) =>
    transcript.events.flatMap((event) =>
      event.kind === "jupyter" && event.parent_header?.msg_id === msg_id
        ? [
            {
              channel: event.channel,
              msg_type: event.header.msg_type,
              content: event.content,
              metadata: event.metadata,
              buffers: event.buffers,
            },
          ]
        : [],
    ),
  );
}

async function visited(kernel: MockKernel) {
  await using server = await testServer({ kernels: { kernel } });
  const session = await server.start();
  const received = await visit(session);
  return { received, events: [...session.transcript.events] };
}

/** The recording of a session that `make` uses. */
async function recordingOf(
  kernel: MockKernel,
  make: (session: TestSession) => Promise<unknown>,
): Promise<string[]> {
  await using server = await testServer({ kernels: { kernel } });
  const session = await server.start();
  await make(session);
  return await linesOf(session.transcript.events);
}

async function linesOf(
  events: readonly SessionEvent[],
  secrets: readonly string[] = [],
): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of record(events, { secrets })) lines.push(line);
  return lines;
}

test("a recording, replayed, gives the same messages one by one", async () => {
  const { received, events } = await visited(recorded);
  const lines = await linesOf(events);
  const again = await visited(replay(lines.join("\n")));
  expect(again.received).toEqual(received);
});

test("a request that was not recorded is answered by the script", async () => {
  const { events } = await visited(recorded);
  const kernel = replay(await linesOf(events), {
    otherwise: stream("never recorded"),
  });
  await using server = await testServer({ kernels: { kernel } });
  const session = await server.start();
  const { outputs } = await session.execute("something else");
  expect(outputs).toHaveStreamed("never recorded");
});

test("a recording contains no secrets and no facts about the machine", async () => {
  const { events } = await visited(recorded);
  const text = (await linesOf(events, ["s3cret"])).join("\n");
  expect(text).not.toContain("s3cret");
  expect(text).toContain("Hello Ada, the token is [removed]");
  expect(text).not.toContain("resource_usage");
  expect([...(readRecording(text).events() as SessionEvent[])].length).toBe(
    text.split("\n").length - 1,
  );
});

test("a secret in a buffer is removed, and the offsets of other data stay", async () => {
  const bytes = new TextEncoder().encode("before s3cret after");
  const kernel = mockKernel({
    on: { show: display("x", { buffers: [bytes] }) },
  });
  await using server = await testServer({ kernels: { kernel } });
  const session = await server.start();
  await session.transcript.outputs(await session.run("show"));
  const lines = await linesOf(session.transcript.events, ["s3cret"]);
  expect(lines.join("\n")).toContain(btoa("before xxxxxx after"));
});

test("a replay takes the recorded time, or a part of it", async () => {
  const clock = new ManualClock();
  const slow = mockKernel({
    clock,
    on: { slow: [stream("a"), wait(10_000), stream("b")] },
  });
  await using server = await testServer({ kernels: { slow } });
  const session = await server.start();
  const running = session.execute("slow");
  await clock.advance(10_000);
  await running;
  const lines = await linesOf(session.transcript.events);

  const kernel = replay(lines, { speed: 10, clock });
  await using second = await testServer({ kernels: { kernel } });
  const replayed = await second.start();
  const msg_id = await replayed.run("slow");
  const streams = () =>
    eventNames(replayed.transcript.events, msg_id).filter(
      (w) => w === "stream",
    );
  await clock.advance(999);
  expect(streams()).toHaveLength(1);
  await clock.advance(1);
  await replayed.transcript.outputs(msg_id);
  expect(streams()).toHaveLength(2);
});

test("a kernel that died dies again with ends: true", async () => {
  await using server = await testServer({ kernels: { recorded } });
  const session = await server.start();
  await session.run("hi");
  await session.run("die");
  await session.transcript.until("exit", ({ kind }) => kind === "exited");
  const lines = await linesOf(session.transcript.events);
  const kernel = replay(lines, { ends: true });
  await using second = await testServer({ kernels: { kernel } });
  const replayed = await second.start();
  await replayed.run("hi");
  await replayed.run("die");
  expect(
    await replayed.transcript.until("exit", ({ kind }) => kind === "exited"),
  ).toMatchObject({ signal: "SIGKILL" });
});

test("a kernel that died during a request dies during it again", async () => {
  const lines = await recordingOf(recorded, async (session) => {
    await session.run("die");
    await session.transcript.until("exit", ({ kind }) => kind === "exited");
  });
  await using server = await testServer({ kernels: { kernel: replay(lines) } });
  const session = await server.start();
  const died = await session.run("die");
  expect(
    await session.transcript.until("exit", ({ kind }) => kind === "exited"),
  ).toMatchObject({ signal: "SIGKILL" });
  expect(eventNames(session.transcript.events, died)).toEqual([
    "busy",
    "execute_input",
    "execute_reply", // sent by the server, because the kernel has ended
    "idle",
  ]);
});

test("each kernel of a restarted session repeats its own messages", async () => {
  let starts = 0;
  const kernel = mockKernel({
    on: { count: () => stream(`${(starts += 1)}`) },
  });
  const lines = await recordingOf(kernel, async (session) => {
    await session.execute("count");
    await session.restart();
    await session.execute("count");
  });
  await using server = await testServer({ kernels: { kernel: replay(lines) } });
  const session = await server.start();
  expect((await session.execute("count")).outputs).toHaveStreamed("1");
  await session.restart();
  expect((await session.execute("count")).outputs).toHaveStreamed("2");
  await session.restart(); // the recording has no third kernel
  expect((await session.execute("count")).outputs).toHaveStreamed("2");
});

describe("a request that was not recorded", () => {
  async function replayed(
    kernel: MockKernel,
    make: (session: TestSession) => Promise<unknown>,
  ) {
    const server = await testServer({
      kernels: { kernel: replay(await recordingOf(kernel, make)) },
    });
    return { server, session: await server.start() };
  }
  const twoCells = async (session: TestSession) => {
    await session.execute("hi");
    await session.execute("plot");
  };

  test("other code gets an error that names the next request, which still works", async () => {
    const { server, session } = await replayed(recorded, twoCells);
    await using _server = server;
    expect(await session.execute("hello")).toMatchObject({
      status: "error",
      outputs: [
        {
          ename: "NotRecorded",
          evalue:
            '"hello" was not recorded here: the next recorded request is "hi"',
        },
      ],
    });
    expect((await session.execute("hi")).outputs).toHaveStreamed("hi\n");
  });

  test("a different order is an error too", async () => {
    const { server, session } = await replayed(recorded, twoCells);
    await using _server = server;
    expect((await session.execute("plot")).outputs).toMatchObject([
      {
        evalue:
          '"plot" was not recorded here: the next recorded request is "hi"',
      },
    ]);
    await twoCells(session);
    expect((await session.execute("plot")).outputs).toMatchObject([
      {
        evalue: '"plot" was not recorded here: no more requests were recorded',
      },
    ]);
  });

  test("is answered by a script if there is one", async () => {
    const lines = await recordingOf(recorded, twoCells);
    const kernel = replay(lines, { on: { other: stream("by script") } });
    await using server = await testServer({ kernels: { kernel } });
    const session = await server.start();
    expect((await session.execute("other")).outputs).toHaveStreamed(
      "by script",
    );
    expect((await session.execute("hi")).outputs).toHaveStreamed("hi\n");
  });

  test("is answered with an error; kernel info and open comms are always available", async () => {
    const { server, session } = await replayed(recorded, async (first) => {
      await first.execute("hi");
      await first.execute("widget");
    });
    await using _server = server;
    expect(await session.request("complete_request", { code: "p" })).toEqual(
      expect.objectContaining({ status: "error", ename: "NotRecorded" }),
    );
    await session.execute("hi");
    await session.execute("widget");
    expect(await session.request("comm_info_request")).toMatchObject({
      comms: { c: { target_name: "jupyter.widget" } },
    });
    expect(await session.request("kernel_info_request")).toMatchObject({
      implementation: "kallichore-mock",
    });
  });

  test("if it is a comm message, stderr gets the error", async () => {
    const { server, session } = await replayed(recorded, twoCells);
    await using _server = server;
    const moved = await session.send("shell", "comm_msg", {
      comm_id: "c",
      data: {},
    });
    await session.transcript.untilIdle(moved);
    expect(outputsOf(session.transcript.events, moved)).toEqual([
      {
        output_type: "stream",
        name: "stderr",
        text: 'NotRecorded: this comm_msg was not recorded here: the next recorded request is "hi"',
      },
    ]);
  });

  test("a request such as a completion may arrive later than recorded", async () => {
    const asking = mockKernel({
      on: { hi: stream("hi\n") },
      complete: ["print"],
    });
    const complete = { code: "pri", cursor_pos: 3 };
    const { server, session } = await replayed(asking, async (first) => {
      await first.request("complete_request", complete);
      await first.execute("hi");
    });
    await using _server = server;
    await session.execute("hi");
    expect(await session.request("complete_request", complete)).toMatchObject({
      matches: ["print"],
    });
  });
});

test("an interrupted execution waits for its interrupt, and ends as recorded", async () => {
  const python = mockKernel({
    on: { loop: [stream("on"), hang(), stream("never")] },
  });
  const interrupted = async (session: TestSession) => {
    const loop = await session.run("loop");
    await session.transcript.until(
      "the stream",
      (event) => event.kind === "jupyter" && event.header.msg_type === "stream",
    );
    expect(session.transcript.events.at(-1)).toMatchObject({
      header: { msg_type: "stream" },
    });
    await session.interrupt();
    return session.transcript.outputs(loop);
  };
  const lines = await recordingOf(python, interrupted);
  await using server = await testServer({ kernels: { kernel: replay(lines) } });
  const session = await server.start();
  expect(await interrupted(session)).toMatchObject([
    { text: "on" },
    { ename: "KeyboardInterrupt" },
  ]);
});

test("an interrupt that was not recorded ends the running code", async () => {
  const clock = new ManualClock();
  const slow = mockKernel({ clock, on: { slow: [wait(1000), stream("end")] } });
  const lines = await recordingOf(slow, async (session) => {
    const running = session.execute("slow");
    await clock.advance(1000);
    await running;
  });
  const kernel = replay(lines, { speed: 1, clock });
  await using server = await testServer({ kernels: { kernel } });
  const session = await server.start();
  const msg_id = await session.run("slow");
  await clock.advance(500);
  await session.interrupt();
  expect(await session.transcript.outputs(msg_id)).toMatchObject([
    { ename: "KeyboardInterrupt" },
  ]);
  expect(eventNames(session.transcript.events, msg_id)).toEqual([
    "busy",
    "execute_input",
    "error",
    "execute_reply",
    "idle",
  ]);
});

test("later output of a thread keeps its position, and delays no other request", async () => {
  const clock = new ManualClock();
  const threaded = mockKernel({
    clock,
    on: {
      thread: background([wait(60_000), stream("late")]),
      hi: stream("hi\n"),
    },
  });
  const lines = await recordingOf(threaded, async (session) => {
    const thread = await session.run("thread");
    await session.transcript.outputs(thread);
    await clock.advance(60_000);
    await session.transcript.until(
      "the thread",
      (event) => event.kind === "jupyter" && event.content["text"] === "late",
    );
    await session.execute("hi");
  });
  const kernel = replay(lines, { speed: 1, clock });
  await using server = await testServer({ kernels: { kernel } });
  const session = await server.start();
  const thread = await session.run("thread");
  const hi = await session.run("hi"); // a minute earlier than recorded
  await session.transcript.outputs(hi);
  const texts = session.transcript.events.flatMap((event) =>
    event.kind === "jupyter" && event.header.msg_type === "stream"
      ? [[event.parent_header?.msg_id, event.content["text"]]]
      : [],
  );
  expect(texts).toEqual([
    [thread, "late"],
    [hi, "hi\n"],
  ]);
});

test("code that was dropped after a failure is dropped again, or answered as recorded", async () => {
  const failing = mockKernel({
    on: { fail: error("ValueError", "no"), hi: stream("hi\n") },
  });
  const both = async (session: TestSession, sentBoth = async () => {}) => {
    const sent = await Promise.all([session.run("fail"), session.run("hi")]);
    await sentBoth();
    return Promise.all(
      sent.map(
        async (id) => (await session.transcript.untilReply(id))["status"],
      ),
    );
  };
  const clock = new ManualClock();
  const slow = mockKernel({ ...failing.options, delay: { step: 1 }, clock });
  const lines = await recordingOf(slow, async (session) => {
    const done = await both(session, () => clock.advance(10));
    expect(done).toEqual(["error", "aborted"]);
  });
  await using server = await testServer({ kernels: { kernel: replay(lines) } });
  expect(await both(await server.start())).toEqual(["error", "aborted"]);
});

test("a recording is read only as far as it is replayed, and closed with its kernel", async () => {
  const lines = await recordingOf(recorded, async (session) => {
    for (const code of ["hi", "plot", "fail"]) await session.execute(code);
  });
  const bytes = lines.join("\n");
  let read = 0;
  let open = 0;
  async function* pieces() {
    open += 1;
    try {
      for (const letter of bytes) {
        read += 1;
        yield await Promise.resolve(letter);
      }
    } finally {
      open -= 1;
    }
  }
  const kernel = replay(await openRecording(pieces));
  expect([read, open]).toEqual([(lines[0]?.length ?? 0) + 1, 0]);
  {
    await using server = await testServer({ kernels: { kernel } });
    const session = await server.start();
    expect((await session.execute("hi")).outputs).toHaveStreamed("hi\n");
    expect(open).toBe(1);
    expect(read).toBeLessThan(bytes.length);
  }
  await expect.poll(() => open).toBe(0);
});

test("a truncated recording is reported at the position where it ends", async () => {
  const lines = await recordingOf(recorded, async (session) => {
    await session.execute("hi");
    await session.execute("plot");
  });
  const at = lines.findIndex((line) => line.includes('"stream"')) + 1;
  lines[at] = '{"kind":';
  const opened = await openRecording(() => [lines.join("\n")]);
  await using server = await testServer({
    kernels: { kernel: replay(opened) },
  });
  const session = await server.start();
  for (const code of ["hi", "plot"]) {
    const { outputs } = await session.execute(code);
    expect(outputs.at(-1)).toMatchObject({ ename: "NotRecorded" });
    expect(JSON.stringify(outputs)).toContain(`Line ${at + 1} is not JSON`);
  }
});

test("matchers report what is missing", async () => {
  const { events } = await visited(recorded);
  expect(events).toHaveReceivedInOrder(
    "starting!",
    "ready!",
    "idle!",
    "busy",
    "stream",
    "idle",
  );
  expect(() =>
    expect(events).toHaveReceivedInOrder("idle", "starting!"),
  ).toThrow("expected idle, starting! in this order; received starting!");
  expect(() => expect([]).toHaveRaised("ValueError")).toThrow(
    "expected ValueError to be raised; it was nothing",
  );
});

test("a file that is not a recording is refused with its line", () => {
  expect(() => readRecording('{"kind":"status"}')).toThrow("Line 1");
  expect(() =>
    readRecording('{"format":"kallichore-recording","version":1}\nnonsense'),
  ).toThrow("Line 2 is not JSON");
  expect(() =>
    readRecording('{"format":"kallichore-recording","version":2}'),
  ).toThrow("Line 1: the recording has version 2; only version 1 can be read");
});
