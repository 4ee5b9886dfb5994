/** `kallichore serve` that a JupyterHub starts: with a Hub of the test's own, and with the real one where it is. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { eventually, temporaryFolder } from "../harness.ts";
import { pythonWithJupyterHub } from "../kernels/python.ts";
import { installKernelspecs } from "../kernels/index.ts";
import { needs } from "../needs.ts";
import { commandFile, Room, type Running, useCommand } from "./kallichore.ts";

useCommand();

interface Activity {
  readonly last_activity: string;
  readonly servers: Readonly<Record<string, { last_activity: string }>>;
}

/** A Hub that knows some tokens. */
class FakeHub implements AsyncDisposable {
  readonly questions: string[] = [];
  readonly activities: Activity[] = [];
  readonly authorizations = new Set<string | undefined>();
  /** The scopes of each token. */
  readonly scopes: Readonly<Record<string, readonly string[]>> = {
    "token-of-ann": ["access:servers!server=ann/", "self"],
    "token-of-an-admin": ["access:servers", "admin-ui"],
    "token-of-bob": ["access:servers!server=bob/"],
    "token-without-scopes": [],
  };
  readonly #http = createServer((req, res) => {
    const { url, headers } = req;
    const token = /^token (.*)$/.exec(headers.authorization ?? "")?.[1] ?? "";
    if (url === "/hub/api/user") {
      this.questions.push(token);
      const scopes = this.scopes[token];
      res.statusCode = scopes === undefined ? 403 : 200;
      res.end(JSON.stringify({ name: "someone", kind: "user", scopes }));
      return;
    }
    this.authorizations.add(headers.authorization);
    let text = "";
    req.on("data", (data: Buffer) => (text += data.toString()));
    req.on("end", () => {
      this.activities.push(JSON.parse(text) as Activity);
      res.end();
    });
  });

  /** The variables that it starts a server with, and the server's address. */
  async spawning(): Promise<{
    readonly env: Readonly<Record<string, string>>;
    readonly url: string;
  }> {
    this.#http.listen(0, "127.0.0.1");
    await once(this.#http, "listening");
    const { port } = this.#http.address() as AddressInfo;
    const api = `http://127.0.0.1:${port}/hub/api`;
    const own = await freePort();
    return {
      url: `http://127.0.0.1:${own}/user/ann`,
      env: {
        JUPYTERHUB_SERVICE_URL: `http://127.0.0.1:${own}/user/ann/`,
        JUPYTERHUB_SERVICE_PREFIX: "/user/ann/",
        JUPYTERHUB_API_TOKEN: "token-of-the-server",
        JUPYTERHUB_API_URL: api,
        JUPYTERHUB_ACTIVITY_URL: `${api}/users/ann/activity`,
        JUPYTERHUB_ACTIVITY_INTERVAL: "1",
        JUPYTERHUB_USER: "ann",
        JUPYTERHUB_SERVER_NAME: "",
        JUPYTERHUB_OAUTH_ACCESS_SCOPES: JSON.stringify([
          "access:servers!server=ann/",
          "access:servers!user=ann",
        ]),
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#http.closeAllConnections();
    this.#http.close();
    await once(this.#http, "close");
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function statusOf(url: string, token: string): Promise<number> {
  const headers = { authorization: `token ${token}` };
  return (await fetch(url, { headers })).status;
}

async function serving(
  room: Room,
  env: Readonly<Record<string, string>>,
): Promise<Running> {
  const server = room.start(["serve"], { env });
  await server.until("JupyterHub decides");
  return server;
}

describe("started by a Hub, a server", () => {
  test("listens where the Hub says, below the prefix, and lets in those whom the Hub lets in", async () => {
    await using hub = new FakeHub();
    await using room = new Room();
    const { env, url } = await hub.spawning();
    const server = await serving(room, env);
    const kernels = `${url}/api/kernels`;
    for (const [token, status] of [
      ["token-of-ann", 200],
      ["token-of-an-admin", 200],
      ["token-of-bob", 403],
      ["token-without-scopes", 403],
      ["a-token-that-nobody-has", 403],
    ] as const) {
      expect([token, await statusOf(kernels, token)]).toEqual([token, status]);
    }
    const inQuery = await fetch(`${kernels}?token=token-of-ann`);
    expect(inQuery.status).toBe(200);
    expect((await fetch(kernels)).status).toBe(403);
    expect((await fetch(`${url}/api`)).status).toBe(200);

    // Tokens are not the business of the Hub's log.
    expect(server.stdout).not.toMatch(/token=/);
    expect(server.stderr).not.toContain("token-of");
  });

  test("asks the Hub once about a token", async () => {
    await using hub = new FakeHub();
    await using room = new Room();
    const { env, url } = await hub.spawning();
    await serving(room, env);
    const requests = Array.from({ length: 10 }, () =>
      statusOf(`${url}/api/kernels`, "token-of-ann"),
    );
    expect(new Set(await Promise.all(requests))).toEqual(new Set([200]));
    await statusOf(`${url}/api/kernels`, "token-of-ann");
    expect(hub.questions).toEqual(["token-of-ann"]);
  });

  test("opens a WebSocket to those whom the Hub lets in", async () => {
    await using hub = new FakeHub();
    await using room = new Room();
    const { env, url } = await hub.spawning();
    await serving(room, env);
    const made = await fetch(`${url}/api/kernels`, {
      method: "POST",
      headers: { authorization: "token token-of-ann" },
      body: JSON.stringify({ name: "echo" }),
    });
    expect(made.status).toBe(201);
    const { id } = (await made.json()) as { readonly id: string };
    const channels = `${url.replace("http", "ws")}/api/kernels/${id}/channels`;
    const open = new WebSocket(`${channels}?token=token-of-ann`);
    onTestFinished(() => open.terminate());
    await once(open, "open");
    const refused = new WebSocket(`${channels}?token=token-of-bob`);
    const [error] = (await once(refused, "error")) as [Error];
    expect(error.message).toContain("403");
  });

  test("tells the Hub when it was last used, and again only if it was used again", async () => {
    await using hub = new FakeHub();
    await using room = new Room();
    const { env, url } = await hub.spawning();
    await serving(room, env);
    const [first] = await eventually("a report", () =>
      hub.activities.length > 0 ? hub.activities : undefined,
    );
    expect(first).toEqual({
      last_activity: expect.stringMatching(/^\d{4}-.*\.\d{3}Z$/) as unknown,
      servers: { "": { last_activity: first?.last_activity } },
    });
    await fetch(`${url}/api/kernels`, {
      method: "POST",
      headers: { authorization: "token token-of-ann" },
      body: JSON.stringify({ name: "echo" }),
    });
    const next = await eventually("the next report", () => hub.activities[1]);
    expect(Date.parse(next.last_activity)).toBeGreaterThan(
      Date.parse(first?.last_activity ?? ""),
    );
    expect(hub.authorizations).toEqual(new Set(["token token-of-the-server"]));
  });

  test("lets nobody in while the Hub cannot be asked, but those with its own token", async () => {
    await using room = new Room();
    const { env, url } = await (async () => {
      await using hub = new FakeHub();
      return await hub.spawning();
    })();
    await serving(room, { ...env, KALLICHORE_TOKEN: "its-own-token" });
    const kernels = `${url}/api/kernels`;
    expect(await statusOf(kernels, "token-of-ann")).toBe(403);
    expect(await statusOf(kernels, "its-own-token")).toBe(200);
  });

  test.each([
    [
      "without a token",
      ["--token", "none"],
      {},
      "everybody who can reach JupyterHub's proxy",
    ],
    [
      "with TLS inside",
      [],
      { JUPYTERHUB_SERVICE_URL: "https://127.0.0.1:1/user/ann/" },
      "internal_ssl",
    ],
    [
      "in a directory that is not there",
      [],
      { JUPYTERHUB_ROOT_DIR: "/not/there" },
      "JUPYTERHUB_ROOT_DIR",
    ],
  ])("does not start %s", async (_, args, more, said) => {
    await using hub = new FakeHub();
    await using room = new Room();
    const { env } = await hub.spawning();
    const ended = await room.run(["serve", ...args], {
      env: { ...env, ...more },
    });
    expect(ended.code).toBe(64);
    expect(ended.stderr).toContain(said);
  });
});

test("a server that a person starts in a Hub's terminal is their own", async () => {
  await using hub = new FakeHub();
  await using room = new Room();
  const { env, url } = await hub.spawning();
  const server = room.start(["serve", "--port", "0"], { env });
  await server.until("listens on http://127.0.0.1:");
  expect(server.stdout).not.toContain(url);
  expect(hub.activities).toEqual([]);
});

const PROXY = "configurable-http-proxy";
const hasProxy = spawnSync(PROXY, ["--version"]).status === 0;

test(
  "a user runs code through JupyterHub's proxy, with a token of the Hub, on the server that the Hub has started",
  {
    timeout: 120_000,
    ...needs(
      pythonWithJupyterHub !== undefined && hasProxy,
      `JupyterHub (python3 -m pip install jupyterhub) and its proxy (npm install --global ${PROXY})`,
    ),
  },
  async () => {
    const home = temporaryFolder();
    const jupyter = join(home, "jupyter");
    installKernelspecs(jupyter);
    const [port, hubPort, proxyPort] = [
      await freePort(),
      await freePort(),
      await freePort(),
    ];
    const url = `http://127.0.0.1:${port}`;
    const config = join(home, "jupyterhub_config.py");
    writeFileSync(
      config,
      `
c.JupyterHub.bind_url = "${url}/hub-of-test/"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:${hubPort}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:${proxyPort}"
c.JupyterHub.db_url = "sqlite:///${join(home, "hub.sqlite")}"
c.JupyterHub.cookie_secret_file = "${join(home, "cookie_secret")}"
c.ConfigurableHTTPProxy.pid_file = "${join(home, "proxy.pid")}"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "${home}"
c.Spawner.cmd = ${JSON.stringify([process.execPath, commandFile(), "serve"])}
c.Spawner.environment = ${JSON.stringify({
        JUPYTER_PATH: jupyter,
        KALLICHORE_RUNTIME_DIR: join(home, "run"),
        JUPYTERHUB_ACTIVITY_INTERVAL: "1",
      })}
c.JupyterHub.services = [{"name": "test", "api_token": "token-of-the-test"}]
c.JupyterHub.load_roles = [{"name": "test", "services": ["test"], "scopes": ["admin:users", "admin:servers", "tokens"]}]
`,
    );
    const hub = spawn(
      pythonWithJupyterHub ?? "",
      ["-m", "jupyterhub", "-f", config],
      {
        cwd: home,
        env: { ...process.env, HOME: home },
        stdio: ["ignore", "ignore", "pipe"],
      },
    );
    const ended = once(hub, "exit");
    onTestFinished(async () => {
      hub.kill("SIGTERM");
      await ended;
    }, 30_000);
    let log = "";
    hub.stderr.on("data", (data: Buffer) => (log += data.toString()));

    const api = async (
      method: string,
      path: string,
      token = "token-of-the-test",
      body?: object,
    ) => {
      const response = await fetch(`${url}/hub-of-test${path}`, {
        method,
        headers: { authorization: `token ${token}` },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      return {
        status: response.status,
        body: (text.startsWith("{") || text.startsWith("[")
          ? JSON.parse(text)
          : text) as Readonly<Record<string, unknown>>,
      };
    };
    await eventually(
      "the Hub",
      async () => {
        if (hub.exitCode !== null) throw new Error(log);
        const found = await api("GET", "/hub/api/users").catch(() => undefined);
        return found?.status === 200 ? true : undefined;
      },
      60_000,
    );
    const tokens: Record<string, string> = {};
    for (const name of ["a@nn", "bob"]) {
      const user = `/hub/api/users/${encodeURIComponent(name)}`;
      expect((await api("POST", user)).status).toBe(201);
      const made = await api("POST", `${user}/tokens`, undefined, {
        note: "test",
      });
      tokens[name] = String(made.body["token"]);
    }
    const user = "/hub/api/users/a%40nn";
    const spawned = await api("POST", `${user}/server`);
    expect(spawned.status, log).toBeLessThan(300);
    await eventually(
      "the user's server",
      async () => {
        const { body } = await api("GET", user);
        const servers = body["servers"] as Record<string, { ready: boolean }>;
        return servers[""]?.ready === true ? true : undefined;
      },
      60_000,
    );

    const kernels = "/user/a%40nn/api/kernels";
    const { "a@nn": ann = "", bob = "" } = tokens;
    expect((await api("GET", kernels, bob)).status).toBe(403);
    const made = await api("POST", kernels, ann, { name: "echo" });
    expect(made.status).toBe(201);
    const id = String(made.body["id"]);
    const socket = new WebSocket(
      `${url.replace("http", "ws")}/hub-of-test${kernels}/${id}/channels?token=${ann}`,
    );
    onTestFinished(() => socket.terminate());
    await once(socket, "open");
    const answered = await api(
      "POST",
      `${kernels}/${id}/execute?wait=30`,
      ann,
      {
        code: "hello",
      },
    );
    expect(answered).toMatchObject({ status: 200, body: { status: "ok" } });

    const before = Date.now();
    await api("POST", `${kernels}/${id}/execute?wait=30`, ann, {
      code: "more",
    });
    await eventually("the Hub to know it", async () => {
      const { body } = await api("GET", user);
      const servers = body["servers"] as Record<
        string,
        { last_activity: string }
      >;
      const at = Date.parse(servers[""]?.last_activity ?? "");
      return at >= before - 1000 ? true : undefined;
    });

    socket.close();
    const stopped = await api("DELETE", `${user}/server`);
    expect(stopped.status).toBeLessThan(300);
    await eventually("the end of the user's server", async () => {
      const { body } = await api("GET", user);
      return body["server"] === null ? true : undefined;
    });
  },
);
