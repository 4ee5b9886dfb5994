/** The shipped command with real sockets and real signals. */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import * as nodeModule from "node:module";
import { createServer, type Server } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";
import { describe, expect, test } from "vitest";
import { COMPATIBLE_VERSION, VERSION } from "../../src/package/version.ts";
import { pythonWithIpykernel } from "../kernels/python.ts";
import { buildCommand } from "./built.ts";
import {
  appeared,
  ask,
  readConnection,
  Running,
  type StartOptions,
} from "./kcserver/process.ts";
import { needs, needsIpykernel } from "../needs.ts";

let program: string;
let launcher: string;
let launcherRoom: string;
/** The directory for the server's files; it must be empty at the end. */
let room: string;
/** The directory of V8's cache, which stays when a server ends. */
let cache: string;

beforeAll(async () => {
  program = await buildCommand("kcserver");
  launcherRoom = mkdtempSync(join(tmpdir(), "kct-"));
  await using made = new Running([
    process.execPath,
    program,
    "--install-launcher",
    join(launcherRoom, "it's here"),
  ]);
  await made.ended();
  launcher = made.stdout.trim();
});

afterAll(() => {
  rmSync(dirname(program), { recursive: true, force: true });
  rmSync(launcherRoom, { recursive: true, force: true });
});

beforeEach(() => {
  room = mkdtempSync(join(tmpdir(), "kct-"));
  mkdirSync(join(room, "tmp"));
  cache = mkdtempSync(join(tmpdir(), "kcc-"));
});

afterEach(() => {
  const left = readdirSync(join(room, "tmp"));
  for (const made of [room, cache])
    rmSync(made, { recursive: true, force: true });
  expect(left).toEqual([]);
});

function start(args: readonly string[], options: StartOptions = {}): Running {
  return new Running([process.execPath, program, ...args], {
    ...options,
    env: surroundings(options.env),
  });
}

function surroundings(
  env: StartOptions["env"] = {},
): NonNullable<StartOptions["env"]> {
  const TMPDIR = join(room, "tmp");
  const XDG_CACHE_HOME = cache;
  return { TMPDIR, XDG_CACHE_HOME, XDG_RUNTIME_DIR: undefined, ...env };
}

/** A server with a connection file; resolves when the file exists. */
async function connected(
  args: readonly string[] = [],
  options: StartOptions = {},
) {
  const file = join(room, "connection.json");
  const server = start(["--connection-file", file, ...args], options);
  return opened(server, file);
}

/** Resolves when the file exists; the test ends the server. */
async function opened(server: Running, file: string) {
  const over = server.exited.then(() => {
    throw new Error(`ended at once: ${server.stdout}${server.stderr}`);
  });
  over.catch(() => {}); // a rejection matters only during the wait
  const written = appeared(file);
  written.catch(() => {}); // a server that ended writes no file
  await Promise.race([written, over]);
  return {
    server,
    file,
    connection: readConnection(file),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

describe("options that are not valid", () => {
  test.each([
    ["an unknown option", ["--bogus"]],
    ["a positional argument", ["file"]],
    ["a number out of range", ["--port", "65536"]],
    ["a value that looks like an option", ["-i", "-1"]],
    ["an option given twice", ["-p", "0", "--port=0"]],
  ])("%s ends kcserver with 2 and the usage", async (_what, args) => {
    await using server = start(args);
    expect(await server.ended()).toEqual({ code: 2, signal: null });
    expect(server.stdout).toBe("");
    expect(server.stderr).toMatch(/^error: .+\n\nUsage: kcserver /);
  });

  test.each([
    [["--port", "8080", "--connection-file", "{room}/c"]],
    [["--unix-socket", "{room}/s", "--transport", "tcp"]],
    [["--transport", "named-pipe"]],
    [["--transport", "carrier-pigeon"]],
  ])(
    "%j ends kcserver with 1 and one line, and leaves no files",
    async (args) => {
      const reported = args.map((word) => word.replace("{room}", room));
      await using server = start(reported);
      expect(await server.ended()).toEqual({ code: 1, signal: null });
      expect(server.stdout).toBe("");
      expect(server.stderr).toMatch(/^Error: .+\n$/);
      expect(readdirSync(room)).toEqual(["tmp"]);
    },
  );

  test("a log file that cannot be made ends kcserver with 101", async () => {
    await using server = start(["--log-file", join(room, "no/such/place")]);
    expect((await server.ended()).code).toBe(101);
    expect(server.stderr).toContain("log file");
  });

  test("a connection file that cannot be made ends kcserver with 1", async () => {
    await using server = start(["--connection-file", join(room, "no/c.json")]);
    expect((await server.ended()).code).toBe(1);
    expect(server.stderr).toContain("connection file");
  });
});

test("--version prints the reported version first, then the own version", async () => {
  await using plain = start(["--version"]);
  await using other = start(["--report-version", "0.1.99", "-V"]);
  expect((await plain.ended()).code).toBe(0);
  expect((await other.ended()).code).toBe(0);
  expect(plain.stdout).toBe(
    `kcserver ${COMPATIBLE_VERSION} (kallichore ${VERSION})\n`,
  );
  expect(other.stdout).toMatch(/^kcserver 0\.1\.99 /);
});

test("--help prints every option to stdout", async () => {
  await using server = start(["-h"]);
  expect((await server.ended()).code).toBe(0);
  expect(server.stdout).toContain("--resource-sample-interval");
});

describe("the address", () => {
  test("the port and the token are printed, and the log does not contain the token", async () => {
    const log = join(room, "log");
    await using server = start(["--log-file", log, "-l", "trace"]);
    const where = await server.printed(/^Listening at (127\.0\.0\.1:\d+)$/m);
    const token = await server.printed(/^Token: ([0-9a-f]{32,})$/m);
    const to = { base_path: `http://${where}`, bearer_token: token };
    expect((await ask(to, "GET /sessions")).status).toBe(200);
    const wrong = { ...to, bearer_token: "wrong" };
    expect((await ask(wrong, "GET /sessions")).status).toBe(401);
    expect((await ask(wrong, "GET /status")).status).toBe(200);
    server.signal("SIGTERM");
    await server.ended();
    expect(readFileSync(log, "utf8")).not.toContain(token);
    expect(statSync(log).mode & 0o777).toBe(0o600);
  });

  test("the connection file is complete and private, has Kallichore's order, and is removed at the end", async () => {
    await using kc = await connected(["--log-file", "log"], {
      cwd: room,
    });
    const { server, file, connection } = kc;
    expect(Object.keys(connection)).toEqual([
      "socket_path",
      "transport",
      "server_path",
      "server_pid",
      "bearer_token",
      "log_path",
      "server_id",
    ]);
    expect(connection).toMatchObject({
      transport: "socket",
      server_path: program,
      server_pid: server.pid,
      log_path: "log",
      socket_path: join(room, "tmp", `kc-${server.pid}.sock`),
    });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(connection.socket_path ?? "").mode & 0o077).toBe(0);
    expect(server.stdout).not.toContain(connection.bearer_token);
    expect(await ask(connection, "GET /status")).toMatchObject({
      status: 200,
      body: { server_id: connection.server_id, process_id: server.pid },
    });
    expect((await ask(connection, "GET /sessions")).status).toBe(200);
    server.signal("SIGINT");
    expect(await server.ended()).toEqual({ code: 0, signal: null });
    expect(readdirSync(room).sort()).toEqual(["log", "tmp"]);
  });

  test("over TCP the connection file has port and base_path", async () => {
    await using kc = await connected(["--transport=tcp"]);
    const { connection } = kc;
    expect(Object.keys(connection).slice(0, 3)).toEqual([
      "port",
      "base_path",
      "transport",
    ]);
    expect(connection.base_path).toBe(`http://127.0.0.1:${connection.port}`);
    expect((await ask(connection, "GET /sessions")).status).toBe(200);
  });

  test("a connection file that another server has written since then stays", async () => {
    await using kc = await connected();
    const { server, file } = kc;
    writeFileSync(file, "another's");
    server.signal("SIGTERM");
    await server.ended();
    expect(readFileSync(file, "utf8")).toBe("another's");
  });

  test("--unix-socket sets the path of the socket, which is removed at the end", async () => {
    const path = join(room, "deep", "down", "s.sock");
    await using server = start(["--unix-socket", path, "--token", "none"]);
    await server.printed(/^Listening on Unix socket: (.*)$/m);
    const to = { socket_path: path, bearer_token: null };
    expect((await ask(to, "GET /sessions")).status).toBe(200);
    server.signal("SIGTERM");
    await server.ended();
    expect(existsSync(path)).toBe(false);
  });

  test("a file that is not a socket is not removed", async () => {
    const path = join(room, "precious");
    writeFileSync(path, "words");
    await using server = start(["--unix-socket", path]);
    expect((await server.ended()).code).toBe(1);
    expect(readFileSync(path, "utf8")).toBe("words");
  });

  test("a path that is too long for a socket is an error", async () => {
    const path = join(room, "x".repeat(100));
    await using server = start(["--unix-socket", path]);
    expect((await server.ended()).code).toBe(1);
    expect(server.stderr).toContain("104");
  });

  test("a port that is taken is an error", async () => {
    using other = await listening({ port: 0, host: "127.0.0.1" });
    const { port } = other.server.address() as { port: number };
    await using server = start(["--port", String(port)]);
    expect((await server.ended()).code).toBe(1);
    expect(server.stderr).toContain("EADDRINUSE");
  });

  test("two servers cannot use the same Unix socket", async () => {
    const path = join(room, "s.sock");
    await using first = start(["--unix-socket", path, "--token", "none"]);
    await first.printed(/^Listening on .*$/m);
    await using second = start(["--unix-socket", path, "--token", "none"]);
    expect((await second.ended()).code).toBe(1);
    const to = { socket_path: path, bearer_token: null };
    expect((await ask(to, "GET /status")).status).toBe(200);
  });
});

describe("the handshake", () => {
  test("is one document, then the end of the stream; the server then answers", async () => {
    const path = join(room, "h.sock");
    using client = await listening({ path });
    await using server = start([
      ...["--handshake-socket", path, "--transport", "socket"],
      ...["--resource-sample-interval", "0", "--log-level", "debug"],
    ]);
    const text = await client.received;
    expect(text.trimEnd()).not.toContain("\n");
    expect(text.endsWith("\n")).toBe(true);
    const connection = JSON.parse(text) as ReturnType<typeof readConnection>;
    expect(connection).toMatchObject({
      transport: "socket",
      server_pid: server.pid,
      log_path: null,
    });
    expect((await ask(connection, "GET /sessions")).status).toBe(200);
    expect(client.connections).toBe(1);
    expect(server.stdout).not.toContain(connection.bearer_token);
  });

  test("ends the server with a reason if no program listens", async () => {
    const path = join(room, "nobody.sock");
    await using server = start(["--handshake-socket", path]);
    expect((await server.ended()).code).toBe(1);
    expect(server.stderr).toMatch(/handshake on .* failed: .*ENOENT/);
  });

  test("is not sent to a path that is not a socket", async () => {
    const path = join(room, "broker.sock");
    using broker = await listening({ path });
    await using server = start([], {
      env: {
        POSITRON_SUPERVISOR_HANDSHAKE_SOCKET: path,
        POSITRON_SUPERVISOR_CONNECTION_FILE: join(room, "broker.json"),
      },
    });
    await server.printed(/^Token: .*$/m);
    expect(broker.connections).toBe(0);
    expect(existsSync(join(room, "broker.json"))).toBe(false);
  });
});

describe("the token file", () => {
  test("is read without the white space around the token, then deleted", async () => {
    const path = join(room, "token");
    writeFileSync(path, "\n  sesame-sesame \n");
    await using kc = await connected(["-t", path]);
    const { connection } = kc;
    expect(connection.bearer_token).toBe("sesame-sesame");
    expect(existsSync(path)).toBe(false);
    expect((await ask(connection, "GET /sessions")).status).toBe(200);
  });

  test.each([
    ["longer than 64 bytes", "x".repeat(65)],
    ["empty", " \n"],
    ["of more than one word", "open sesame"],
  ])("%s is refused, and not shown", async (_what, text) => {
    const path = join(room, "token");
    writeFileSync(path, text);
    await using server = start(["--token", path]);
    expect((await server.ended()).code).toBe(1);
    expect(server.stderr).toContain(path);
    if (text.trim() !== "") expect(server.stderr).not.toContain(text);
  });

  test("that does not exist is an error", async () => {
    await using server = start(["--token", join(room, "none-such")]);
    expect((await server.ended()).code).toBe(1);
  });

  test("may have 64 bytes", async () => {
    const path = join(room, "token");
    writeFileSync(path, `${"x".repeat(64)}\n`);
    await using kc = await connected(["--token", path]);
    const { connection } = kc;
    expect(connection.bearer_token).toHaveLength(64);
  });

  test("'none' means that no token is needed", async () => {
    await using kc = await connected(["--token=none"]);
    const { connection } = kc;
    expect(connection.bearer_token).toBeNull();
    expect((await ask(connection, "GET /sessions")).status).toBe(200);
  });
});

describe("the end", () => {
  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "%s ends the server in order",
    async (name) => {
      await using kc = await connected();
      const { server, file } = kc;
      server.signal(name);
      expect(await server.ended()).toEqual({ code: 0, signal: null });
      expect(existsSync(file)).toBe(false);
    },
  );

  test("after an internal error leaves no files, and reports the error", async () => {
    const fault = join(room, "fault.mjs");
    writeFileSync(
      fault,
      'process.on("SIGUSR2", () => { throw new Error("what nobody foresaw"); });',
    );
    await using kc = await connected([], {
      env: { NODE_OPTIONS: `--import=${fault}` },
    });
    const { server, file, connection } = kc;
    server.signal("SIGUSR2");
    expect(await server.ended()).toEqual({ code: 70, signal: null });
    expect(server.stderr).toContain("what nobody foresaw");
    expect(existsSync(file)).toBe(false);
    expect(existsSync(connection.socket_path ?? "")).toBe(false);
  });

  test("POST /shutdown is answered, then the server ends", async () => {
    await using kc = await connected();
    const { server, connection, file } = kc;
    expect(await ask(connection, "POST /shutdown")).toEqual({
      status: 200,
      body: null,
    });
    expect(await server.ended()).toEqual({ code: 0, signal: null });
    expect(existsSync(file)).toBe(false);
  });
});

describe("the log", () => {
  test("level can be changed at run time", async () => {
    const log = join(room, "log");
    await using kc = await connected(["--log-file", log]);
    const { server, connection } = kc;
    const asleep = { log_level: "error" };
    await ask(connection, "POST /server_configuration", asleep);
    expect(await ask(connection, "GET /server_configuration")).toMatchObject({
      body: asleep,
    });
    await ask(connection, "PUT /sessions", newSession("quiet"));
    const awake = { log_level: "info" };
    await ask(connection, "POST /server_configuration", awake);
    await ask(connection, "PUT /sessions", newSession("loud"));
    server.signal("SIGTERM");
    await server.ended();
    const text = readFileSync(log, "utf8");
    expect(text).not.toContain("quiet");
    expect(text).toMatch(
      /^\d\d:\d\d:\d\d \[INFO\] \[session loud\] Session created$/m,
    );
  });

  test("is empty with RUST_LOG=off; the two lines for people are still printed", async () => {
    await using server = start([], { env: { RUST_LOG: "off" } });
    await server.printed(/^Token: /m);
    server.signal("SIGTERM");
    await server.ended();
    expect(server.stderr).toBe("");
    expect(server.stdout).toMatch(/^Listening at \S+\nToken: \S+\n$/);
  });

  test("level is set by --log-level, with any RUST_LOG", async () => {
    const env = { RUST_LOG: "off" };
    await using server = start(["-l", "info"], { env });
    await server.printed(/\[INFO\] Listening at/);
  });

  test("on a full disk does not affect clients", async () => {
    const full = openSync("/dev/full", "w");
    await using kc = await fullDisk(full);
    const { server, connection } = kc;
    const created = await ask(connection, "PUT /sessions", newSession("a"));
    expect(created.status).toBe(200);
    server.signal("SIGTERM");
    expect(await server.ended()).toEqual({ code: 0, signal: null });
  });

  test("whose reader has left does not affect clients", async () => {
    await using kc = await connected(["--log-level", "trace"]);
    const { server, connection } = kc;
    server.stopReading();
    for (const id of ["a", "b", "c"]) {
      const created = await ask(connection, "PUT /sessions", newSession(id));
      expect(created.status).toBe(200);
    }
    server.signal("SIGTERM");
    expect(await server.ended()).toEqual({ code: 0, signal: null });
  });

  async function fullDisk(full: number) {
    const file = join(room, "connection.json");
    const args = ["--connection-file", file, "--log-file", "/dev/full"];
    const server = start(args, { output: [full, full] });
    closeSync(full);
    return opened(server, file);
  }
});

describe("the launcher", () => {
  test("runs without PATH, becomes the server process, and is called kcserver", async () => {
    const file = join(room, "connection.json");
    await using server = new Running([launcher, "--connection-file", file], {
      env: { ...surroundings(), PATH: "" },
    });
    await server.printed(/^Listening .*$/m);
    await appeared(file);
    const connection = readConnection(file);
    expect(connection.server_pid).toBe(server.pid);
    expect(connection.server_path).toBe(launcher);
    if (process.platform === "linux") {
      const comm = readFileSync(`/proc/${server.pid}/comm`, "utf8");
      expect(comm).toBe("kcserver\n");
    }
  });

  test("reports the version that the surrounding Positron expects", async () => {
    const folder = join(room, "positron-supervisor", "resources", "kallichore");
    mkdirSync(folder, { recursive: true });
    const positron = { binaryDependencies: { kallichore: "0.1.66" } };
    writeFileSync(
      join(room, "positron-supervisor", "package.json"),
      JSON.stringify({ name: "positron-supervisor", positron }),
    );
    const placed = join(folder, "kcserver");
    copyFileSync(launcher, placed);
    chmodSync(placed, 0o755);
    const file = join(room, "connection.json");
    await using server = new Running([placed, "--connection-file", file], {
      env: surroundings(),
    });
    await server.printed(/^Listening .*$/m);
    await appeared(file);
    const connection = readConnection(file);
    const { body } = await ask(connection, "GET /status");
    expect(body).toMatchObject({ version: "0.1.66", server_version: VERSION });
    await using requested = new Running([placed, "--version"]);
    await requested.ended();
    expect(requested.stdout).toBe(`kcserver 0.1.66 (kallichore ${VERSION})\n`);
  });

  test("passes on the exit code and every argument", async () => {
    await using server = new Running([launcher, "--log-level", "a b", "x y"]);
    expect((await server.ended()).code).toBe(2);
  });
});

/** As Positron does to keep sessions: a shell that ignores signals for its background processes. */
const PERSISTENT = 'nohup "$@" & wait "$!"';

describe("under nohup, in the background", () => {
  test("the server ignores SIGHUP, and ends at SIGINT", async () => {
    const file = join(room, "connection.json");
    await using shell = new Running(
      ["bash", "-c", PERSISTENT, "sh", launcher, "--connection-file", file],
      { env: surroundings() },
    );
    await shell.printed(/^Listening .*$/m);
    await appeared(file);
    const connection = readConnection(file);
    const { server_pid } = connection;
    process.kill(server_pid, "SIGHUP");
    await ask(connection, "GET /status");
    // After a round trip, the server has received the signal and still answers.
    expect((await ask(connection, "GET /status")).status).toBe(200);
    process.kill(server_pid, "SIGINT");
    expect((await shell.ended()).code).toBe(0);
    expect(existsSync(file)).toBe(false);
  });

  test(
    "kernels can be interrupted, and end with the server",
    { ...needsIpykernel, timeout: 90_000 },
    async () => {
      const file = join(room, "connection.json");
      await using shell = new Running(
        ["bash", "-c", PERSISTENT, "sh", launcher, "--connection-file", file],
        { env: surroundings() },
      );
      await shell.printed(/^Listening .*$/m);
      await appeared(file);
      const connection = readConnection(file);
      await ask(connection, "PUT /sessions", pythonSession("py"));
      const started = await ask(connection, "POST /sessions/py/start");
      expect(started.status).toBe(200);
      const begun = join(room, "begun");
      const code = `open(${JSON.stringify(begun)}, "w").close()\nimport time\ntime.sleep(600)`;
      const executed = ask(connection, "POST /sessions/py/execute", { code });
      await appeared(begun);
      await ask(connection, "POST /sessions/py/interrupt");
      expect(await executed).toMatchObject({
        status: 200,
        body: { outputs: [{ ename: "KeyboardInterrupt" }] },
      });
      const session = await ask(connection, "GET /sessions/py");
      const { process_id } = session.body as { process_id: number };
      process.kill(connection.server_pid, "SIGTERM");
      expect((await shell.ended()).code).toBe(0);
      expect(() => process.kill(process_id, 0)).toThrow("ESRCH");
    },
  );
});

test(
  "a second signal kills a kernel that ignores requests to end",
  { ...needsIpykernel, timeout: 90_000 },
  async () => {
    await using kc = await connected();
    const { server, connection } = kc;
    await ask(connection, "PUT /sessions", pythonSession("stubborn"));
    const started = await ask(connection, "POST /sessions/stubborn/start");
    expect(started.status).toBe(200);
    const begun = join(room, "begun");
    const code = [
      "import signal, time",
      "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
      `open(${JSON.stringify(begun)}, "w").close()`,
      "time.sleep(600)",
    ].join("\n");
    const executed = ask(connection, "POST /sessions/stubborn/execute", {
      code,
    });
    executed.catch(() => {}); // the server may end before it answers
    await appeared(begun);
    const session = await ask(connection, "GET /sessions/stubborn");
    const { process_id } = session.body as { process_id: number };
    server.signal("SIGTERM");
    await server.printed(/The server ends: SIGTERM/);
    server.signal("SIGHUP"); // as when the terminal is closed: it is not urgent
    const killed = /Kernels are killed: SIGTERM/;
    while (!killed.test(server.stdout)) {
      server.signal("SIGTERM");
      await Promise.race([delay(200), server.ended()]);
    }
    expect(await server.ended()).toEqual({ code: 0, signal: null });
    expect(() => process.kill(process_id, 0)).toThrow("ESRCH");
  },
);

function newSession(session_id: string) {
  return {
    session_id,
    argv: [],
    display_name: "Test",
    language: "python",
    username: "tester",
    input_prompt: "",
    continuation_prompt: "",
    env: [],
    working_directory: "",
    interrupt_mode: "message",
    session_mode: "console",
    startup_environment: "none",
  };
}

/** A kernel that is interrupted by a signal. */
function pythonSession(session_id: string) {
  const command = "-m ipykernel_launcher -f {connection_file}";
  return {
    ...newSession(session_id),
    argv: [pythonWithIpykernel, ...command.split(" ")],
    interrupt_mode: "signal",
  };
}

/** A socket of the test. It counts the connections, and keeps the data of the first one. */
async function listening(
  address: { path: string } | { port: number; host: string },
): Promise<
  Disposable & {
    server: Server;
    connections: number;
    received: Promise<string>;
  }
> {
  let finish: (text: string) => void = () => {};
  const opened = {
    server: createServer({ allowHalfOpen: true }, (socket) => {
      opened.connections += 1;
      let text = "";
      socket.on("data", (chunk) => (text += chunk.toString()));
      socket.on("error", () => {});
      socket.on("end", () => {
        finish(text);
        socket.end();
      });
    }),
    connections: 0,
    received: new Promise<string>((resolve) => (finish = resolve)),
    [Symbol.dispose]: () => void opened.server.close(),
  };
  opened.server.listen(address);
  await once(opened.server, "listening");
  return opened;
}

describe("V8's compiled code", () => {
  const canKeep = "enableCompileCache" in nodeModule;
  const isPosix = process.platform !== "win32";
  const needsCache = needs(
    canKeep && isPosix,
    "Node 22.1 or later, not on Windows",
  );

  test(
    "is cached for the next start, in a private directory",
    needsCache,
    async () => {
      await using program = start(["--version"]);
      await program.ended();
      const kept = join(cache, "kallichore", "compiled");
      expect(statSync(kept).mode & 0o777).toBe(0o700);
      expect(readdirSync(kept)).not.toEqual([]);
    },
  );

  test(
    "is not cached in a directory that others can write to",
    needsCache,
    async () => {
      const shared = join(cache, "kallichore", "compiled");
      mkdirSync(shared, { recursive: true });
      chmodSync(shared, 0o777);
      await using program = start(["--version"]);
      expect(await program.ended()).toMatchObject({ code: 0 });
      expect(readdirSync(shared)).toEqual([]);
    },
  );
});
