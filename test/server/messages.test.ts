import {
  afterAll,
  beforeAll,
  beforeEach,
  describe,
  expect,
  test,
} from "vitest";
import { doors, type Received, type TestClient } from "../doors.ts";
import { openServerOf, type TestServer } from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";

/** The promises about messages, over every door. */
describe.each(doors)("messages over $name", (door) => {
  let server: TestServer;
  let session = "";
  let count = 0;

  beforeAll(async () => {
    server = await openServerOf({ echo });
  });
  afterAll(() => server[Symbol.asyncDispose]());
  beforeEach(async () => {
    session = await server.start("echo", `echo-${(count += 1)}`);
  });

  test("the kernel's messages arrive in order, between busy and idle", async () => {
    await using client = await door.attach(server, session);
    const msg_id = await client.execute("hello");
    await client.over(msg_id);
    expect(
      client.messagesFor(msg_id).map(({ header }) => header?.msg_type),
    ).toEqual([
      "status",
      "execute_input",
      "stream",
      "execute_result",
      "status",
    ]);
  });

  test("numbers are dense from the first event on", async () => {
    await using client = await door.attach(server, session);
    const msg_id = await client.execute("hello");
    await client.over(msg_id);
    const numbers = client.received.map(({ seq }) => seq);
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
  });

  test("a start leaves only its statuses in the journal", async () => {
    await using client = await door.attach(server, session);
    await client.until("idle", ({ status }) => status === "idle");
    const parented = client.received.filter(
      ({ parent_header }) =>
        parent_header !== undefined && parent_header !== null,
    );
    expect(client.statuses).toEqual(["starting", "ready", "idle"]);
    expect(parented).toEqual([]);
  });

  test("headers arrive complete", async () => {
    await using client = await door.attach(server, session);
    const msg_id = await client.execute("hello");
    const reply = await client.over(msg_id);
    expect(reply.header).toMatchObject({ msg_type: "execute_reply" });
    expect(Object.keys(reply.header ?? {})).toEqual(
      expect.arrayContaining(["date", "session", "username", "version"]),
    );
    expect(reply.parent_header).toMatchObject({
      msg_id,
      session: "the-client",
      username: "tester",
    });
  });

  test("binary buffers arrive, also an empty one", async () => {
    await using client = await door.attach(server, session);
    const msg_id = await client.execute("buffers");
    await client.over(msg_id);
    const display = find(client.messagesFor(msg_id), "display_data");
    expect(display.buffers).toEqual(["AAEC/w==", "", "ZW5k"]);
  });

  test("binary buffers are sent, and return over the comm", async () => {
    await using client = await door.attach(server, session);
    await client.send({
      channel: "shell",
      msg_type: "comm_open",
      content: { comm_id: "c", target_name: "t", data: {} },
    });
    const msg_id = await client.send({
      channel: "shell",
      msg_type: "comm_msg",
      content: { comm_id: "c", data: { x: 1 } },
      buffers: ["/wA=", ""],
    });
    await client.idle(msg_id);
    const back = find(client.messagesFor(msg_id), "comm_msg");
    expect(back.buffers).toEqual(["/wA=", ""]);
  });

  test("an input request is answered", async () => {
    await using client = await door.attach(server, session);
    const msg_id = await client.execute("input Name?");
    const { content } = await answerInput(client, "Ada");
    expect(content).toMatchObject({ prompt: "Name?" });
    await client.over(msg_id);
    const result = find(client.messagesFor(msg_id), "execute_result");
    expect(result.content).toMatchObject({ data: { "text/plain": "Ada" } });
  });

  test.each([
    [
      "complete_request",
      { code: "err", cursor_pos: 3 },
      { matches: ["error"] },
    ],
    ["inspect_request", { code: "error", cursor_pos: 1 }, { found: true }],
    ["is_complete_request", { code: "a\\" }, { status: "incomplete" }],
    ["history_request", { hist_access_type: "tail", n: 1 }, { history: [] }],
    ["comm_info_request", {}, { comms: {} }],
    ["kernel_info_request", {}, { implementation: "echo" }],
  ])("%s is answered", async (msg_type, content, answer) => {
    await using client = await door.attach(server, session);
    const msg_id = await client.send({ channel: "shell", msg_type, content });
    const reply = await client.reply(msg_id);
    expect(reply.content).toMatchObject(answer);
  });

  test("a display is updated under its id", async () => {
    await using client = await door.attach(server, session);
    await client.over(await client.execute("display first"));
    const msg_id = await client.execute("update second");
    await client.over(msg_id);
    const update = find(client.messagesFor(msg_id), "update_display_data");
    expect(update.content).toMatchObject({
      data: { "text/plain": "second" },
      transient: { display_id: "the-display" },
    });
  });

  test("a repeated message reaches the kernel once", async () => {
    await using client = await door.attach(server, session);
    const sent = {
      channel: "shell",
      msg_type: "execute_request",
      content: { code: "once", silent: false },
      msg_id: "the-same",
    } as const;
    await client.send(sent);
    await client.send(sent);
    await client.over("the-same");
    await client.over(await client.execute("after"));
    const replies = client.received.filter(
      ({ header, parent_header }) =>
        header?.msg_type === "execute_reply" &&
        parent_header?.msg_id === "the-same",
    );
    expect(replies).toHaveLength(1);
  });

  test("waiting requests are announced, and run in order", async () => {
    await using client = await door.attach(server, session);
    const first = await client.execute("input go on?");
    const second = await client.execute("second");
    await client.until(
      "the second one waits",
      ({ kind, state }) => kind === "execution" && state === "queued",
    );
    await answerInput(client, "yes");
    await client.over(second);
    const queued = client.received.filter(
      ({ kind, state }) => kind === "execution" && state === "queued",
    );
    expect(queued).toMatchObject([{ execution_id: second }]);
    const order = [first, second].map(
      (msg_id) => find(client.messagesFor(msg_id), "execute_input").seq,
    );
    expect(order).toEqual(order.toSorted((a, b) => a - b));
  });

  test("an error drops the waiting requests, which are answered as aborted", async () => {
    await using client = await door.attach(server, session);
    const first = await client.execute("input go on?");
    const fails = await client.execute("error");
    const waits = await client.execute("never");
    await answerInput(client, "yes"); // the first one ends only when all have arrived
    await client.over(first);
    expect((await client.over(fails)).content).toMatchObject({
      status: "error",
    });
    expect((await client.over(waits)).content).toMatchObject({
      status: "aborted",
    });
    expect(
      client.messagesFor(waits).map(({ header }) => header?.msg_type),
    ).toEqual(["status"]);
  });

  test("ten thousand lines arrive, each once and in order", async () => {
    await using client = await door.attach(server, session);
    const msg_id = await client.execute("flood 10000");
    await client.over(msg_id);
    const text = client
      .messagesFor(msg_id)
      .filter(({ header }) => header?.msg_type === "stream")
      .map(({ content }) => String(content?.["text"]))
      .join("");
    expect(text).toBe(
      Array.from({ length: 10_000 }, (_, n) => `${n + 1}\n`).join(""),
    );
  });

  test("sixteen megabytes in one buffer arrive", async () => {
    await using client = await door.attach(server, session);
    const msg_id = await client.execute(`large ${16 * 1024 * 1024}`);
    await client.over(msg_id);
    const [buffer = ""] =
      find(client.messagesFor(msg_id), "display_data").buffers ?? [];
    expect(Buffer.from(buffer, "base64").length).toBe(16 * 1024 * 1024);
  });

  test("the events of a restart are in order: busy, exited, how, starting, ready, idle", async () => {
    await using client = await door.attach(server, session);
    await client.over(await client.execute("before"));
    await server.ask("POST", `/sessions/${session}/restart`);
    const own = () =>
      client.received.flatMap(({ kind, status, exit_code }) => {
        if (kind === "status") return [String(status)];
        return kind === "exited" ? [`exited with ${String(exit_code)}`] : [];
      });
    await client.until("idle again", () => {
      const end = own().indexOf("exited with 0");
      return end !== -1 && own().includes("idle", end);
    });
    expect(own()).toEqual([
      ...["starting", "ready", "idle"],
      ...["busy", "idle"],
      ...["busy", "exited", "exited with 0"],
      ...["starting", "ready", "idle"],
    ]);
  });

  test("all messages of a kernel that dies arrive, and its requests are answered", async () => {
    await using client = await door.attach(server, session);
    const msg_id = await client.execute("exit 7");
    const exited = await client.until(
      "exited",
      ({ kind }) => kind === "exited",
    );
    expect(exited["exit_code"]).toBe(7);
    const reply = await client.reply(msg_id);
    expect(reply.content).toMatchObject({ status: "aborted" });
    expect(client.statuses.at(-1)).toBe("exited");
  });
});

/** Answers the kernel's input request, and resolves with the request. */
async function answerInput(
  client: TestClient,
  value: string,
): Promise<Received> {
  const requested = await client.until(
    "input_request",
    ({ channel }) => channel === "stdin",
  );
  await client.send({
    channel: "stdin",
    msg_type: "input_reply",
    content: { value },
    parent_header: requested.header,
  });
  return requested;
}

function find(received: readonly Received[], msg_type: string): Received {
  const found = received.find(({ header }) => header?.msg_type === msg_type);
  if (found === undefined) throw new Error(`No ${msg_type} was received`);
  return found;
}
