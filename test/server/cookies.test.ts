/** Cookies: what a page gets for its token, and what a request with nothing but the cookie may do. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { openServer, type TestServer, TOKEN } from "../harness.ts";

const BASE = "/user/a%40b";

let server: TestServer;
beforeAll(async () => {
  server = await openServer({ cookies: true, basePath: BASE });
});
afterAll(() => server[Symbol.asyncDispose]());

type Said = Readonly<Record<string, string>>;

/** The cookies that a page gets for its token, by name, with their attributes. */
async function given(of = server, path = `${BASE}/api/status`) {
  const { headers } = await of.ask(
    "GET",
    `${path}?token=${TOKEN}`,
    undefined,
    {},
  );
  const cookies = [headers["set-cookie"] ?? []].flat();
  return cookies.map((cookie) => {
    const [, name = "", value = "", attributes = ""] =
      /^([^=]+)=([^;]+); (.*)$/.exec(cookie) ?? [];
    return { name, value, attributes };
  });
}

async function session() {
  const [access, xsrf] = await given();
  const cookie = `other=1; ${access?.name}=${access?.value}; _xsrf=${xsrf?.value}`;
  return { cookie, xsrf: xsrf?.value ?? "" };
}

/** The status of a request that has these headers alone. */
async function status(method: string, path: string, headers: Said) {
  const body = method === "GET" ? undefined : {};
  return (await server.ask(method, BASE + path, body, headers)).status;
}

describe("a page that shows its token", () => {
  test("gets a cookie that scripts cannot read, and one that they repeat", async () => {
    const [access, xsrf, ...more] = await given();
    expect(access?.name).toMatch(/^kallichore-[0-9a-f]{16}$/);
    expect(access?.attributes).toBe(`Path=${BASE}/; SameSite=Strict; HttpOnly`);
    expect(xsrf?.name).toBe("_xsrf");
    expect(xsrf?.attributes).toBe(`Path=${BASE}/; SameSite=Strict`);
    expect(more).toEqual([]);
    for (const cookie of [access, xsrf]) {
      expect(cookie?.value).toMatch(/^[0-9a-f]{64}$/);
      expect(cookie?.value).not.toContain(TOKEN);
    }
  });

  test("gets none for a wrong token, for a header, or unless the server gives cookies", async () => {
    const none = async (path: string, headers: Said) => {
      const answer = await server.ask("GET", BASE + path, undefined, headers);
      return answer.headers["set-cookie"];
    };
    expect(await none("/api/status?token=wrong", {})).toBeUndefined();
    expect(await none("/status?token=wrong", {})).toBeUndefined();
    const authorization = `Bearer ${TOKEN}`;
    expect(await none("/api/status", { authorization })).toBeUndefined();
    await using plain = await openServer();
    expect(await given(plain, "/api/status")).toEqual([]);
    const { cookie } = await session();
    const { status } = await plain.ask("GET", "/sessions", undefined, {
      cookie,
    });
    expect(status).toBe(401);
  });
});

describe("a request with the cookie alone", () => {
  test("reads, unless a page of another origin sends it", async () => {
    const { cookie } = await session();
    expect(await status("GET", "/sessions", { cookie })).toBe(200);
    for (const [site, expected] of [
      ["same-origin", 200],
      ["none", 200],
      ["same-site", 401],
      ["cross-site", 401],
    ] as const) {
      const headers = { cookie, "sec-fetch-site": site };
      expect(await status("GET", "/sessions", headers), site).toBe(expected);
    }
  });

  test("changes something only with the other cookie in a header or in its address", async () => {
    const { cookie, xsrf } = await session();
    const post = (headers: Said, query = "") =>
      status("POST", `/api/kernels/x/interrupt${query}`, {
        cookie,
        ...headers,
      });
    expect(await post({})).toBe(403);
    expect(await post({ "x-xsrftoken": "wrong" })).toBe(403);
    expect(await post({ "x-xsrftoken": xsrf.replace(/./g, "0") })).toBe(403);
    expect(await post({ "x-xsrftoken": xsrf })).toBe(404); // admitted: there is no such kernel
    expect(await post({}, `?_xsrf=${xsrf}`)).toBe(404);
    const authorization = `token ${TOKEN}`;
    expect(await post({ authorization })).toBe(404); // a token needs nothing else
  });

  test("is nothing without the right value", async () => {
    const { cookie, xsrf } = await session();
    const forged = cookie.replace(/=[0-9a-f]{64};/, `=${"0".repeat(64)};`);
    expect(await status("GET", "/sessions", { cookie: forged })).toBe(401);
    const alone = { cookie: `_xsrf=${xsrf}`, "x-xsrftoken": xsrf };
    expect(await status("GET", "/sessions", alone)).toBe(401);
  });

  test("opens a WebSocket for a page of this server", async () => {
    const { cookie } = await session();
    const host = new URL(server.url).host;
    expect(await upgrade({ cookie, origin: `http://${host}` })).toBe(101);
    expect(await upgrade({ cookie })).toBe(401);
    expect(await upgrade({ cookie, origin: "http://localhost:1" })).toBe(403);
    expect(await upgrade({ origin: `http://${host}` })).toBe(401);
  });
});

function upgrade(headers: Said): Promise<number> {
  const url = `${server.url.replace("http", "ws")}/trpc`;
  const socket = new WebSocket(url, { headers });
  return new Promise((resolve) => {
    socket.on("error", () => {}); // follows the answer
    socket.once("open", () => {
      socket.close();
      resolve(101);
    });
    socket.once("unexpected-response", (req, { statusCode = 0 }) => {
      resolve(statusCode);
      req.destroy();
    });
  });
}
