import { expect, test } from "vitest";
import type { SessionEvent } from "../../contract/index.ts";
import {
  commMsg,
  commOpen,
  display,
  error,
  exit,
  input,
  ManualClock,
  mockKernel,
  type MockKernel,
  readRecording,
  record,
  replay,
  stream,
  testServer,
  type TestSession,
  update,
  wait,
  words,
} from "../../testing/index.ts";
import { type KernelMatchers, matchers } from "../../testing/matchers.ts";

declare module "vitest" {
  // eslint-disable-next-line @typescript-eslint/no-empty-object-type -- this is how vitest is told of matchers
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

/** What a client would do; and everything that it hears, as far as it is the same each time. */
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
  const heard = await visit(session);
  return { heard, events: [...session.transcript.events] };
}

async function linesOf(
  events: readonly SessionEvent[],
  secrets: readonly string[] = [],
): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of record(events, { secrets })) lines.push(line);
  return lines;
}

test("a recording, replayed, says what was said, message by message", async () => {
  const { heard, events } = await visited(recorded);
  const lines = await linesOf(events);
  const again = await visited(replay(lines.join("\n")));
  expect(again.heard).toEqual(heard);
});

test("what was not recorded is answered by script", async () => {
  const { events } = await visited(recorded);
  const kernel = replay(await linesOf(events), {
    otherwise: stream("never recorded"),
  });
  await using server = await testServer({ kernels: { kernel } });
  const session = await server.start();
  const { outputs } = await session.execute("something else");
  expect(outputs).toHaveStreamed("never recorded");
});

test("a recording holds no secrets, and nothing of the machine", async () => {
  const { events } = await visited(recorded);
  const text = (await linesOf(events, ["s3cret"])).join("\n");
  expect(text).not.toContain("s3cret");
  expect(text).toContain("Hello Ada, the token is [removed]");
  expect(text).not.toContain("resource_usage");
  expect(readRecording(text).messages.length).toBeGreaterThan(10);
});

test("a replay takes its time, or a part of it", async () => {
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
    words(replayed.transcript.events, msg_id).filter((w) => w === "stream");
  await clock.advance(999);
  expect(streams()).toHaveLength(1);
  await clock.advance(1);
  await replayed.transcript.outputs(msg_id);
  expect(streams()).toHaveLength(2);
});

test("a kernel that died dies again, where that is wanted", async () => {
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

test("matchers say what they missed", async () => {
  const { events } = await visited(recorded);
  expect(events).toHaveSaid("starting!", "ready!", "busy", "stream", "idle");
  expect(() => expect(events).toHaveSaid("idle", "starting!")).toThrow(
    "expected idle, starting! in this order; heard starting!",
  );
  expect(() => expect([]).toHaveRaised("ValueError")).toThrow(
    "expected ValueError to be raised; it was nothing",
  );
});

test("what is no recording is refused with its line", () => {
  expect(() => readRecording('{"kind":"status"}')).toThrow("Line 1");
  expect(() =>
    readRecording('{"format":"kallichore-recording"}\nnonsense'),
  ).toThrow("Line 2 is no JSON");
});
