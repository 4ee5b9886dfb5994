/** What clients of Jupyter's API are told of a kernel: its end with the reason, its usage, what it waits for, and the rules of its kernelspec. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import {
  eventually,
  openServer,
  temporaryFolder,
  type TestServer,
} from "../harness.ts";
import { kernelspecOf } from "../kernels/index.ts";
import {
  Client,
  opened,
  type Received,
  startKernel,
  V1,
} from "./jupyter-client.ts";

type Model = Readonly<Record<string, unknown>>;

async function kernel(server: TestServer, id: string): Promise<Model> {
  const { body } = await server.ask("GET", `/api/kernels/${id}`);
  return body as Model;
}

/** Starts a kernel that is not started again when it dies. */
async function startMortal(server: TestServer): Promise<string> {
  const id = await startKernel(server);
  const { session_id } = await kernel(server, id);
  const path = `/sessions/${String(session_id)}/policy`;
  await server.ask("PUT", path, { autorestart: null });
  return id;
}

/** The text on stderr for this request, and the states, in the order of arrival. */
function course(received: readonly Received[], msg_id: string): unknown[] {
  return received.flatMap(({ header, parent_header, content }) => {
    if (header.msg_type === "status") return [content["execution_state"]];
    const isNotice =
      header.msg_type === "stream" &&
      content["name"] === "stderr" &&
      parent_header.msg_id === msg_id;
    return isNotice ? [content["text"]] : [];
  });
}

test.each([
  ["v1", V1],
  ["the default protocol", ""],
])(
  "in %s, code whose kernel died says so on stderr before the kernel is dead, to every client once",
  async (_, protocol) => {
    const server = await opened();
    const id = await startMortal(server);
    const session_id = randomUUID();
    const asking = await Client.open(server, id, { protocol, session_id });
    const other = await Client.open(server, id, { protocol });

    const msg_id = asking.send("execute_request", { code: "crash" });
    for (const client of [asking, other]) {
      await eventually("the end", () =>
        client.states.at(-1) === "dead" ? true : undefined,
      );
      const told = course(client.received, msg_id);
      const text = "The kernel died: signal SIGSEGV\n";
      expect(told.slice(told.indexOf(text))).toEqual([text, "idle", "dead"]);
      expect(told.filter((one) => one === text)).toHaveLength(1);
    }
    expect(await kernel(server, id)).toMatchObject({
      execution_state: "dead",
      reason: "child process exited: signal SIGSEGV",
      exit: { code: -1, signal: "SIGSEGV" },
    });

    asking.socket.close();
    await once(asking.socket, "close");
    const again = await Client.open(server, id, { protocol, session_id });
    await eventually("the state", () => again.states[0]);
    await server.ask("POST", `/api/kernels/${id}/restart`); // what comes of it is after what was missed
    await eventually("the new kernel", () =>
      again.states.at(-1) === "idle" ? true : undefined,
    );
    expect(course(again.received, msg_id)).toEqual([
      "dead",
      "starting",
      "idle",
    ]);
  },
);

test("a client that was away when the kernel died reads why when it comes back", async () => {
  const server = await opened();
  const id = await startMortal(server);
  const session_id = randomUUID();
  const first = await Client.open(server, id, { session_id });
  const msg_id = first.send("execute_request", { code: "sleep 60000" });
  await eventually("busy", () =>
    first.states.at(-1) === "busy" ? true : undefined,
  );
  first.socket.close();
  await once(first.socket, "close");
  const { pid } = await kernel(server, id);
  process.kill(pid as number, "SIGKILL");
  await eventually("the end", async () =>
    (await kernel(server, id))["execution_state"] === "dead" ? true : undefined,
  );

  const back = await Client.open(server, id, { session_id });
  await eventually("the end", () =>
    back.states.length > 1 && back.states.at(-1) === "dead" ? true : undefined,
  );
  const text = "The kernel died: signal SIGKILL\n";
  const told = course(back.received, msg_id);
  expect(told.slice(told.indexOf(text))).toEqual([text, "idle", "dead"]);
});

test("code whose kernel is started again says so before the kernel is restarting", async () => {
  const server = await opened();
  const id = await startKernel(server);
  const client = await Client.open(server, id);
  const msg_id = client.send("execute_request", { code: "crash" });
  await eventually("the new kernel", () =>
    client.states.includes("restarting") && client.states.at(-1) === "idle"
      ? true
      : undefined,
  );
  const told = course(client.received, msg_id);
  const text =
    "The kernel died: signal SIGSEGV; it is started again (1 of 5 times in 60 s)\n";
  expect(told.slice(told.indexOf(text), told.indexOf(text) + 3)).toEqual([
    text,
    "idle",
    "restarting",
  ]);
  expect((await kernel(server, id))["exit"]).toBeUndefined();
});

test("code whose kernel a client restarts or deletes gets no notice", async () => {
  const server = await opened();
  const id = await startKernel(server);
  const client = await Client.open(server, id);
  const running = async () => {
    const before = client.received.length;
    const msg_id = client.send("execute_request", { code: "sleep 60000" });
    await eventually("busy", () =>
      client.received
        .slice(before)
        .some(({ header }) => header.msg_type === "execute_input")
        ? true
        : undefined,
    );
    return msg_id;
  };
  const restarted = await running();
  await server.ask("POST", `/api/kernels/${id}/restart`);
  const deleted = await running();
  await server.ask("DELETE", `/api/kernels/${id}`);
  await eventually("the end", () => client.code);
  const streams = client.received.filter(
    ({ header }) => header.msg_type === "stream",
  );
  expect(streams).toEqual([]);
  for (const msg_id of [restarted, deleted]) {
    expect(
      client.received.find(
        ({ channel, parent_header }) =>
          channel === "shell" && parent_header.msg_id === msg_id,
      )?.content,
    ).toMatchObject({ status: "aborted" });
  }
});

test("a kernel's model says what waits: code, and a question to the user", async () => {
  const server = await opened();
  const id = await startKernel(server);
  expect(await kernel(server, id)).toMatchObject({ queue: 0 });
  const client = await Client.open(server, id);
  const msg_id = client.send("execute_request", {
    code: "password Secret?",
    allow_stdin: true,
  });
  const asks = await eventually("the question", async () => {
    const model = await kernel(server, id);
    return model["pending_input"] === undefined ? undefined : model;
  });
  expect(asks["pending_input"]).toEqual({
    request_id: msg_id,
    prompt: "Secret?",
    password: true,
  });
  client.send("execute_request", { code: "later" });
  await eventually("the queue", async () =>
    (await kernel(server, id))["queue"] === 1 ? true : undefined,
  );
  client.send("input_reply", { value: "x" }, { channel: "stdin" });
  await eventually("nothing that waits", async () => {
    const { queue, pending_input } = await kernel(server, id);
    return queue === 0 && pending_input === undefined ? true : undefined;
  });
});

test("a kernel's model has its last usage while a client reads", async () => {
  await using server = await openServer({ resourceSampleIntervalMs: 100 });
  const id = await startKernel(server);
  const client = await Client.open(server, id);
  const usage = await eventually(
    "a sample",
    async () => (await kernel(server, id))["usage"] as Model | undefined,
  );
  expect(usage["rss"]).toBeGreaterThan(1_000_000);
  expect(usage["cpu"]).toBeGreaterThanOrEqual(0);
  client.socket.terminate();
});

test("a kernelspec's cull_idle_timeout applies to its kernels, unless the client sets another", async () => {
  const folder = temporaryFolder();
  const write = (name: string, cull_idle_timeout: unknown) => {
    const directory = join(folder, "kernels", name);
    mkdirSync(directory, { recursive: true });
    const spec = kernelspecOf("echo", { metadata: { cull_idle_timeout } });
    writeFileSync(join(directory, "kernel.json"), JSON.stringify(spec));
  };
  write("short", 7);
  write("odd", "soon");
  const server = await openServer({
    kernelspecDirs: [folder],
    policy: { cull_idle_timeout: 100, cull_connected: true },
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const policyOf = async (kernel_name: string, policy?: object) => {
    const session_id = randomUUID();
    await server.ask("PUT", "/sessions", { session_id, kernel_name, policy });
    const { body } = await server.ask("GET", `/sessions/${session_id}`);
    return (body as { policy: Model }).policy;
  };
  expect(await policyOf("short")).toMatchObject({
    cull_idle_timeout: 7,
    cull_connected: true,
  });
  expect(await policyOf("short", { cull_idle_timeout: 9 })).toMatchObject({
    cull_idle_timeout: 9,
  });
  expect(await policyOf("odd")).toMatchObject({ cull_idle_timeout: 100 });
});

test.each(["", V1])(
  "every busy and idle that a client receives has a parent, with the protocol %j: clients read its id",
  async (protocol) => {
    const server = await opened();
    const id = await startKernel(server);
    const client = await Client.open(server, id, { protocol });
    await client.answered(client.send("execute_request", { code: "hello" }));
    const states = client.received.filter(({ content }) =>
      ["busy", "idle"].includes(String(content["execution_state"])),
    );
    expect(states.length).toBeGreaterThan(2);
    for (const { parent_header } of states) {
      expect(parent_header.msg_id).toMatch(/./);
    }
    // JupyterLab ignores the states of some requests, such as kernel_info.
    const [greeting] = states;
    expect(greeting?.parent_header).toMatchObject({
      msg_type: "kernel_status_request",
    });
  },
);
