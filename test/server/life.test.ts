import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { descendantsOf, isAlive } from "../../src/host/process-table.ts";
import { doors, type TestClient } from "../doors.ts";
import {
  eventually,
  openServer,
  ownWords,
  temporaryFolder,
  type TestServer,
} from "../harness.ts";
import { argvOf } from "../kernels/index.ts";

/** Starts that fail, kernels that do not end, and that nothing is left of them. */
let server: TestServer;
beforeAll(async () => {
  server = await openServer();
});
afterAll(() => server[Symbol.asyncDispose]());

let count = 0;
async function create(
  more: Readonly<Record<string, unknown>>,
): Promise<string> {
  const session_id = `life-${(count += 1)}`;
  const { status, text } = await server.ask("PUT", "/sessions", {
    session_id,
    ...more,
  });
  if (status !== 200) throw new Error(text);
  return session_id;
}
function attach(session_id: string): Promise<TestClient> {
  const [door] = doors;
  if (door === undefined) throw new Error("no door");
  return door.attach(server, session_id);
}
async function statusOf(session_id: string): Promise<string> {
  const { body } = await server.ask("GET", `/sessions/${session_id}`);
  return (body as { status: string }).status;
}
test("if a foreign process takes a port, the kernel is started again with other ports, as one run", async () => {
  const session = await create({ kernel_name: "echo" });
  const promised = await server.ask(
    "GET",
    `/sessions/${session}/connection_info`,
  );
  const { shell_port } = promised.body as { shell_port: number };
  const stranger = createServer();
  stranger.listen(shell_port, "127.0.0.1");
  await once(stranger, "listening");
  try {
    const path = `/sessions/${session}`;
    expect((await server.ask("POST", `${path}/start`)).status).toBe(200);
    await using client = await attach(session);
    await client.until("idle", ({ status }) => status === "idle");
    expect(client.statuses).toEqual(["starting", "ready", "idle"]);
    expect(client.received.some(({ kind }) => kind === "exited")).toBe(false);
    const now = await server.ask("GET", `${path}/connection_info`);
    expect(now.body).not.toMatchObject({ shell_port });
  } finally {
    stranger.close();
  }
});

describe("a start that fails", () => {
  test("because the program does not exist, fails when the session is made", async () => {
    const { status, body } = await server.ask("PUT", "/sessions", {
      ...ownWords,
      session_id: "none",
      argv: ["/no/such/program"],
    });
    expect(status).toBe(400);
    expect(body).toMatchObject({
      code: "KS-19",
      message: expect.stringContaining("/no/such/program") as unknown,
    });
  });

  test("because the kernel exits, reports the exit and the kernel's output", async () => {
    const session = await create({ kernel_name: "stillborn" });
    const { status, body } = await server.ask(
      "POST",
      `/sessions/${session}/start`,
    );
    expect(status).toBe(500);
    expect(body).toMatchObject({
      exit_code: 3,
      output: expect.stringContaining("Traceback") as unknown,
      error: { code: "KS-8" },
    });
    expect(await statusOf(session)).toBe("exited");
  });

  test("because the kernel does not answer, ends it and reports the timeout", async () => {
    const session = await create({
      kernel_name: "unresponsive",
      connection_timeout: 1,
    });
    const before = new Set(descendantsOf([process.pid]));
    const { status, body } = await server.ask(
      "POST",
      `/sessions/${session}/start`,
    );
    expect(status).toBe(500);
    expect(body).toMatchObject({
      exit_code: 130,
      error: {
        code: "KS-7",
        message: expect.stringContaining("1 s") as unknown,
      },
    });
    expect(
      descendantsOf([process.pid]).filter((pid) => !before.has(pid)),
    ).toEqual([]);
    expect(await statusOf(session)).toBe("exited");
  });

  test("because the kernel does not register, ends it", async () => {
    const session = await create({
      ...ownWords,
      argv: [process.execPath, "-e", "setInterval(() => {}, 1000)"],
      protocol_version: "5.5",
      connection_timeout: 1,
    });
    const { status, body } = await server.ask(
      "POST",
      `/sessions/${session}/start`,
    );
    expect(status).toBe(500);
    expect(body).toMatchObject({ error: { code: "KS-17" } });
  });

  test("is in the journal: the status and, if a process ran, its exit, once", async () => {
    const session = await create({ kernel_name: "stillborn" });
    await server.ask("POST", `/sessions/${session}/start`);
    await using client = await attach(session);
    await client.until("exited", ({ kind }) => kind === "exited");
    expect(client.statuses).toEqual(["starting", "exited"]);
    expect(
      client.received.filter(({ kind }) => kind === "exited"),
    ).toHaveLength(1);
  });

  test("may be repeated, and deleted", async () => {
    const session = await create({ kernel_name: "stillborn" });
    await server.ask("POST", `/sessions/${session}/start`);
    expect(
      (await server.ask("POST", `/sessions/${session}/start`)).status,
    ).toBe(500);
    expect((await server.ask("DELETE", `/sessions/${session}`)).status).toBe(
      200,
    );
  });

  test("because it is killed, ends at once", async () => {
    const session = await create({ kernel_name: "unresponsive" });
    const started = server.ask("POST", `/sessions/${session}/start`);
    await eventually("its process", async () => {
      const { body } = await server.ask("GET", `/sessions/${session}`);
      return (body as { process_id?: number }).process_id;
    });
    expect((await server.ask("POST", `/sessions/${session}/kill`)).status).toBe(
      200,
    );
    expect((await started).status).toBe(500);
    expect(await statusOf(session)).toBe("exited");
  });
});

describe("a kernel that registers itself", () => {
  test.each(["posit", "spec"])(
    "in the dialect of %s is accepted",
    async (dialect) => {
      const session = await create({
        ...ownWords,
        argv: argvOf("registered"),
        env: [{ action: "replace", name: "DIALECT", value: dialect }],
        protocol_version: "5.5",
      });
      const { status, body } = await server.ask(
        "POST",
        `/sessions/${session}/start`,
      );
      expect(status).toBe(200);
      expect(body).toMatchObject({ status: "ok" });
    },
  );
});

describe("states", () => {
  test("a session that was never started can be deleted, and neither interrupted nor killed", async () => {
    const session = await create({ kernel_name: "echo" });
    expect(await statusOf(session)).toBe("uninitialized");
    const interrupted = await server.ask(
      "POST",
      `/sessions/${session}/interrupt`,
    );
    expect([interrupted.status, interrupted.body]).toMatchObject([
      400,
      { code: "KS-10" },
    ]);
    const killed = await server.ask("POST", `/sessions/${session}/kill`);
    expect([killed.status, killed.body]).toMatchObject([
      400,
      { code: "KS-12" },
    ]);
    expect((await server.ask("DELETE", `/sessions/${session}`)).status).toBe(
      200,
    );
  });

  test("a running session is neither started again, nor deleted, nor made twice", async () => {
    const session = await server.start("echo", "running");
    const started = await server.ask("POST", `/sessions/${session}/start`);
    expect([started.status, started.body]).toMatchObject([
      500,
      { error: { code: "KS-2" } },
    ]);
    const deleted = await server.ask("DELETE", `/sessions/${session}`);
    expect([deleted.status, deleted.body]).toMatchObject([
      400,
      { code: "KS-2" },
    ]);
    const made = await server.ask("PUT", "/sessions", {
      session_id: session,
      kernel_name: "echo",
    });
    expect([made.status, made.body]).toMatchObject([400, { code: "KS-0" }]);
  });

  test("a session with a dead kernel can be started again", async () => {
    const session = await server.start("echo", "dead");
    await server.ask("POST", `/sessions/${session}/kill`);
    await eventually("its exit", async () =>
      (await statusOf(session)) === "exited" ? true : undefined,
    );
    const { status, body } = await server.ask(
      "POST",
      `/sessions/${session}/restart`,
    );
    expect([status, body]).toEqual([200, null]);
    expect(await statusOf(session)).toBe("idle");
  });
});

// Two tests that wait for time to pass, side by side.
test.concurrent(
  "a kernel that ignores every request and SIGTERM is killed",
  async () => {
    const session = await server.start("stubborn");
    const { body } = await server.ask("GET", `/sessions/${session}`);
    const { process_id } = body as { process_id: number };
    const { status } = await server.ask(
      "POST",
      `/sessions/${session}/shutdown`,
    );
    expect(status).toBe(200);
    expect(isAlive(process_id)).toBe(false);
  },
);

test.concurrent(
  "a stopped kernel is offline, and busy again when it continues",
  async () => {
    const session = await server.start("echo", "stopped");
    const { body } = await server.ask("GET", `/sessions/${session}`);
    const { process_id } = body as { process_id: number };
    const [door] = doors;
    if (door === undefined) throw new Error("no door");
    await using client = await door.attach(server, session);
    await client.execute("sleep 60000");
    await client.until("busy", ({ status }) => status === "busy");
    process.kill(process_id, "SIGSTOP");
    await client.until("offline", ({ status }) => status === "offline");
    process.kill(process_id, "SIGCONT");
    await client.until(
      "busy once more",
      ({ status, reason }) =>
        status === "busy" && reason === "heartbeat detected after offline",
    );
  },
  40_000,
);

test("code that arrives while a kernel ends for a restart runs on the new one, over every protocol", async () => {
  const session = await server.start("reluctant");
  const path = `/sessions/${session}`;
  const describe = async () =>
    (await server.ask("GET", path)).body as Readonly<Record<string, unknown>>;
  const { process_id: old } = await describe();
  const clients = await Promise.all(
    doors.map((door) => door.attach(server, session)),
  );
  const restart = server.ask("POST", `${path}/restart`);
  await clients[0]?.until("busy", ({ status }) => status === "busy");

  const sent = await Promise.all(clients.map((client) => client.execute("")));
  const code = { code: "" };
  const created = await server.ask("POST", `${path}/executions`, code);
  const { execution_id } = created.body as { execution_id: string };
  const synchronous = server.ask("POST", `${path}/execute`, code);
  const during = await describe();
  expect([during["process_id"], during["status"]]).toEqual([old, "busy"]);

  expect((await restart).status).toBe(200);
  const { process_id: now } = await describe();
  expect(now).not.toBe(old);
  const result = { data: { "text/plain": String(now) } };
  for (const [index, client] of clients.entries()) {
    const msg_id = sent[index] ?? "";
    expect((await client.over(msg_id)).content).toMatchObject({ status: "ok" });
    expect(
      client.messagesFor(msg_id).map(({ content }) => content),
    ).toContainEqual(expect.objectContaining(result));
    await client[Symbol.asyncDispose]();
  }
  expect((await synchronous).body).toMatchObject({
    status: "ok",
    outputs: [result],
  });
  await server.ask("POST", `${path}/executions/${execution_id}/wait`);
  const outputs = `${path}/executions/${execution_id}/outputs`;
  expect((await server.ask("GET", outputs)).body).toMatchObject({
    outputs: [result],
  });
});

test("a restart can set a new environment and a new directory", async () => {
  const folder = temporaryFolder();
  const session = await server.start("echo", "moved");
  const { status } = await server.ask("POST", `/sessions/${session}/restart`, {
    working_directory: folder,
    env: [{ action: "replace", name: "NEW", value: "a b" }],
  });
  expect(status).toBe(200);
  const resultOf = async (code: string) => {
    const { body } = await server.ask("POST", `/sessions/${session}/execute`, {
      code,
    });
    const { outputs } = body as { outputs: { data: Record<string, string> }[] };
    return outputs[0]?.data["text/plain"];
  };
  expect(await resultOf("cwd")).toBe(folder);
  expect(await resultOf("env NEW")).toBe("a b");
  await server.ask("POST", `/sessions/${session}/shutdown`); // its directory is about to be removed
});

test("the connection file is private, and removed with its kernel", async () => {
  const session = await server.start("echo", "private");
  const { body } = await server.ask("GET", `/sessions/${session}`);
  const { connection_file } = body as { connection_file: string };
  expect(existsSync(connection_file)).toBe(true);
  await server.ask("POST", `/sessions/${session}/shutdown`);
  expect(existsSync(connection_file)).toBe(false);
});

test("a kernel of another program is adopted with its own key, and never killed by the server", async () => {
  const owner = await openServer();
  await owner.start("echo", "theirs");
  const { body } = await owner.ask("GET", "/sessions/theirs/connection_info");
  const session = await create({ ...ownWords, argv: [] });
  const adopted = await server.ask("PUT", `/sessions/${session}/adopt`, body);
  expect([adopted.status, adopted.body]).toMatchObject([
    200,
    { implementation: "echo" },
  ]);
  const { body: answer } = await server.ask(
    "POST",
    `/sessions/${session}/execute`,
    { code: "hello" },
  );
  expect(answer).toMatchObject({ status: "ok" });
  await owner[Symbol.asyncDispose]();
  await eventually("its exit", async () =>
    (await statusOf(session)) === "exited" ? true : undefined,
  );
});

test("a kernel that is adopted while it runs code is busy until the code has ended", async () => {
  await using owner = await openServer();
  await owner.start("echo", "theirs");
  const [door] = doors;
  if (door === undefined) throw new Error("no door");
  await using theirs = await door.attach(owner, "theirs");
  const msg_id = await theirs.execute("sleep 60000");
  await theirs.until("busy", ({ status }) => status === "busy");
  const { body } = await owner.ask("GET", "/sessions/theirs/connection_info");
  const session = await create({ ...ownWords, argv: [] });
  await server.ask("PUT", `/sessions/${session}/adopt`, body);
  expect(await statusOf(session)).toBe("busy");
  await using client = await attach(session);
  await owner.ask("POST", "/sessions/theirs/interrupt");
  await theirs.over(msg_id);
  await client.until("idle", ({ status }) => status === "idle");
  expect(client.statuses).toEqual(["starting", "ready", "busy", "idle"]);
});

test("a server that ends also ends every kernel, such as one that ignores requests, one that is starting and one that was never started", async () => {
  await using ending = await openServer({
    runtimeDirectory: join(temporaryFolder()),
  });
  await ending.start("stubborn");
  await ending.start("echo");
  await ending.ask("PUT", "/sessions", {
    session_id: "never",
    kernel_name: "echo",
  });
  await ending.ask("PUT", "/sessions", {
    session_id: "starting",
    kernel_name: "unresponsive",
  });
  void ending.ask("POST", "/sessions/starting/start").catch(() => {}); // it is disconnected
  await eventually("the start", async () => {
    const { body } = await ending.ask("GET", "/sessions/starting");
    return (body as { process_id?: number }).process_id;
  });
  // The harness asserts that nothing is left.
});
