/** Messages of a kernel that cannot be passed on are reported, so that no caller waits for them; unusual ones have no effect. */
import { once } from "node:events";
import { onTestFinished, describe, expect, it, test } from "vitest";
import { WebSocket } from "ws";
import type { Message } from "../../src/jupyter/message.ts";
import { mockKernel } from "../../testing/index.ts";
import { kernelspecsOf } from "../../testing/memory-service.ts";
import { eventually, openServer, type TestServer, TOKEN } from "../harness.ts";
import {
  code,
  type FakeKernel,
  FakeProvisioner,
  message,
  summaryOf,
  startedSession,
  entriesIn,
} from "./fake-kernel.ts";

/** JSON that does not match the protocol. */
const ODD = ["null", "[]", "5", "true", '"text"', `"${"x".repeat(100_000)}"`];
const TYPES = [
  ["iopub", "status"],
  ["iopub", "stream"],
  ["iopub", "display_data"],
  ["iopub", "update_display_data"],
  ["iopub", "execute_result"],
  ["iopub", "error"],
  ["iopub", "execute_input"],
  ["iopub", "clear_output"],
  ["iopub", "comm_open"],
  ["iopub", "comm_msg"],
  ["iopub", "comm_close"],
  ["stdin", "input_request"],
  ["control", "interrupt_reply"],
  ["control", "shutdown_reply"],
] as const;

test("a message that is not JSON is in the journal as refused, and the session continues", async () => {
  const { session, kernel } = await startedSession();
  const request = code("1");
  const after = session.journal.last;
  const execution = session.execute(request, undefined);
  kernel.busy(request);
  kernel.write("display_data", '{"data":', request);
  kernel.print("hi", request);
  kernel.reply(request);
  kernel.idle(request);
  expect(execution.state).toBe("done");
  expect(summaryOf(session, after)).toEqual([
    "execution running",
    "busy",
    "iopub status busy",
    "refused",
    "iopub stream",
    "shell execute_reply ok",
    "idle",
    "iopub status idle",
    "execution done",
  ]);
  expect(refusalsIn(session, after)).toMatchObject([
    {
      channel: "iopub",
      msg_type: "display_data",
      parent_id: request.header.msg_id,
      reason: "not_json",
    },
  ]);
});

test("an execution whose reply is refused fails with the reason, and drops the waiting requests", async () => {
  const { session, kernel } = await startedSession();
  const [request, behind] = [code("1"), code("2")];
  const execution = session.execute(request, undefined);
  const waiting = session.execute(behind, undefined);
  kernel.busy(request);
  kernel.write("execute_reply", "{nope", request, "shell");
  kernel.idle(request);
  expect(execution.state).toBe("failed");
  expect(execution.reply).toMatchObject({
    status: "error",
    ename: "RefusedReply",
    evalue: expect.stringContaining("is not JSON") as string,
  });
  expect([waiting.state, waiting.reason]).toEqual([
    "aborted",
    "earlier_failure",
  ]);
  expect(summaryOf(session)).toContain("shell execute_reply error");
});

test.each(ODD)(
  "an execution whose reply is not an object fails with the reason: %#",
  async (content) => {
    const { session, kernel } = await startedSession();
    const request = code("1");
    const execution = session.execute(request, undefined);
    kernel.busy(request);
    kernel.write("execute_reply", content, request, "shell");
    kernel.idle(request);
    expect(execution.state).toBe("failed");
    expect(execution.reply).toMatchObject({
      status: "error",
      ename: "BadReply",
    });
  },
);

test("a caller that waits for a refused reply gets the refusal at once", async () => {
  const { session, kernel } = await startedSession();
  const requested = message("complete_request");
  const answer = session.request(requested, 60_000);
  kernel.write("complete_reply", "[".repeat(5_000), requested, "shell");
  await expect(answer).rejects.toMatchObject({
    reason: "bad_answer",
    message: expect.stringContaining("nested too deep") as string,
  });
});

test.each(["with a parent", "without one"])(
  "code whose input request is refused, %s, is interrupted, and drops the waiting requests as any failure does",
  async (how) => {
    const { session, kernel } = await startedSession();
    const [request, behind] = [code("1"), code("2")];
    const execution = session.execute(request, undefined);
    const waiting = session.execute(behind, undefined);
    kernel.busy(request);
    const parent = how === "with a parent" ? request : undefined;
    kernel.write("input_request", "[".repeat(5_000), parent, "stdin");
    await expect.poll(() => kernel.interrupts).toBe(1);
    expect(refusalsIn(session, 0)).toMatchObject([
      { channel: "stdin", msg_type: "input_request", reason: "too_deep" },
    ]);
    kernel.fail(request, "KeyboardInterrupt");
    expect(execution).toMatchObject({
      state: "interrupted",
      reason: "question_refused",
    });
    expect([waiting.state, waiting.reason]).toEqual([
      "aborted",
      "earlier_failure",
    ]);
  },
);

test("an input request that is too large interrupts its code", async () => {
  const { session, kernel } = await startedSession();
  const request = code("1");
  const execution = session.execute(request, undefined);
  kernel.busy(request);
  kernel.overflow("stdin", 2_000_000_000);
  await expect.poll(() => kernel.interrupts).toBe(1);
  kernel.fail(request, "KeyboardInterrupt");
  expect(execution.reason).toBe("question_refused");
});

describe("over REST", () => {
  it("content that is not an object causes no failure in any reader", async () => {
    const { server, kernel } = await served();
    const ran = server.ask("POST", "/sessions/s/executions", {
      code: "1",
      execution_id: "e",
    });
    expect((await ran).status).toBe(201);
    const request = kernel().sent.at(-1);
    for (const [channel, msg_type] of TYPES) {
      for (const content of ODD) {
        kernel().write(msg_type, content, request, channel);
        kernel().write(msg_type, content, undefined, channel);
      }
    }
    kernel().print("hi", request as Message);
    for (const path of [
      "/sessions",
      "/sessions/s",
      "/sessions/s/snapshot",
      "/sessions/s/executions",
      "/sessions/s/executions/e",
      "/sessions/s/executions/e/outputs",
    ]) {
      expect([path, (await server.ask("GET", path)).status]).toEqual([
        path,
        200,
      ]);
    }
    kernel().reply(request as Message);
    kernel().idle(request as Message);
    const { body } = await server.ask(
      "GET",
      "/sessions/s/executions/e/outputs",
    );
    expect(body).toMatchObject({ state: "done" });
    const { outputs } = body as { outputs: object[] };
    expect(outputs.at(-1)).toMatchObject({ text: "hi" });
  });

  it("a display with lists in place of maps is shown", async () => {
    const { server, kernel } = await served();
    const answer = server.ask("POST", "/sessions/s/execute", { code: "1" });
    const request = await sentTo(kernel);
    kernel().busy(request);
    const shown = '{"data":{"text/plain":"x"},"metadata":[]}';
    kernel().write("display_data", shown, request);
    kernel().write("display_data", '{"data":[],"metadata":{}}', request);
    kernel().reply(request);
    kernel().idle(request);
    expect((await answer).body).toMatchObject({
      status: "ok",
      outputs: [
        { data: { "text/plain": "x" }, metadata: {} },
        { data: {}, metadata: {} },
      ],
    });
  });

  it("an error that only the reply has is an output, and one that both have is listed once", async () => {
    const { server, kernel } = await served();
    const error = { ename: "Oops", evalue: "no", traceback: ["a line"] };
    for (const isTwice of [false, true]) {
      const answer = server.ask("POST", "/sessions/s/execute", { code: "1" });
      const request = await sentTo(kernel);
      kernel().busy(request);
      kernel().reply(request, { status: "error", ...error }); // the reply overtakes the error
      if (isTwice) kernel().emit("error", error, request);
      kernel().idle(request);
      expect((await answer).body).toMatchObject({
        status: "error",
        outputs: [{ output_type: "error", ...error }],
      });
    }
  });

  it("JSON of a kernel arrives as it was written, over every protocol", async () => {
    const { server, kernel } = await served();
    const value = '{"big":9007199254740993,"__proto__":{"x":1},"f":1.0}';
    const bundle = `{"application/json":${value},"text/plain":"x"}`;
    const answer = server.ask("POST", "/sessions/s/execute", { code: "1" });
    const request = await sentTo(kernel);
    kernel().busy(request);
    const shown = `{"data":${bundle},"metadata":{"m":${value}},"transient":{"display_id":"d"}}`;
    kernel().write("display_data", shown, request);
    kernel().write(
      "comm_open",
      `{"comm_id":"c","target_name":"t","data":${value}}`,
      request,
    );
    kernel().reply(request);
    kernel().idle(request);
    const execute = await answer;
    expect(execute.text).toContain(`"application/json":${value}`);
    expect(execute.text).toContain(`"m":${value}`);
    expect(execute.body).toMatchObject({
      output: [{ data: { "application/json": value } }],
    });
    const id = request.header.msg_id;
    for (const path of [
      `/sessions/s/executions/${id}/outputs`,
      "/sessions/s/snapshot",
    ]) {
      const { text, status } = await server.ask("GET", path);
      expect(status).toBe(200);
      expect(text).toContain(`"application/json":${value}`);
      expect(text).toContain(`"m":${value}`);
    }
    const snapshot = await server.ask("GET", "/sessions/s/snapshot");
    expect(snapshot.text).toContain(`"data":${value}`);
    const of = { session_id: "s", execution_id: id };
    const requested = async (path: string, input: unknown, headers = {}) => {
      const query = `input=${encodeURIComponent(JSON.stringify(input))}`;
      const address = `/trpc/${path}${path.includes("?") ? "&" : "?"}${query}`;
      const authorization = `Bearer ${TOKEN}`;
      const sent = { authorization, ...headers };
      return (await server.ask("GET", address, undefined, sent)).text;
    };
    for (const text of [
      await requested("executions.outputs", of),
      await requested("sessions.snapshot", { session_id: "s" }),
      await requested("server.status,executions.outputs?batch=1", { 1: of }),
      await requested(
        "server.status,executions.outputs?batch=1",
        { 1: of },
        { "trpc-accept": "application/jsonl" },
      ),
      await requested("executions.follow", of, { accept: "text/event-stream" }),
    ]) {
      expect(text).toContain(`"application/json":${value}`);
      expect(text).toContain(`"m":${value}`);
    }
  });

  it.each([
    ["500 deep is listed unchanged", 500, 3],
    ["200,000 deep is refused with the reason", 200_000, 0],
  ])(
    "code that waits with metadata %s, over every protocol",
    async (_, depth, waiting) => {
      const { server } = await served();
      const value = `${"[".repeat(depth)}${"]".repeat(depth)}`;
      const metadata = `{"x":${value}}`;
      const path = "/sessions/s/executions";
      await server.ask("POST", path, { code: "1" });
      const address = `${server.url.replace("http", "ws")}/sessions/s/channels?token=${TOKEN}`;
      const socket = new WebSocket(address);
      onTestFinished(() => socket.terminate());
      await once(socket, "open");
      socket.send(
        `{"channel":"shell","header":{"msg_id":"frame","msg_type":"execute_request","session":"c","username":"u","date":"","version":"5.3"},"parent_header":{},"metadata":${metadata},"content":{"code":"2"},"buffers":[]}`,
      );
      const rest = await server.ask(
        "POST",
        path,
        `{"code":"3","metadata":${metadata}}`,
      );
      const trpc = await server.ask(
        "POST",
        "/trpc/executions.create",
        `{"session_id":"s","code":"4","metadata":${metadata}}`,
        {
          authorization: `Bearer ${TOKEN}`,
          "content-type": "application/json",
        },
      );
      expect([rest.status, trpc.status]).toEqual(
        waiting === 0 ? [400, 400] : [201, 200],
      );
      if (waiting === 0) {
        expect(rest.text).toContain("more than 512 levels deep");
        expect(trpc.text).toContain("more than 512 levels deep");
      }
      const pong = once(socket, "pong");
      socket.ping();
      await pong;
      for (const listing of [
        "/sessions",
        "/sessions/s",
        "/sessions/s/snapshot",
        path,
        "/trpc/sessions.list",
        "/trpc/sessions.snapshot?input=%7B%22session_id%22:%22s%22%7D",
      ]) {
        const { status, text } = await server.ask("GET", listing);
        expect([listing, status]).toEqual([listing, 200]);
        expect([listing, text.split(`"x":${value}`).length - 1]).toEqual([
          listing,
          waiting,
        ]);
      }
    },
  );

  it("a refused output is listed as missing, for its own execution only", async () => {
    const { server, kernel } = await served();
    await server.ask("POST", "/sessions/s/executions", {
      code: "1",
      execution_id: "e",
    });
    const request = kernel().sent.at(-1) as Message;
    kernel().write("display_data", "", message("execute_request")); // of another client
    kernel().write("stream", "", request);
    const { body } = await server.ask(
      "GET",
      "/sessions/s/executions/e/outputs",
    );
    expect(body).toMatchObject({
      refused: [{ msg_type: "stream", reason: "not_json" }],
    });
  });
});

/** A server with a session `s` whose kernel a test controls. */
async function served(): Promise<{
  server: TestServer;
  kernel: () => FakeKernel;
}> {
  const provisioner = new FakeProvisioner();
  const kernelspecs = kernelspecsOf({ fake: mockKernel({}) }, process.execPath);
  const server = await openServer({ provisioner, kernelspecs });
  onTestFinished(() => server[Symbol.asyncDispose]());
  await server.start("fake", "s");
  return { server, kernel: () => provisioner.kernel };
}

/** The next request that the kernel gets. */
async function sentTo(kernel: () => FakeKernel): Promise<Message> {
  const before = kernel().sent.length;
  return eventually("a request to the kernel", () => kernel().sent[before]);
}

function refusalsIn(
  session: Awaited<ReturnType<typeof startedSession>>["session"],
  after: number,
) {
  return entriesIn(session, after).flatMap((entry) =>
    entry.isEvent && entry.event.kind === "refused" ? [entry.event] : [],
  );
}
