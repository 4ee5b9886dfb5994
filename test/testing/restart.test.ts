/** A server of the test kit that is restarted: what a front end sees of it. */
import { afterEach, describe, expect, test } from "vitest";
import { connect } from "../../client/index.ts";
import {
  exit,
  hang,
  input,
  mockKernel,
  print,
  result,
  stream,
  testServer,
  type TestServer,
  wait,
} from "../../testing/index.ts";
import { eventually } from "../harness.ts";

const kernels = {
  python3: mockKernel({
    on: {
      hi: stream("hi\n"),
      long: [stream("1\n"), wait(50), stream("2\n"), result("'done'")],
      ask: input("Name? ", (name) => result(`'${name}'`)),
      hang: hang(),
      die: exit({ exit_code: 3 }),
      noise: [print("a\n"), print("b\n"), print("c\n")],
    },
  }),
};

let server: TestServer | undefined;
afterEach(async () => {
  await server?.[Symbol.asyncDispose]();
  server = undefined;
});

async function opened(): Promise<TestServer> {
  server = await testServer({ kernels, keep: true });
  return server;
}

async function described(from: TestServer, id: string) {
  const answer = await from.fetch(`/sessions/${id}`);
  return (await answer.json()) as Readonly<Record<string, unknown>>;
}

describe("a server that is restarted", () => {
  test("has the same sessions, journals and kernels", async () => {
    const kit = await opened();
    const session = await kit.start("python3", "a");
    await session.execute("hi");
    const before = await described(kit, "a");
    expect(before).toMatchObject({ keep: true, status: "idle" });
    await kit.restart();
    const { events } = session.transcript;
    await session.transcript.until(
      "the restored session",
      (event) => event.kind === "status" && event.reason === "restored",
    );
    const after = await described(kit, "a");
    expect(after["journal_id"]).toBe(before["journal_id"]);
    expect(after).toMatchObject({ status: "idle", keep: true });
    expect(events.map(({ seq }) => seq)).toEqual(
      events.map((_, index) => index + 1),
    );
    expect((await session.execute("hi")).outputs).toHaveLength(1);
  });

  test("shows sessions as offline until they are attached, and keeps what is sent meanwhile", async () => {
    const kit = await opened();
    const session = await kit.start("python3", "a");
    const long = await session.run("long");
    await session.transcript.until(
      "the first line",
      (event) => event.kind === "jupyter" && event.header.msg_type === "stream",
    );
    await kit.restart({ attach: false });
    expect(await described(kit, "a")).toMatchObject({ status: "offline" });
    const status = await kit.fetch("/status");
    expect(await status.json()).toMatchObject({ restoring: 1 });
    await session.transcript.until(
      "offline",
      (event) =>
        event.kind === "status" &&
        event.status === "offline" &&
        event.reason === "restoring",
    );
    const waiting = session.execute("hi");
    kit.attach();
    const { outputs } = await waiting;
    expect(outputs).toMatchObject([{ text: "hi\n" }]);
    // The code of before went on meanwhile, and nothing of it is missing or doubled.
    expect(await session.transcript.outputs(long)).toMatchObject([
      { output_type: "stream", text: "1\n2\n" },
      { output_type: "execute_result" },
    ]);
    expect(await described(kit, "a")).toMatchObject({ status: "idle" });
  });

  test("breaks connections, and the client comes back by itself", async () => {
    const kit = await opened();
    const client = await connect({
      url: kit.url,
      fetch: kit.fetch,
      WebSocket: kit.WebSocket,
    });
    const session = await client.start("python3");
    const asking = session.execute("ask");
    for await (const event of asking) {
      if (event.type !== "input_request") continue;
      await kit.restart();
      await asking.answer("Ada");
    }
    expect((await asking).result?.["text/plain"]).toBe("'Ada'");
    client.close();
  });

  test("gives a Jupyter client that comes back the replies to what it has requested", async () => {
    const kit = await opened();
    await kit.start("python3", "a");
    const { kernel_id } = await described(kit, "a");
    const url = `${kit.url.replace("http", "ws")}/api/kernels/${String(kernel_id)}/channels?session_id=lab`;
    const received: Record<string, { msg_id?: string; msg_type?: string }>[] =
      [];
    const open = async () => {
      const socket = new kit.WebSocket(url);
      socket.onmessage = ({ data }) => {
        received.push(JSON.parse(String(data)) as (typeof received)[number]);
      };
      await new Promise((resolve) => (socket.onopen = resolve));
      return socket;
    };
    const first = await open();
    const header = {
      ...{ msg_id: "the-code", msg_type: "execute_request" },
      session: "lab",
    };
    const content = { code: "long", allow_stdin: false };
    const empty = { parent_header: {}, metadata: {}, buffers: [] };
    first.send(JSON.stringify({ channel: "shell", header, content, ...empty }));
    const find = (msg_type: string) =>
      received.find(
        (message) =>
          message["header"]?.msg_type === msg_type &&
          message["parent_header"]?.msg_id === "the-code",
      );
    await eventually("the first line", () => find("stream"));
    await kit.restart({ attach: false });
    expect(find("execute_reply")).toBeUndefined();
    await open();
    kit.attach();
    await eventually("the reply", () => find("execute_reply"));
  });

  test("without its kernels has sessions that have ended, and their histories", async () => {
    const kit = await opened();
    const session = await kit.start("python3", "a");
    const done = await session.run("hi");
    await session.transcript.untilIdle(done);
    const hanging = session.execute("hang").catch((error: unknown) => error);
    await session.transcript.until(
      "busy code",
      (event) =>
        event.kind === "execution" &&
        event.state === "running" &&
        event.execution_id !== done,
    );
    await kit.restart({ kernels: "gone" });
    const exited = await session.transcript.until(
      "the exit",
      (event) => event.kind === "status" && event.status === "exited",
    );
    expect(exited.kind === "status" && exited.reason).toContain(
      "its keeper does not have it any more",
    );
    expect(await session.transcript.outputs(done)).toHaveLength(1);
    await hanging;
    const started = await kit.fetch("/sessions/a/start", { method: "POST" });
    expect(started.status).toBe(200);
  });

  test("with lost events says so in the session", async () => {
    const kit = await opened();
    const session = await kit.start("python3", "a");
    const noise = session.execute("noise").catch(() => {});
    await kit.restart({ attach: false, lost: 2 });
    kit.attach();
    const said = await session.transcript.until(
      "the loss",
      (event) => event.kind === "output" && event.stream === "stderr",
    );
    expect(said).toMatchObject({
      text: "2 messages of the kernel were lost\n",
    });
    await noise;
  });

  test("that has forgotten events tells readers the gap", async () => {
    const kit = await opened();
    const session = await kit.start("python3", "a");
    await session.execute("hi");
    await kit.restart({ forgotten: 4 });
    const events = await readAll(kit);
    expect(events[0]).toMatchObject({ kind: "gap", from: 1, to: 4 });
    expect(events[1]).toMatchObject({ seq: 5 });
  });

  test("ends sessions that are not kept", async () => {
    const kit = await opened();
    await kit.fetch("/sessions", {
      method: "PUT",
      body: JSON.stringify({
        session_id: "short",
        kernel_name: "python3",
        keep: false,
      }),
    });
    await kit.fetch("/sessions/short/start", { method: "POST" });
    await kit.restart();
    expect((await kit.fetch("/sessions/short")).status).toBe(404);
  });

  test("must keep sessions", async () => {
    server = await testServer({ kernels });
    await expect(server.restart()).rejects.toThrow("`keep: true`");
  });

  test("that is disposed of while it restores leaves nothing", async () => {
    const kit = await opened();
    await kit.start("python3", "a");
    await kit.restart({ attach: false });
    await kit[Symbol.asyncDispose]();
    server = undefined;
  });
});

/** The first events of the session, for a reader from the beginning. */
async function readAll(kit: TestServer): Promise<Record<string, unknown>[]> {
  const events: Record<string, unknown>[] = [];
  const subscription = kit.trpc.sessions.events.subscribe(
    { session_id: "a", after: 0 } as never,
    { onData: ({ data }) => events.push(data) },
  );
  await eventually("events", () => (events.length > 2 ? true : undefined));
  subscription.unsubscribe();
  return events;
}
