/** The addresses that kernels are told to bind, and starts in which they cannot bind them. */
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import type { ConnectionInfo } from "../../contract/index.ts";
import { reservationIn } from "../../src/host/unix-sockets.ts";
import { ipcSupport } from "../../src/kernel/ipc.ts";
import {
  openServer,
  ownWords,
  temporaryFolder,
  type TestServer,
} from "../harness.ts";
import { argvOf } from "../kernels/index.ts";
import { pythonWithIpykernel } from "../kernels/python.ts";
import { needsIpykernel, needsPosix } from "../needs.ts";

const DRIVERS = ["zmtp", "libzmq"] as const;

async function connectionOf(
  server: TestServer,
  session_id: string,
): Promise<ConnectionInfo> {
  const path = `/sessions/${session_id}/connection_info`;
  return (await server.ask("GET", path)).body as ConnectionInfo;
}

async function answers(server: TestServer, session_id: string): Promise<void> {
  const path = `/sessions/${session_id}/execute`;
  const { status, text } = await server.ask("POST", path, {
    code: "say hello",
  });
  expect(`${status} ${text}`).toMatch(/^200 .*hello/s);
}

function socketsOf({ ip }: ConnectionInfo): string[] {
  const prefix = `${basename(ip)}-`;
  return readdirSync(dirname(ip)).filter((name) => name.startsWith(prefix));
}

/** A kernel that is one of the suite's from its second start on; at the first start it is `program` (JavaScript, with `connection` and `ports`). */
function changed(folder: string, program: string): string[] {
  const path = join(folder, "kernel.mjs");
  const seen = join(folder, "starts");
  const [node = "", echo = ""] = argvOf("echo");
  writeFileSync(
    path,
    `import { appendFileSync, existsSync, readFileSync } from "node:fs";
    const first = !existsSync(${JSON.stringify(seen)});
    appendFileSync(${JSON.stringify(seen)}, "x");
    const connection = JSON.parse(readFileSync(process.argv[2], "utf8"));
    const ports = Object.entries(connection).filter(([name]) => name.endsWith("_port"));
    if (first) { ${program} }
    else await import(${JSON.stringify(pathToFileURL(echo).href)});`,
  );
  return [node, path, "{connection_file}"];
}

function startsIn(folder: string): number {
  return readFileSync(join(folder, "starts"), "utf8").length;
}

/** Makes a session as a client without kernelspecs does. */
async function create(
  server: TestServer,
  session_id: string,
  argv: readonly string[],
  more: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const answer = await server.ask("PUT", "/sessions", {
    session_id,
    argv,
    ...ownWords,
    ...more,
  });
  expect(answer.text).toContain(session_id);
}

async function started(server: TestServer, session_id: string): Promise<void> {
  const { status, text } = await server.ask(
    "POST",
    `/sessions/${session_id}/start`,
  );
  expect(`${status} ${text}`).toMatch(/^200 /);
}

describe.each(DRIVERS)(
  "the sockets of a kernel, by %s",
  needsPosix,
  (transport) => {
    test("are not accessible to other users", async () => {
      await using server = await openServer({
        transport,
        kernelSockets: "auto",
      });
      const id = await server.start("echo");
      const connection = await connectionOf(server, id);
      expect(connection.transport).toBe("ipc");
      expect(statSync(dirname(connection.ip)).mode & 0o777).toBe(0o700);
      expect(socketsOf(connection)).toHaveLength(5);
      await answers(server, id);
    });

    test("are removed with a kernel that is killed, and the next one has its own", async () => {
      await using server = await openServer({
        transport,
        kernelSockets: "auto",
      });
      const id = await server.start("echo");
      const before = await connectionOf(server, id);
      await server.ask("POST", `/sessions/${id}/kill`);
      await expect
        .poll(() => server.server.supervisor.session(id).status, {
          timeout: 20_000,
        })
        .toBe("exited");
      expect(socketsOf(before)).toEqual([]);
      await started(server, id);
      await answers(server, id);
      expect(socketsOf(await connectionOf(server, id))).toHaveLength(5);
    });

    test("can be adopted by another session", async () => {
      await using server = await openServer({
        transport,
        kernelSockets: "auto",
      });
      const id = await server.start("echo");
      const connection = await connectionOf(server, id);
      await create(server, "adopting", []);
      const path = "/sessions/adopting/adopt";
      const { status } = await server.ask("PUT", path, connection);
      expect(status).toBe(200);
      await answers(server, "adopting");
    });
  },
);

test(
  "a kernel's sockets are removed with its session",
  needsPosix,
  async () => {
    await using server = await openServer({ kernelSockets: "auto" });
    const id = await server.start("echo");
    const connection = await connectionOf(server, id);
    await server.ask("POST", `/sessions/${id}/shutdown`);
    await server.ask("DELETE", `/sessions/${id}`);
    expect(socketsOf(connection)).toEqual([]);
  },
);

test(
  "a directory whose path is too long for sockets is replaced by a short one",
  needsPosix,
  async () => {
    const runtimeDirectory = join(temporaryFolder(), "long".repeat(30));
    mkdirSync(runtimeDirectory);
    const server = await openServer({
      runtimeDirectory,
      kernelSockets: "auto",
    });
    const id = await server.start("echo");
    const { transport, ip } = await connectionOf(server, id);
    expect(transport).toBe("ipc");
    expect(ip.length).toBeLessThan(100);
    expect(statSync(dirname(ip)).mode & 0o777).toBe(0o700);
    await answers(server, id);
    await server[Symbol.asyncDispose]();
    expect(existsSync(dirname(ip))).toBe(false);
    expect(readdirSync(runtimeDirectory)).toEqual([]);
  },
);

describe("ports instead of sockets", () => {
  test("if the server is configured so", async () => {
    await using server = await openServer({ kernelSockets: "tcp" });
    const id = await server.start("echo");
    expect(await connectionOf(server, id)).toMatchObject({
      transport: "tcp",
      ip: "127.0.0.1",
    });
    await answers(server, id);
  });

  test("if the kernelspec says so", async () => {
    const folder = temporaryFolder();
    const home = join(folder, "kernels", "of-ports");
    mkdirSync(home, { recursive: true });
    const spec = {
      argv: argvOf("echo"),
      language: "echo",
      metadata: { kallichore: { sockets: "tcp" } },
    };
    writeFileSync(join(home, "kernel.json"), JSON.stringify(spec));
    await using server = await openServer({
      kernelspecDirs: [folder],
      kernelSockets: "auto",
    });
    const id = await server.start("of-ports");
    expect(await connectionOf(server, id)).toMatchObject({ transport: "tcp" });
  });

  test("if a client has requested them before the start", async () => {
    await using server = await openServer({ kernelSockets: "auto" });
    await create(server, "asked", argvOf("echo"));
    const before = await connectionOf(server, "asked");
    expect(before.transport).toBe("tcp");
    await started(server, "asked");
    expect(await connectionOf(server, "asked")).toEqual(before);
    await answers(server, "asked");
  });

  test.each([
    [
      "exits with an error",
      'console.error("unknown transport ipc"); process.exit(1);',
    ],
    ["does not bind them", "setInterval(() => {}, 1e6);"],
  ])(
    "for a kernel that %s, and for its next starts",
    needsPosix,
    async (_how, program) => {
      const folder = temporaryFolder();
      await using server = await openServer({ kernelSockets: "auto" });
      const argv = changed(folder, program);
      await create(server, "unable", argv, { connection_timeout: 20 });
      await started(server, "unable");
      expect(await connectionOf(server, "unable")).toMatchObject({
        transport: "tcp",
      });
      await answers(server, "unable");
      expect(startsIn(folder)).toBe(2);

      await create(server, "another", argv);
      await started(server, "another");
      expect(startsIn(folder)).toBe(3);
      expect(await connectionOf(server, "another")).toMatchObject({
        transport: "tcp",
      });
    },
  );

  test(
    "not for a kernel that fails for another reason",
    needsPosix,
    async () => {
      const folder = temporaryFolder();
      await using server = await openServer({ kernelSockets: "auto" });
      const program = 'console.error("No module named x"); process.exit(3);';
      await create(server, "broken", changed(folder, program));
      const { status, body } = await server.ask(
        "POST",
        "/sessions/broken/start",
      );
      expect(status).toBe(500);
      expect(body).toMatchObject({
        exit_code: 3,
        output: expect.stringContaining("No module named x") as string,
        error: { code: "KS-8" },
      });
      expect(startsIn(folder)).toBe(1);
    },
  );
});

test(
  "sockets with port-style names get Jupyter's names",
  needsPosix,
  async () => {
    const reservation = reservationIn(temporaryFolder());
    onTestFinished(() => reservation[Symbol.dispose]());
    const { ip } = reservation.address;
    for (const port of [1, 2, 3, 4, 5]) {
      const listener = createServer().listen(`${ip}:${port}`);
      onTestFinished(() => void listener.close());
      await once(listener, "listening");
    }
    await reservation.bound(AbortSignal.timeout(10_000));
    for (const port of [1, 2, 3, 4, 5]) {
      expect(statSync(`${ip}-${port}`).isSocket()).toBe(true);
    }
    reservation[Symbol.dispose]();
    expect(readdirSync(dirname(ip))).toEqual([]);
  },
);

test.each([
  [["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"], "able"],
  [["/opt/bin/python3", "-Xfrozen_modules=off", "-m", "ipykernel"], "able"],
  [["R", "--slave", "-e", "IRkernel::main()", "--args"], "able"],
  [["/usr/bin/xpython", "-f", "{connection_file}"], "able"],
  [["java", "-jar", "kernel.jar", "{connection_file}"], "unable"],
  [["almond", "launch"], "unable"],
  [["docker", "run", "kernel"], "unable"],
  [["deno", "jupyter", "--kernel", "--conn", "{connection_file}"], "unknown"],
  [["bash", "-c", "exec kernel"], "unknown"],
] as const)("the kernel %j counts as %s of Unix sockets", (argv, support) => {
  expect(ipcSupport({ argv, language: "" })).toBe(support);
});

/** A kernel that has lost one of its ports, and stays. */
const LOSSES = {
  "to one that says nothing": `
    const { createServer } = await import("node:net");
    createServer(() => {}).listen(connection[lost], connection.ip);`,
  "to one that speaks something else": `
    const { createServer } = await import("node:net");
    createServer((socket) => socket.on("error", () => {}).end("HTTP/1.1 400 Bad Request\\r\\n\\r\\n")).listen(connection[lost], connection.ip);`,
  "and binds the others": `
    const { createRequire } = await import("node:module");
    const { Router, Publisher } = createRequire(${JSON.stringify(import.meta.url)})("zeromq");
    globalThis.all = [];
    for (const [name, port] of ports) {
      if (name === lost) continue;
      const socket = name === "iopub_port" ? new Publisher() : new Router();
      globalThis.all.push(socket);
      await socket.bind("tcp://" + connection.ip + ":" + port);
    }
    setInterval(() => {}, 1e6);`,
};
const PORTS = ["shell", "iopub", "stdin", "control", "hb"] as const;

describe.each(DRIVERS)("a kernel gets other ports, by %s", (transport) => {
  test.each(Object.entries(LOSSES))(
    "if it loses its port %s",
    { timeout: 90_000 },
    async (_how, program) => {
      await using server = await openServer({
        transport,
        kernelSockets: "tcp",
      });
      await Promise.all(
        PORTS.map(async (port) => {
          const folder = temporaryFolder();
          const argv = changed(
            folder,
            `const lost = "${port}_port"; ${program}`,
          );
          await create(server, port, argv, { connection_timeout: 60 });
          await started(server, port);
          await answers(server, port);
          expect(startsIn(folder)).toBe(2);
        }),
      );
    },
  );
});

test.each([
  [
    "prints so",
    "console.error(\"zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:1')\"); setInterval(() => {}, 1e6);",
  ],
  [
    "prints so and exits",
    'console.error("bind: Address already in use"); process.exit(1);',
  ],
])(
  "a kernel that has lost a port and %s gets others",
  async (_how, program) => {
    const folder = temporaryFolder();
    await using server = await openServer({ kernelSockets: "tcp" });
    await create(server, "lost", changed(folder, program));
    await started(server, "lost");
    await answers(server, "lost");
    expect(startsIn(folder)).toBe(2);
  },
);

test("a kernel that reports another address as taken, and answers, is not restarted", async () => {
  const folder = temporaryFolder();
  const [, echo = ""] = argvOf("echo");
  const program = `console.error("OSError: [Errno 98] Address already in use: ('127.0.0.1', 8050)"); await import(${JSON.stringify(pathToFileURL(echo).href)});`;
  await using server = await openServer({ kernelSockets: "tcp" });
  await create(server, "chatty", changed(folder, program));
  await started(server, "chatty");
  await answers(server, "chatty");
  expect(startsIn(folder)).toBe(1);
});

test(
  "an ipykernel whose iopub port was taken gets others",
  { ...needsIpykernel, timeout: 90_000 },
  async () => {
    const folder = temporaryFolder();
    const path = join(folder, "kernel.py");
    writeFileSync(
      path,
      `import json, os, socket, sys
seen = ${JSON.stringify(join(folder, "starts"))}
first = not os.path.exists(seen)
open(seen, "a").write("x")
if first:
    taken = socket.socket()
    taken.bind(("127.0.0.1", json.load(open(sys.argv[2]))["iopub_port"]))
    taken.listen()
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
`,
    );
    await using server = await openServer({ kernelSockets: "tcp" });
    const argv = [pythonWithIpykernel ?? "", path, "-f", "{connection_file}"];
    await create(server, "python", argv, {
      language: "python",
      connection_timeout: 80,
    });
    await started(server, "python");
    expect(startsIn(folder)).toBe(2);
    const { text } = await server.ask("POST", "/sessions/python/execute", {
      code: "1+1",
    });
    expect(text).toContain('"2"');
  },
);
