/** `kallichore serve`, and the commands that find it by themselves. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chownSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { eventually } from "../harness.ts";
import { Room, type Running, useCommand } from "./kallichore.ts";

useCommand();

interface Told {
  readonly pid: number;
  readonly url: string;
  readonly socket?: string;
  readonly docs: string;
  readonly token: string | null;
}

function reported(server: Running): Told {
  return JSON.parse(server.stdout) as Told;
}

/** The HTTP status of a request that needs the token. */
async function ask(path: string, to: Told): Promise<number | undefined> {
  const url = new URL(
    path,
    to.socket === undefined ? to.url : "http://localhost",
  );
  const requested = request(url, {
    ...(to.socket !== undefined && { socketPath: to.socket }),
    headers: to.token === null ? {} : { authorization: `Bearer ${to.token}` },
  });
  requested.end();
  const [answer] = (await once(requested, "response")) as [IncomingMessage];
  answer.resume();
  return answer.statusCode;
}

describe("a server", () => {
  test("prints its address, the address of its documentation, and how to try it", async () => {
    await using room = new Room();
    const server = room.start(["serve"]);
    await server.until("connect({");
    const { stdout } = server;
    const [, url] = /listens on (http:\/\/127\.0\.0\.1:\d+)/.exec(stdout) ?? [];
    const [, token] = /\/docs\?token=([0-9a-f]{64})/.exec(stdout) ?? [];
    expect(stdout).toContain(`Authorization: Bearer ${token}`);
    expect(await ask("/sessions", { url, token } as Told)).toBe(200);
  });

  test.each([
    ["a port", () => [] as string[]],
    [
      "a socket",
      ({ folder }: Room) => ["--socket", join(folder, "server.sock")],
    ],
  ])("at %s under a path is found by the other commands", async (_, at) => {
    await using room = new Room();
    const where = at(room);
    const server = await room.serve("--base-url", "/user/a%40b/", ...where);
    expect(await ask("/user/a@b/sessions", reported(server))).toBe(200);
    expect(await ask("/sessions", reported(server))).toBe(404);
    const started = await room.run(["start", "echo", "--id", "work"]);
    expect(started).toMatchObject({ code: 0, stdout: "work\n" });
    const { url, socket = url, token } = reported(server);
    const env = { KALLICHORE_SERVER: socket, KALLICHORE_TOKEN: token ?? "" };
    const { stdout } = await room.run(["ps", "--json"], { env });
    expect(stdout).toContain('"work"');
  });

  test("is one like a Kernel Gateway, with its variables", async () => {
    await using room = new Room();
    const { port } = new URL(reported(await room.serve()).url);
    const env = {
      KG_PORT: port,
      KG_PORT_RETRIES: "20",
      KG_BASE_URL: "/gateway/",
      KG_AUTH_TOKEN: "the-token-of-the-gateway",
      KG_MAX_KERNELS: "1",
      KG_DEFAULT_KERNEL_NAME: "echo",
    };
    const server = room.start(["serve", "--json"], { env });
    await server.until("\n");
    const { url, token } = reported(server);
    expect(token).toBe("the-token-of-the-gateway");
    expect(Number(new URL(url).port)).toBeGreaterThan(Number(port));
    const start = () =>
      fetch(`${url}/api/kernels`, {
        method: "POST",
        headers: { authorization: `token ${token}` },
      });
    const first = await start();
    expect(first.status).toBe(201);
    const { id, name } = (await first.json()) as { id: string; name: string };
    expect(name).toBe("echo");
    const second = await start();
    expect(second.status).toBe(403);
    expect(await second.json()).toMatchObject({ reason: "Resource Limit" });
    const headers = { authorization: `token ${token}` };
    await fetch(`${url}/api/kernels/${id}`, { method: "DELETE", headers });
    expect((await start()).status).toBe(201);
  });

  test.each(["/a?b", "/%zz"])("refuses %s as its path", async (path) => {
    await using room = new Room();
    const ended = await room.run(["serve", "--base-url", path]);
    expect(ended.code).toBe(64);
    expect(ended.stderr).toContain("Use a path, such as /user/ann/.");
  });

  test("writes a record that only its user can read, and removes it at the end", async () => {
    await using room = new Room();
    const server = await room.serve();
    const { pid, token } = reported(server);
    const path = join(room.folder, "run", `server-${pid}.json`);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({
      pid,
      token,
    });
    server.child.kill("SIGTERM");
    expect((await server.ended()).code).toBe(0);
    expect(room.records).toEqual([]);
  });

  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "ends its kernels before it ends at %s",
    async (signal) => {
      await using room = new Room();
      const server = await room.serve();
      await room.run(["start", "echo"]);
      server.child.kill(signal);
      expect((await server.ended()).code).toBe(0);
    },
  );

  test("ends at once at the second signal, also with kernels that ignore requests to end", async () => {
    await using room = new Room();
    const server = await room.serve();
    await room.run(["start", "stubborn"]);
    server.child.kill("SIGTERM");
    server.child.kill("SIGINT");
    expect((await server.ended()).code).toBe(0);
  });

  test("reads its token from a file, and does not log it", async () => {
    await using room = new Room();
    const [file, log] = [join(room.folder, "token"), join(room.folder, "log")];
    const token = "a-token-of-my-own-choosing";
    writeFileSync(file, `${token}\n`, { mode: 0o600 });
    const server = await room.serve(
      "--token",
      file,
      "--log-file",
      log,
      "--log-level",
      "trace",
    );
    expect(reported(server).token).toBe(token);
    expect(await ask("/sessions", reported(server))).toBe(200);
    expect(await ask("/sessions", { ...reported(server), token: null })).toBe(
      401,
    );
    server.child.kill("SIGTERM");
    await server.ended();
    expect(readFileSync(log, "utf8")).not.toContain(token);
  });

  test("listens on a Unix socket, and the other commands find it there", async () => {
    await using room = new Room();
    const socket = join(room.folder, "server.sock");
    const server = await room.serve("--socket", socket);
    expect(reported(server)).toMatchObject({ socket });
    expect(await ask("/sessions", reported(server))).toBe(200);
    await room.run(["start", "echo", "--id", "a"]);
    const { stdout } = await room.run(["exec", "-s", "a", "hello"]);
    expect(stdout).toContain("hello");
  });

  test("is also configured by environment variables", async () => {
    await using room = new Room();
    const running = room.start(["serve", "--json"], {
      env: {
        KALLICHORE_TOKEN: "from-the-environment",
        KALLICHORE_LOG_LEVEL: "error",
      },
    });
    await running.until("\n");
    expect(reported(running).token).toBe("from-the-environment");
    await room.run(["start", "echo"]);
    expect(running.stderr).toBe("");
  });

  test.each([
    ["is a file", (path: string) => writeFileSync(path, "")],
    ...(process.getuid?.() === 0
      ? [
          [
            "belongs to another user",
            (path: string) => {
              mkdirSync(path);
              chownSync(path, 65_534, 65_534);
            },
          ] as const,
        ]
      : []),
  ] as const)(
    "says what to do if the directory for its record %s",
    async (_what, make) => {
      await using room = new Room();
      const path = join(room.folder, "taken");
      make(path);
      const env = { KALLICHORE_RUNTIME_DIR: path };
      const { code, stdout, stderr } = await room.run(["serve"], { env });
      expect([code, stdout]).toEqual([3, ""]);
      expect(stderr).toContain(path);
      expect(stderr).toContain("KALLICHORE_RUNTIME_DIR=");
      expect(stderr).not.toContain("bug");
      expect(stderr).not.toContain("    at ");
    },
  );

  test("on a port that is taken reports that", async () => {
    await using room = new Room();
    const { port } = new URL(reported(await room.serve()).url);
    const { code, stderr } = await room.run(["serve", "--port", port]);
    expect(code).toBe(3);
    expect(stderr).toContain("another program listens there already");
    expect(stderr).toContain("--port");
  });

  test.each([
    ["a port that is not valid", ["--port", "70000"]],
    [
      "no token for the whole network",
      ["--host", "0.0.0.0", "--token", "none"],
    ],
    ["a token file that does not exist", ["--token", "/no/such/file"]],
    ["a limit that is not a size", ["--journal-limit", "much"]],
    ["a level that does not exist", ["--log-level", "loud"]],
    ["a log that cannot be written", ["--log-file", "/no/such/folder/log"]],
  ])("with %s does not start", async (_title, args) => {
    await using room = new Room();
    const { code, stdout, stderr } = await room.run(["serve", ...args]);
    expect([code, stdout]).toEqual([64, ""]);
    expect(stderr).not.toBe("");
  });
});

describe("records", () => {
  test("of dead processes are ignored and removed", async () => {
    await using room = new Room();
    const gone = spawn("true");
    await once(gone, "close");
    const pid = gone.pid ?? 0;
    const record = {
      pid,
      url: "http://127.0.0.1:9",
      token: "t",
      server_id: "x",
      started: "2026",
    };
    writeFileSync(
      join(room.folder, "run", `server-${pid}.json`),
      JSON.stringify(record),
    );
    expect((await room.run(["ps"])).code).toBe(3);
    expect(room.records).toEqual([]);
  });

  test("do not lead to another server that has the address now", async () => {
    await using room = new Room();
    const server = await room.serve();
    const other = {
      ...reported(server),
      pid: process.pid,
      start_time: undefined,
      server_id: "another",
      started: "9999",
    };
    const path = join(room.folder, "run", `server-${process.pid}.json`);
    writeFileSync(path, JSON.stringify(other));
    const named = await room.run(["ps", "--server", String(process.pid)]);
    expect(named.stderr).toContain("another server has its address now");
    expect((await room.run(["ps"])).code).toBe(0);
    rmSync(path);
  });
});

describe("sessions", () => {
  test("are started, used, listed, stopped and deleted", async () => {
    await using room = new Room();
    await room.serve();
    expect((await room.run(["start", "echo", "--id", "work"])).stdout).toBe(
      "work\n",
    );
    expect((await room.run(["exec", "-s", "wo", "hello"])).stdout).toContain(
      "hello",
    );
    expect((await room.run(["ps"])).stdout).toMatch(
      /SESSION.*\nwork +echo +idle +\d+/,
    );
    expect((await room.run(["restart", "work"])).code).toBe(0);
    expect((await room.run(["stop", "work"])).code).toBe(0);
    expect((await room.run(["exec", "-s", "work", "hello"])).code).toBe(3);
    expect((await room.run(["delete", "work"])).code).toBe(0);
    const { stdout } = await room.run(["ps", "--json"]);
    expect(JSON.parse(stdout)).toEqual({ total: 0, sessions: [] });
  });

  test("are interrupted and killed while they run code of other clients", async () => {
    await using room = new Room();
    await room.serve();
    await room.run(["start", "echo", "--id", "work"]);
    const sleeping = room.start([
      "exec",
      "--json",
      "-s",
      "work",
      "sleep 60000",
    ]);
    await sleeping.until("busy");
    await room.run(["interrupt", "work"]);
    expect((await sleeping.ended()).code).toBe(1);
    const killed = room.start(["exec", "--json", "-s", "work", "sleep 60000"]);
    await killed.until("busy");
    await room.run(["kill", "work"]);
    expect((await killed.ended()).code).toBe(2);
  });

  test("survive an exec that was interrupted, and one that was left", async () => {
    await using room = new Room();
    await room.serve();
    await room.run(["start", "echo", "--id", "work"]);
    const sleeping = room.start([
      "exec",
      "--json",
      "-s",
      "work",
      "sleep 60000",
    ]);
    await sleeping.until("busy");
    sleeping.child.kill("SIGTERM");
    expect((await sleeping.ended()).code).toBe(143);
    expect((await room.run(["exec", "-s", "work", "still"])).stdout).toContain(
      "still",
    );
  });

  test("of an exec without a session end with it", async () => {
    await using room = new Room();
    await room.serve();
    expect((await room.run(["exec", "-k", "echo", "hello"])).code).toBe(0);
    const { stdout } = await room.run(["ps", "--json"]);
    expect(JSON.parse(stdout)).toEqual({ total: 0, sessions: [] });
  });

  test("whose ids have the same beginning are not confused", async () => {
    await using room = new Room();
    await room.serve();
    await room.run(["start", "echo", "--id", "work-1"]);
    await room.run(["start", "echo", "--id", "work-2"]);
    const { code, stderr } = await room.run(["kill", "work"]);
    expect(code).toBe(3);
    expect(stderr).toContain("work-1, work-2");
    expect((await room.run(["kill", "wrok-1"])).stderr).toContain(
      "Did you mean work-1?",
    );
  });
});

describe("completion", () => {
  test("in bash completes commands, options and sessions", async () => {
    await using room = new Room();
    await room.serve();
    await room.run(["start", "echo", "--id", "work"]);
    // Names that are not there within a second are left out: a person presses Tab again.
    await eventually(
      "the session's name",
      async () => {
        const { stdout } = await room.run(["__names", "sessions"]);
        return stdout === "work\n" ? true : undefined;
      },
      30_000,
    );
    const { stdout: script } = await room.run(["completion", "bash"]);
    const bash = spawn("bash", [
      "-c",
      `${script}\nCOMP_WORDS=(kallichore st); COMP_CWORD=1; _kallichore; echo "\${COMPREPLY[@]}"`,
    ]);
    let printed = "";
    bash.stdout.on("data", (text: Buffer) => (printed += text.toString()));
    await once(bash, "close");
    expect(printed).toBe("state start stop\n");
  });
});
