/** `/api/events`, and the smaller promises of Jupyter Server's API: slashes, headers, addresses of the document. */
import { once } from "node:events";
import { expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import {
  eventually,
  openServer,
  temporaryFolder,
  type TestServer,
  TOKEN,
} from "../harness.ts";

const ACTIONS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1";
const STATUS = "urn:kallichore:kernel_status:v1";
const CULLING = "urn:kallichore:kernel_culling:v1";

type Event = Readonly<Record<string, unknown>>;

async function opened(basePath = "/"): Promise<TestServer> {
  const server = await openServer({ basePath });
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

/** What a client that listens receives. */
async function listen(server: TestServer): Promise<readonly Event[]> {
  const url = `${server.url.replace("http", "ws")}/api/events/subscribe?token=${TOKEN}`;
  const socket = new WebSocket(url);
  onTestFinished(() => socket.terminate());
  const received: Event[] = [];
  socket.on("message", (data: Buffer) =>
    received.push(JSON.parse(data.toString()) as Event),
  );
  await once(socket, "open");
  return received;
}

test("a client that listens receives what is done with kernels, and how they fare", async () => {
  const server = await opened();
  const events = await listen(server);
  const made = await server.ask("POST", "/api/kernels", { name: "echo" });
  const { id } = made.body as { id: string };
  await server.ask("POST", `/api/kernels/${id}/interrupt`);
  await server.ask("POST", `/api/kernels/${id}/restart`);
  await server.ask("DELETE", `/api/kernels/${id}`);
  const actions = () => events.filter(({ schema_id }) => schema_id === ACTIONS);
  await eventually("four actions", () =>
    actions().length === 4 ? true : undefined,
  );
  expect(actions()).toEqual(
    ["start", "interrupt", "restart", "shutdown"].map((action) => ({
      schema_id: ACTIONS,
      action,
      msg: `The ${action} of kernel ${id} succeeded`,
      kernel_id: id,
      kernel_name: "echo",
      status: "success",
    })),
  );
  const statuses = events
    .filter(({ schema_id }) => schema_id === STATUS)
    .map(({ kernel_id, status }) => [kernel_id, status]);
  expect(statuses).toContainEqual([id, "starting"]);
  expect(statuses).toContainEqual([id, "exited"]);
});

test("a client is told that a kernel is about to be shut down for lack of use, and then of its end", async () => {
  const server = await opened();
  const events = await listen(server);
  const made = await server.ask("POST", "/api/kernels", { name: "echo" });
  const { id, session_id } = made.body as { id: string; session_id: string };
  await server.ask("PUT", `/sessions/${session_id}/policy`, {
    cull_idle_timeout: 2,
  });
  const shutdown = await eventually("the end", () =>
    events.find(({ action }) => action === "shutdown"),
  );
  const kernel = { kernel_id: id, kernel_name: "echo" };
  expect(shutdown).toMatchObject({ ...kernel, status: "success" });
  const told = events.filter(
    ({ schema_id, status }) => schema_id === CULLING || status === "exited",
  );
  expect(told).toEqual([
    {
      schema_id: CULLING,
      ...kernel,
      session_id,
      cull_idle_timeout: 2,
      in_s: 1,
    },
    {
      schema_id: STATUS,
      ...kernel,
      session_id,
      status: "exited",
      reason: "culled after 2 s idle",
    },
  ]);
});

test("a failed action has the status of its answer", async () => {
  const server = await opened();
  const events = await listen(server);
  const failed = await server.ask("POST", "/api/kernels", {
    name: "stillborn",
  });
  expect(failed.status).toBe(500);
  const event = await eventually("the failure", () =>
    events.find(({ status }) => status === "error"),
  );
  expect(event).toMatchObject({ action: "start", status_code: 500 });
});

test("an event that a client emits reaches all clients, unless only the server may emit it", async () => {
  const server = await opened();
  const events = await listen(server);
  const emit = async (schema_id: string, more: Event = {}) => {
    const body = { schema_id, version: "1", data: { path: "a" }, ...more };
    return (await server.ask("POST", "/api/events", body)).status;
  };
  expect(await emit("https://example.org/saved/v1")).toBe(204);
  expect(await emit(ACTIONS)).toBe(400);
  expect(await emit(STATUS)).toBe(400);
  expect(await emit(CULLING)).toBe(400);
  expect(await emit("")).toBe(400);
  expect(await emit("x", { data: [] })).toBe(400);
  expect(await emit("x", { timestamp: "yesterday" })).toBe(400);
  const data = { schema_id: "forged", status: "mine" };
  expect(await emit("https://example.org/saved/v2", { data })).toBe(204);
  await eventually("both events", () =>
    events.length === 2 ? true : undefined,
  );
  expect(events).toEqual([
    { schema_id: "https://example.org/saved/v1", path: "a" },
    { schema_id: "https://example.org/saved/v2", status: "mine" },
  ]);
});

test("a Jupyter Server in front names the directory of a notebook in the environment", async () => {
  const server = await opened();
  const folder = temporaryFolder();
  const { body } = await server.ask("POST", "/api/kernels", {
    name: "echo",
    env: { KERNEL_WORKING_DIR: `${folder}/not/there` },
  });
  const { session_id } = body as { session_id: string };
  const session = await server.ask("GET", `/sessions/${session_id}`);
  expect(session.body).toMatchObject({ working_directory: folder });
});

test("an address with a slash at its end is the one without", async () => {
  const server = await opened("/user/a@b");
  const base = "/user/a@b";
  for (const path of ["/api", "/api/kernels", "/api/kernelspecs/echo"]) {
    const { status, headers } = await server.ask("GET", `${base}${path}/?a=1`);
    expect([status, headers["location"]]).toEqual([302, `${base}${path}?a=1`]);
  }
  const made = await server.ask("POST", `${base}/api/kernels/`, {
    name: "echo",
  });
  expect(made.status).toBe(201);
  const { id } = made.body as { id: string };
  const path = `${base}/api/kernels/${id}/`;
  expect((await server.ask("POST", `${path}interrupt/`)).status).toBe(204);
  expect((await server.ask("DELETE", path)).status).toBe(204);
  const without = { authorization: "" };
  const refused = await server.ask(
    "GET",
    `${base}/api/kernels/`,
    undefined,
    without,
  );
  expect(refused.status).toBe(403);
});

test("a browser reports to an address below the path, without a token", async () => {
  const server = await opened("/user/ann");
  const { headers } = await server.ask("GET", "/user/ann/api/kernels");
  const path = "/user/ann/api/security/csp-report";
  expect(headers["content-security-policy"]).toContain(`report-uri ${path};`);
  const report = { "csp-report": {} };
  expect((await server.ask("POST", path, report, {})).status).toBe(204);
});

test.each(["contents", "contents/a/b", "terminals", "config/notebook"])(
  "/api/%s is answered 404, with the reason",
  async (path) => {
    const server = await opened();
    const { status, body } = await server.ask("GET", `/api/${path}`);
    expect(status).toBe(404);
    expect((body as { message: string }).message).toContain(
      "This server runs kernels only",
    );
  },
);
