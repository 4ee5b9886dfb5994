import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { contract, partsOf, type Operation } from "../../contract/index.ts";
import { openServer, type TestServer, TOKEN } from "../harness.ts";

/** Access control: at every address, over every protocol. */
let server: TestServer;
beforeAll(async () => {
  server = await openServer({ origins: ["http://allowed.example"] });
});
afterAll(() => server[Symbol.asyncDispose]());

const operations = Object.values(contract).flatMap((group) =>
  (Object.values(group) as Operation[]).flatMap((operation) =>
    operation.route === undefined
      ? []
      : [
          {
            ...partsOf(operation.route),
            isOpen: operation.access === "open",
            isJupyter: operation.failure === "jupyter",
          },
        ],
  ),
);
const others = [
  "/docs",
  "/openapi.json",
  "/trpc/server.status",
  "/nowhere",
].map((path) => ({ method: "GET", path, isOpen: false, isJupyter: false }));

describe.each([...operations, ...others])("$method $path", (operation) => {
  const { method, isOpen, isJupyter } = operation;
  const path = operation.path.replace(/\{\w+\}/g, "x");

  test.runIf(isOpen)("needs no token", async () => {
    const { status } = await server.ask(method, path, undefined, {});
    expect(status).toBe(200);
  });

  test.runIf(!isOpen).each([
    ["no token", {}],
    ["a wrong one", { authorization: "Bearer wrong" }],
    ["an empty one", { authorization: "Bearer " }],
    ["the token under another scheme", { authorization: `Basic ${TOKEN}` }],
  ])("is refused with %s, with an error message", async (_, headers) => {
    const answer = await server.ask(method, path, bodyFor(method), headers);
    expect(answer.status).toBe(isJupyter ? 403 : 401); // the status that its clients know
    expect(answer.body).toMatchObject({
      ...(isJupyter ? { reason: "unauthorized" } : { code: "unauthorized" }),
      message: expect.stringContaining("token") as unknown,
    });
    expect(answer.headers["x-span-id"]).toBeDefined();
  });

  test("is refused with another host name", async () => {
    const headers = { authorization: `Bearer ${TOKEN}`, host: "evil.example" };
    const { status } = await server.ask(method, path, bodyFor(method), headers);
    expect(status).toBe(403);
  });

  test("is refused to a page of another origin", async () => {
    const headers = {
      authorization: `Bearer ${TOKEN}`,
      origin: "http://evil.example",
    };
    const { status } = await server.ask(method, path, bodyFor(method), headers);
    expect(status).toBe(403);
  });
});

test.each(["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "a.localhost"])(
  "%s is a name of ours",
  async (host) => {
    const { status } = await server.ask("GET", "/status", undefined, {
      host: `${host}:1234`,
    });
    expect(status).toBe(200);
  },
);

test("a page of an allowed origin may read the answers, also after a preflight", async () => {
  const origin = "http://allowed.example";
  const requested = await server.ask("OPTIONS", "/sessions", undefined, {
    origin,
  });
  expect(requested.status).toBe(204);
  expect(requested.headers["access-control-allow-origin"]).toBe(origin);
  const answer = await server.ask("GET", "/sessions", undefined, {
    origin,
    authorization: `Bearer ${TOKEN}`,
  });
  expect(answer.status).toBe(200);
  expect(answer.headers["access-control-allow-origin"]).toBe(origin);
});

describe.each(["/trpc", "/sessions/x/channels", "/api/channels/x", "/nowhere"])(
  "an upgrade at %s",
  (path) => {
    test.each([
      ["no token", {}, 401],
      ["a wrong token", { authorization: "Bearer wrong" }, 401],
      [
        "a foreign origin",
        { authorization: `Bearer ${TOKEN}`, origin: "http://evil.example" },
        403,
      ],
      [
        "another host name",
        { authorization: `Bearer ${TOKEN}`, host: "evil.example" },
        403,
      ],
    ])(
      "with %s is refused before the handshake",
      async (_, headers, status) => {
        expect(await refusal(path, headers)).toBe(status);
      },
    );
  },
);

test("the token may be in the address, for browsers that cannot set a header", async () => {
  const socket = new WebSocket(
    `${server.url.replace("http", "ws")}/trpc?token=${TOKEN}`,
  );
  await new Promise((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", reject);
  });
  socket.close();
});

test("a refused client does not displace the owner", async () => {
  await server.ask("PUT", "/sessions", {
    session_id: "mine",
    kernel_name: "echo",
  });
  const url = `${server.url.replace("http", "ws")}/sessions/mine/channels`;
  const owner = new WebSocket(url, {
    headers: { authorization: `Bearer ${TOKEN}` },
  });
  await new Promise((resolve) => owner.once("open", resolve));
  expect(await refusal("/sessions/mine/channels", {})).toBe(401);
  const { body } = await server.ask("GET", "/sessions/mine");
  expect(body).toMatchObject({ connected: true });
  owner.close();
});

test("without a token every client has access, except pages of other origins", async () => {
  await using open = await openServer({ token: null });
  expect((await open.ask("GET", "/sessions", undefined, {})).status).toBe(200);
  const page = { origin: "http://evil.example" };
  expect((await open.ask("GET", "/sessions", undefined, page)).status).toBe(
    403,
  );
  const rebound = { host: "evil.example" };
  expect(
    (await open.ask("GET", "/api/kernels", undefined, rebound)).status,
  ).toBe(403);
});

test("every host name may be allowed, but only where a token is needed", async () => {
  const rebound = { host: "hub.example:8000" };
  await using named = await openServer({ hosts: ["*"] });
  const headers = { ...rebound, authorization: `Bearer ${TOKEN}` };
  const ask = async (to: TestServer, sent: Record<string, string>) =>
    (await to.ask("GET", "/sessions", undefined, sent)).status;
  expect(await ask(named, headers)).toBe(200);
  expect(await ask(named, rebound)).toBe(401);
  await using open = await openServer({ hosts: ["*"], token: null });
  expect(await ask(open, rebound)).toBe(403);
});

test("somebody else may decide about other tokens, and is not asked about the server's own", async () => {
  const asked: string[] = [];
  await using shared = await openServer({
    acceptsToken: (token) => {
      asked.push(token);
      return Promise.resolve(token === "from-elsewhere");
    },
  });
  const ask = async (token: string) => {
    const headers = { authorization: `Bearer ${token}` };
    return (await shared.ask("GET", "/sessions", undefined, headers)).status;
  };
  expect(await ask(TOKEN)).toBe(200);
  expect(await ask("from-elsewhere")).toBe(200);
  expect(await ask("from-nowhere")).toBe(401);
  expect(asked).toEqual(["from-elsewhere", "from-nowhere"]);
  const none = await shared.ask("GET", "/sessions", undefined, {});
  expect(none.status).toBe(401);
  expect(asked).toHaveLength(2);
});

function bodyFor(method: string): object | undefined {
  return method === "GET" || method === "DELETE" ? undefined : {};
}

/** The status of the answer to an upgrade. */
function refusal(
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<number | undefined> {
  const socket = new WebSocket(server.url.replace("http", "ws") + path, {
    headers,
  });
  return new Promise((resolve, reject) => {
    socket.once("open", () => reject(new Error("it was let in")));
    socket.on("error", () => {}); // follows the answer
    socket.once("unexpected-response", (req, res) => {
      resolve(res.statusCode);
      req.destroy();
    });
  });
}
