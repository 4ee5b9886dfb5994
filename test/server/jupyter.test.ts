/** Jupyter's REST API and its two WebSocket protocols, byte by byte if that is promised. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { eventually, openServer, temporaryFolder, TOKEN } from "../harness.ts";
import {
  Client,
  opened,
  type Received,
  startKernel,
  untilIdle,
  V1,
} from "./jupyter-client.ts";

const NOBODY = "11111111-1111-1111-1111-111111111111";

describe("kernels over REST", () => {
  test("are started, listed, described, interrupted, restarted and deleted with the codes that clients compare", async () => {
    const server = await opened();

    const started = await server.ask("POST", "/api/kernels", { name: "echo" });
    expect(started.status).toBe(201);
    const kernel = started.body as Readonly<Record<string, unknown>>;
    const path = `/api/kernels/${String(kernel["id"])}`;
    expect(started.headers["location"]).toBe(path);
    expect(await untilIdle(server, String(kernel["id"]))).toMatchObject({
      name: "echo",
      connections: 0,
    });
    expect(kernel["last_activity"]).toMatch(
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z$/,
    );

    const listed = await server.ask("GET", "/api/kernels");
    expect(listed.body).toMatchObject([{ id: kernel["id"] }]);
    expect((await server.ask("GET", path)).status).toBe(200);
    expect((await server.ask("POST", `${path}/interrupt`)).status).toBe(204);
    const restarted = await server.ask("POST", `${path}/restart`, {});
    expect(restarted).toMatchObject({ status: 200 });
    expect(restarted.body).toMatchObject({
      id: kernel["id"],
      execution_state: "idle",
    });
    const deleted = await server.ask("DELETE", path);
    expect(deleted).toMatchObject({ status: 204, text: "" });
    expect((await server.ask("GET", path)).status).toBe(404);
    expect((await server.ask("GET", "/api/kernels")).body).toEqual([]);
  });

  test("that start have nothing to interrupt, which is no failure", async () => {
    const server = await opened();
    const { body } = await server.ask("POST", "/api/kernels", {
      name: "unresponsive",
    });
    const { id, execution_state } = body as Readonly<Record<string, unknown>>;
    expect(execution_state).toBe("starting");
    const path = `/api/kernels/${String(id)}`;
    expect((await server.ask("POST", `${path}/interrupt`)).status).toBe(204);
    expect((await server.ask("GET", path)).body).toMatchObject({
      execution_state,
    });
    expect((await server.ask("DELETE", path)).status).toBe(204);
  });

  test.each([
    ["GET", ""],
    ["DELETE", ""],
    ["POST", "/interrupt"],
    ["POST", "/restart"],
    ["GET", "/channels"],
  ])(
    "%s …%s of an unknown kernel is 404 or an upgrade, in JSON",
    async (method, rest) => {
      const server = await opened();
      const { status, body } = await server.ask(
        method,
        `/api/kernels/${NOBODY}${rest}`,
      );
      expect(status).toBe(rest === "/channels" ? 426 : 404);
      expect(body).toMatchObject({ message: expect.any(String) as string });
    },
  );

  test("a kernel has the id that the client chose, and one id is one kernel", async () => {
    const server = await opened();
    const body = { name: "echo", kernel_id: NOBODY };
    const first = await server.ask("POST", "/api/kernels", body);
    const second = await server.ask("POST", "/api/kernels", body);
    expect(first.body).toMatchObject({ id: NOBODY });
    expect(second.status).toBe(201);
    expect((await server.ask("GET", "/api/kernels")).body).toHaveLength(1);
  });

  test("a session of the native API is a kernel with a UUID, and answers to both ids", async () => {
    const server = await opened();
    await server.start("echo", "mine");
    const [kernel] = (await server.ask("GET", "/api/kernels")).body as {
      readonly id: string;
    }[];
    expect(kernel?.id).toMatch(/^\w+-\w+-\w+-\w+-\w+$/);
    for (const id of ["mine", kernel?.id]) {
      const { body } = await server.ask("GET", `/api/kernels/${id}`);
      expect(body).toMatchObject({ id: kernel?.id, session_id: "mine" });
    }
    await server.ask("POST", "/sessions/mine/restart");
    const { body } = await server.ask("GET", "/sessions/mine");
    expect(body).toMatchObject({ kernel_id: kernel?.id });
  });

  test("a kernelspec that does not exist is 404, and leaves no kernel", async () => {
    const server = await opened();
    const { status, body } = await server.ask("POST", "/api/kernels", {
      name: "nope",
    });
    expect(status).toBe(404);
    expect(body).toMatchObject({ reason: "kernelspec_not_found" });
    expect((await server.ask("GET", "/api/kernels")).body).toEqual([]);
  });

  test("a kernel that exits at once is an error with its output", async () => {
    const server = await opened();
    const { status, body } = await server.ask("POST", "/api/kernels", {
      name: "stillborn",
    });
    expect(status).toBe(500);
    expect(body).toMatchObject({ traceback: "" });
    expect((await server.ask("GET", "/api/kernels")).body).toEqual([]);
  });

  test("a kernel that ends after a shutdown_request is gone", async () => {
    const server = await opened();
    const id = await startKernel(server);
    const client = await Client.open(server, id);
    client.send("shutdown_request", { restart: false }, { channel: "control" });
    await eventually("the end of the kernel", async () => {
      const { status } = await server.ask("GET", `/api/kernels/${id}`);
      return status === 404 ? true : undefined;
    });
  });

  test("without the token, everything except the version is 403", async () => {
    const server = await opened();
    const answers = await Promise.all(
      ["/api", "/api/kernels", "/api/status", "/api/me", "/api/contents"].map(
        (path) => server.ask("GET", path, undefined, {}),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual([
      200, 403, 403, 403, 403,
    ]);
  });

  test("contents and terminals are 404 with a reason", async () => {
    const server = await opened();
    const { status, body } = await server.ask("GET", "/api/contents/a.ipynb");
    expect(status).toBe(404);
    expect(body).toMatchObject({
      message: expect.stringContaining("runs kernels only") as string,
    });
  });
});

describe("kernelspecs over REST", () => {
  test("have the fields that clients validate, and resources only from their directory", async () => {
    const folder = temporaryFolder();
    const directory = join(folder, "kernels", "with logo");
    mkdirSync(directory, { recursive: true });
    const spec = { argv: ["true"], display_name: "A", language: "a" };
    writeFileSync(join(directory, "kernel.json"), JSON.stringify(spec));
    writeFileSync(join(directory, "logo-64x64.png"), "png");
    writeFileSync(join(directory, "resource.txt"), "resource");
    writeFileSync(join(directory, ".hidden"), "hidden");
    writeFileSync(join(folder, "outside.txt"), "outside");
    symlinkSync(join(folder, "outside.txt"), join(directory, "link.txt"));
    const broken = join(folder, "kernels", "broken");
    mkdirSync(broken);
    writeFileSync(join(broken, "kernel.json"), "{");
    await using server = await openServer({
      kernelspecDirs: [join(folder, "kernels")],
      env: { PATH: process.env["PATH"], HOME: folder },
      embedded: [],
    });

    const { body } = await server.ask("GET", "/api/kernelspecs");
    const { kernelspecs } = body as {
      readonly kernelspecs: Record<string, { resources: object }>;
    };
    expect(kernelspecs["broken"]).toBeUndefined();
    expect(kernelspecs["with logo"]).toMatchObject({
      name: "with logo",
      spec: { env: {}, interrupt_mode: "signal", metadata: {} },
      resources: { "logo-64x64": "/kernelspecs/with%20logo/logo-64x64.png" },
    });
    const logo = await server.ask(
      "GET",
      "/kernelspecs/with%20logo/logo-64x64.png",
    );
    expect(logo).toMatchObject({ status: 200, text: "png" });
    expect(logo.headers["content-type"]).toBe("image/png");
    const resource = await server.ask(
      "GET",
      "/kernelspecs/With%20Logo/resource.txt",
    );
    expect(resource).toMatchObject({ status: 200, text: "resource" });
    for (const file of [
      ".hidden",
      "link.txt",
      "..%2F..%2Foutside.txt",
      "kernel.json",
      "nothing.txt",
    ]) {
      const path = `/kernelspecs/with%20logo/${file}`;
      expect((await server.ask("GET", path)).status, file).toBe(404);
    }
  });
});

describe("sessions over REST", () => {
  test("keep path, name and type, and one path has one session", async () => {
    const server = await opened();
    const requested = {
      path: "a.ipynb",
      name: "A",
      type: "notebook",
      kernel: { name: "echo" },
    };
    const first = await server.ask("POST", "/api/sessions", requested);
    expect(first.status).toBe(201);
    const session = first.body as {
      readonly id: string;
      readonly kernel: { readonly id: string };
    };
    expect(first.headers["location"]).toBe(`/api/sessions/${session.id}`);
    expect(session).toMatchObject({
      path: "a.ipynb",
      name: "A",
      type: "notebook",
      notebook: { path: "a.ipynb" },
      kernel: { name: "echo" },
    });
    const again = await server.ask("POST", "/api/sessions", requested);
    expect(again.body).toMatchObject({ id: session.id });
    expect((await server.ask("GET", "/api/sessions")).body).toHaveLength(1);
  });

  test("are renamed, get another kernel, and end with it", async () => {
    const server = await opened();
    const { body } = await server.ask("POST", "/api/sessions", {
      path: "a",
      type: "console",
      kernel: { name: "echo" },
    });
    const session = body as {
      readonly id: string;
      readonly kernel: { readonly id: string };
    };
    const path = `/api/sessions/${session.id}`;

    const renamed = await server.ask("PATCH", path, { path: "b", name: "B" });
    expect(renamed.body).toMatchObject({ path: "b", name: "B" });
    const asBefore = { notebook: { path: "c.ipynb" } };
    const moved = await server.ask("PATCH", path, asBefore);
    expect(moved.body).toMatchObject({ path: "c.ipynb", name: "B" });
    const swapped = await server.ask("PATCH", path, {
      kernel: { name: "echo" },
    });
    const { kernel } = swapped.body as typeof session;
    expect(kernel.id).not.toBe(session.kernel.id);
    const old = await server.ask("GET", `/api/kernels/${session.kernel.id}`);
    expect(old.status).toBe(404);

    const unknown = await server.ask("PATCH", path, { kernel: { id: NOBODY } });
    expect(unknown).toMatchObject({ status: 400 });
    expect((await server.ask("PATCH", path, {})).status).toBe(400);
    expect((await server.ask("DELETE", path)).status).toBe(204);
    expect((await server.ask("GET", path)).status).toBe(404);
    expect((await server.ask("GET", "/api/kernels")).body).toEqual([]);
  });

  test("may share a kernel, which ends with the last of them", async () => {
    const server = await opened();
    const id = await startKernel(server);
    const ids: string[] = [];
    for (const path of ["a", "b"]) {
      const { body } = await server.ask("POST", "/api/sessions", {
        path,
        type: "file",
        kernel: { id },
      });
      ids.push((body as { readonly id: string }).id);
    }
    await server.ask("DELETE", `/api/sessions/${ids[0]}`);
    expect((await server.ask("GET", `/api/kernels/${id}`)).status).toBe(200);
    await server.ask("DELETE", `/api/sessions/${ids[1]}`);
    expect((await server.ask("GET", `/api/kernels/${id}`)).status).toBe(404);
  });

  test.each([
    [{ type: "file" }, "Missing field in JSON data: path"],
    [{ path: "a" }, "Missing field in JSON data: type"],
  ])("%j is refused with a reason", async (requested, message) => {
    const server = await opened();
    const { status, body } = await server.ask(
      "POST",
      "/api/sessions",
      requested,
    );
    expect(status).toBe(400);
    expect(body).toMatchObject({ message });
  });

  test("an unknown kernelspec is 501", async () => {
    const server = await opened();
    const { status } = await server.ask("POST", "/api/sessions", {
      path: "a",
      type: "file",
      kernel: { name: "nope" },
    });
    expect(status).toBe(501);
  });
});

describe.each([
  ["v1", V1],
  ["the default protocol", ""],
])("channels in %s", (_, protocol) => {
  test("a client gets the kernel's state, then the reply and output of its request", async () => {
    const server = await opened();
    const id = await startKernel(server);
    const client = await Client.open(server, id, { protocol });
    await eventually("the state", () => client.states[0]);
    expect(client.states[0]).toBe("idle");

    const messages = await client.answered(
      client.send("execute_request", { code: "hello" }),
    );

    const types = messages.map(({ channel, header: { msg_type } }) =>
      [channel, msg_type].join(" "),
    );
    expect(types[0]).toBe("iopub status");
    expect(types).toContain("iopub execute_input");
    expect(types).toContain("shell execute_reply");
    expect(client.states.at(-1)).toBe("idle");
  });

  test("replies go to the client that sent the request, and output goes to all", async () => {
    const server = await opened();
    const id = await startKernel(server);
    const asking = await Client.open(server, id, { protocol });
    const other = await Client.open(server, id, { protocol });

    const msg_id = asking.send("execute_request", { code: "hello" });
    await asking.answered(msg_id);

    await eventually("the idle", () =>
      other.states.filter((state) => state === "idle").length > 1
        ? true
        : undefined,
    );
    const channels = new Set(other.received.map(({ channel }) => channel));
    expect([...channels]).toEqual(["iopub"]);
  });

  test("a client that closes whenever it gets a message, and acknowledges none, gets it twice at most", async () => {
    const server = await opened();
    const id = await startKernel(server);
    const session_id = randomUUID();
    const options = { protocol, session_id, autoPong: false };
    const open = () => Client.open(server, id, options);
    const close = async ({ socket }: Client) => {
      socket.close();
      await once(socket, "close");
    };
    const first = await open();
    const request = first.send("execute_request", { code: "once" });
    const answer = await first.answered(request);
    await close(first);
    const second = await open();
    expect(await second.answered(request)).toEqual(answer);
    await close(second);
    const third = await open();
    await third.answered(third.send("kernel_info_request", {}));
    const isAnswer = ({ parent_header: p }: Received) => p.msg_id === request;
    expect(third.received.filter(isAnswer)).toEqual([]);
  });

  test("a client that reconnects with its id loses no message and gets none twice", async () => {
    const server = await opened();
    const id = await startKernel(server);
    const session_id = randomUUID();
    const first = await Client.open(server, id, { protocol, session_id });
    await first.answered(first.send("execute_request", { code: "before" }));
    const waits = first.send("execute_request", { code: "sleep 400" });
    await eventually("busy", () =>
      first.received.some(
        ({ header, parent_header: p }) =>
          header.msg_type === "status" && p.msg_id === waits,
      )
        ? true
        : undefined,
    );
    first.socket.close();
    await once(first.socket, "close");

    const second = await Client.open(server, id, { protocol, session_id });
    await eventually("the reply", () =>
      second.received.find(({ channel }) => channel === "shell"),
    );

    const ids = [...first.received, ...second.received]
      .filter(({ parent_header: p }) => p.msg_id !== undefined)
      .map(({ header }) => header.msg_id);
    expect(new Set(ids).size).toBe(ids.length);
    const types = [...first.received, ...second.received]
      .filter(({ parent_header: p }) => p.msg_id === waits)
      .map(({ header }) => header.msg_type);
    expect(types).toEqual(
      expect.arrayContaining(["status", "execute_input", "execute_reply"]),
    );
  });

  test("a new client gets no earlier messages, unless it requests them", async () => {
    const server = await opened();
    const id = await startKernel(server);
    const first = await Client.open(server, id, { protocol });
    await first.answered(first.send("execute_request", { code: "past" }));

    const fresh = await Client.open(server, id, { protocol });
    const all = await Client.open(server, id, {
      protocol,
      query: "&replay=all",
    });
    await fresh.answered(fresh.send("kernel_info_request", {}));

    expect(
      fresh.received.some(({ header }) => header.msg_type === "execute_input"),
    ).toBe(false);
    await eventually("the earlier messages", () =>
      all.received.find(({ header }) => header.msg_type === "execute_input"),
    );
  });

  test("two sockets of one client both get the reply, and both stay", async () => {
    const server = await opened();
    const id = await startKernel(server);
    const session_id = randomUUID();
    const one = await Client.open(server, id, { protocol, session_id });
    const two = await Client.open(server, id, { protocol, session_id });
    const msg_id = one.send("execute_request", { code: "hello" });
    await Promise.all([one.answered(msg_id), two.answered(msg_id)]);
    expect([one.code, two.code]).toEqual([undefined, undefined]);
  });

  test("a new socket gets what was sent since it opened, although the client's other socket has acknowledged it meanwhile", async () => {
    const server = await opened();
    const id = await startKernel(server);
    const own = { protocol, session_id: randomUUID() };
    const one = await Client.open(server, id, { ...own, autoPong: false });
    const pings: Buffer[] = [];
    const keep = (data: Buffer) => pings.push(data);
    one.socket.on("ping", keep);
    await one.answered(one.send("execute_request", { code: "before" }));
    const two = await Client.open(server, id, own); // waits for the pongs of the other one
    const msg_id = one.send("execute_request", { code: "hello" });
    await one.answered(msg_id);
    one.socket.off("ping", keep).on("ping", (data) => one.socket.pong(data));
    for (const data of pings) one.socket.pong(data);
    await two.answered(msg_id);
  });

  test("a deleted kernel is reported as dead, and the socket closes with 1000", async () => {
    const server = await opened();
    const id = await startKernel(server);
    const client = await Client.open(server, id, { protocol });
    await server.ask("DELETE", `/api/kernels/${id}`);
    await eventually("the end", () => client.code);
    expect(client.states.at(-1)).toBe("dead");
    expect(client.code).toBe(1000);
  });

  test("a server that ends closes with 1012, so that clients connect again", async () => {
    const server = await openServer();
    const id = await startKernel(server);
    const client = await Client.open(server, id, { protocol });
    await server[Symbol.asyncDispose]();
    await eventually("the end", () => client.code);
    expect(client.code).toBe(1012);
  });

  test("frames that are not messages end nothing", async () => {
    const server = await opened();
    const id = await startKernel(server);
    const client = await Client.open(server, id, { protocol });
    const offsets = Buffer.alloc(64);
    offsets.writeBigUInt64LE(6n, 0);
    offsets.writeBigUInt64LE(99n, 8);
    for (const frame of [
      "no JSON",
      "{}",
      Buffer.alloc(0),
      Buffer.alloc(3),
      Buffer.alloc(64, 0xff),
      offsets,
    ]) {
      client.socket.send(frame);
    }
    await client.answered(client.send("execute_request", { code: "hello" }));
  });
});

test("a client that requests the running code gets only its output", async () => {
  const server = await opened();
  const id = await startKernel(server);
  const first = await Client.open(server, id);
  await first.answered(first.send("execute_request", { code: "past" }));
  const idle = await Client.open(server, id, { query: "&replay=running" });
  const waits = first.send("execute_request", { code: "sleep 600000" });
  await eventually("busy", () =>
    first.states.at(-1) === "busy" ? true : undefined,
  );

  const late = await Client.open(server, id, { query: "&replay=running" });
  await server.ask("POST", `/api/kernels/${id}/interrupt`);
  await first.answered(waits);
  await eventually("the end", () =>
    late.states.at(-1) === "idle" ? true : undefined,
  );

  const [state, ...replayed] = late.received;
  expect(state?.content).toEqual({ execution_state: "busy" });
  const parents = replayed.map(({ parent_header }) => parent_header.msg_id);
  expect(new Set(parents)).toEqual(new Set([waits]));
  const before = idle.received.findIndex(
    ({ parent_header }) => parent_header.msg_id === waits,
  );
  expect(before).toBe(1); // only the state came before
});

test("a client that requested the running code also gets later replies whose own client is gone", async () => {
  const server = await opened();
  const id = await startKernel(server);
  const first = await Client.open(server, id);
  first.send("execute_request", { code: "sleep 60000" });
  await eventually("busy", () =>
    first.states.at(-1) === "busy" ? true : undefined,
  );
  const late = await Client.open(server, id, { query: "&replay=running" });
  const leaving = await Client.open(server, id);
  const later = leaving.send("execute_request", { code: "later" });
  leaving.socket.close();
  await once(leaving.socket, "close");
  await server.ask("POST", `/api/kernels/${id}/interrupt`);
  await first.answered(first.send("execute_request", { code: "last" }));
  await eventually("the reply", () =>
    late.received.find(
      ({ header, parent_header }) =>
        header.msg_type === "execute_reply" && parent_header.msg_id === later,
    ),
  );
});

test("a page sends its token as a subprotocol, which is never sent back", async () => {
  const server = await opened();
  const id = await startKernel(server);
  const url = `${server.url.replace("http", "ws")}/api/kernels/${id}/channels`;
  const name = "v1.token.websocket.jupyter.org";
  const socket = new WebSocket(url, [name, `${name}.${TOKEN}`]);
  onTestFinished(() => socket.terminate());
  await once(socket, "open");
  expect(socket.protocol).toBe(name);

  const wrong = new WebSocket(url, [name, `${name}.wrong`]);
  const [error] = (await once(wrong, "error")) as [Error];
  expect(error.message).toContain("403");
});

test("a client of a busy kernel gets the cached kernel info, and then the true state", async () => {
  const server = await opened();
  const id = await startKernel(server);
  const first = await Client.open(server, id);
  const waits = first.send("execute_request", { code: "sleep 600000" });
  await eventually("busy", () =>
    first.states.find((state) => state === "busy"),
  );

  const second = await Client.open(server, id);
  const messages = await second.answered(
    second.send("kernel_info_request", {}),
  );

  expect(
    messages.find(({ header }) => header.msg_type === "kernel_info_reply")
      ?.content["status"],
  ).toBe("ok");
  expect(second.states.at(-1)).toBe("busy");
  await server.ask("POST", `/api/kernels/${id}/interrupt`);
  await first.answered(waits);
});
