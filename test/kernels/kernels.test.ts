/** Checks that the small kernels have the habits and faults that their names promise. */
import { once } from "node:events";
import { watch } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Reply, Router } from "zeromq";
import { describe, expect, test } from "vitest";
import {
  DELIMITER,
  FrameReader,
  Signer,
  toFrames,
  type ReceivedMessage,
} from "../../src/jupyter/frames.ts";
import { compose, contentOf } from "../../src/jupyter/message.ts";
import {
  portNames,
  readInstructions,
  type Instructions,
  type Ports,
} from "../../kernels/connection.ts";
import { argvOf } from "./index.ts";
import {
  connect,
  launch,
  RawClient,
  stateOf,
  toPair,
  type Content,
} from "./raw-client.ts";

describe("echo", () => {
  test("returns code that is not a command as a stream and as the result", async () => {
    await using kernel = await launch({ argv: argvOf("echo") });
    using client = await connect(kernel.connection);

    const { outputs, reply } = await client.run("hello");

    expect(outputs).toEqual([
      ["execute_input", { code: "hello", execution_count: 1 }],
      ["stream", { name: "stdout", text: "hello" }],
      [
        "execute_result",
        {
          data: { "text/plain": "hello" },
          metadata: {},
          execution_count: 1,
        },
      ],
    ]);
    expect(reply).toMatchObject({ status: "ok", execution_count: 1 });
  });

  test("a flood arrives complete and in order", async () => {
    await using kernel = await launch({ argv: argvOf("echo") });
    using client = await connect(kernel.connection);

    const { outputs } = await client.run("flood 5000");

    const numbers = outputs.flatMap(([type, { text }]) =>
      type === "stream" ? [Number(text)] : [],
    );
    expect(numbers).toEqual(Array.from({ length: 5000 }, (_, i) => i + 1));
  });

  test.each(["signal", "message"])(
    "an interrupt by %s ends a sleep",
    async (mode) => {
      await using kernel = await launch({ argv: argvOf("echo") });
      using client = await connect(kernel.connection);
      const msg_id = await client.execute("sleep 60000");
      await client.wait(
        ({ header, parent_header }) =>
          header.msg_type === "execute_input" &&
          parent_header?.msg_id === msg_id,
      );

      if (mode === "signal") kernel.child.kill("SIGINT");
      else {
        expect(
          await client.ask("interrupt_request", {}, "control"),
        ).toMatchObject({ status: "ok" });
      }

      expect(await client.reply(msg_id)).toMatchObject({
        status: "error",
        ename: "KeyboardInterrupt",
      });
    },
  );

  test("control is answered while the shell is busy", async () => {
    await using kernel = await launch({ argv: argvOf("echo") });
    using client = await connect(kernel.connection);
    await client.execute("sleep 60000");

    const info = await client.ask("kernel_info_request", {}, "control");

    expect(info).toMatchObject({ status: "ok", implementation: "echo" });
  });

  test("input is requested from the client that executes", async () => {
    await using kernel = await launch({ argv: argvOf("echo") });
    using asker = await connect(kernel.connection);
    using other = await connect(kernel.connection);
    const msg_id = await asker.execute("input Name? ");

    const question = await asker.wait(({ channel }) => channel === "stdin");
    expect(contentOf(question)).toEqual({ prompt: "Name? ", password: false });
    await asker.request("stdin", "input_reply", { value: "Ada" });

    const outputs = (await asker.outputs(msg_id)).map(toPair);
    expect(outputs.at(-1)).toMatchObject([
      "execute_result",
      { data: { "text/plain": "Ada" } },
    ]);
    expect(other.received.some(({ channel }) => channel === "stdin")).toBe(
      false,
    );
  });

  test("input is an error if the client does not allow it", async () => {
    await using kernel = await launch({ argv: argvOf("echo") });
    using client = await connect(kernel.connection);

    const { reply } = await client.run("input", { allow_stdin: false });

    expect(reply).toMatchObject({ ename: "StdinNotImplementedError" });
  });

  test("buffers arrive and return unchanged, also an empty one", async () => {
    await using kernel = await launch({ argv: argvOf("echo") });
    using client = await connect(kernel.connection);
    const buffers = [Buffer.from([0, 255]), Buffer.alloc(0), Buffer.from("x")];

    const msg_id = await client.request(
      "shell",
      "comm_msg",
      { comm_id: "c", data: {} },
      buffers,
    );

    const [comm] = await client.outputs(msg_id);
    expect(comm?.buffers.map((buffer) => Buffer.from(buffer))).toEqual(buffers);
  });

  test("an error is published and replied", async () => {
    await using kernel = await launch({ argv: argvOf("echo") });
    using client = await connect(kernel.connection);

    const { outputs, reply } = await client.run("error no luck");

    const reported = { ename: "EchoError", evalue: "no luck" };
    expect(outputs.at(-1)).toMatchObject(["error", reported]);
    expect(reply).toMatchObject({ status: "error", ...reported });
  });

  test("requests in the queue are aborted after an error", async () => {
    await using kernel = await launch({ argv: argvOf("echo") });
    using client = await connect(kernel.connection);
    const failing = await client.execute("sleep 60000");
    const behind = await client.execute("never run");
    await client.wait(({ header }) => header.msg_type === "execute_input"); // an earlier interrupt would find nothing to end
    await client.ask("kernel_info_request", {}, "control"); // the kernel has now read the earlier messages
    await client.ask("interrupt_request", {}, "control");

    expect(await client.reply(failing)).toMatchObject({ status: "error" });
    expect(await client.reply(behind)).toMatchObject({ status: "aborted" });
  });

  test("shutdown_request is answered before the process ends", async () => {
    await using kernel = await launch({ argv: argvOf("echo") });
    using client = await connect(kernel.connection);

    const reply = await client.ask(
      "shutdown_request",
      { restart: true },
      "control",
    );

    expect(reply).toEqual({ status: "ok", restart: true });
    expect(await kernel.exited).toBe(0);
  });

  test.each([
    ["exit 7", 7],
    ["crash", "SIGSEGV"],
  ])("%s ends the process with the expected code", async (code, end) => {
    await using kernel = await launch({ argv: argvOf("echo") });
    using client = await connect(kernel.connection);

    await client.execute(code);

    expect(await kernel.exited).toBe(end);
  });

  test("a message signed with another key is dropped, and the next one is answered", async () => {
    await using kernel = await launch({ argv: argvOf("echo") });
    using client = await connect(kernel.connection);
    using stranger = await connect(kernel.connection);
    Object.assign(stranger, { signer: new Signer("another key") });

    const refused = await stranger.execute("hello");
    await kernel.complained("signed with another key");
    await client.run("hello");

    expect(
      stranger.received.some(
        ({ parent_header }) => parent_header?.msg_id === refused,
      ),
    ).toBe(false);
  });

  test("zeros in the connection file are replaced by the ports that were bound", async () => {
    const file = {
      transport: "tcp",
      ip: "127.0.0.1",
      key: "k",
      signature_scheme: "hmac-sha256",
      ...Object.fromEntries(portNames.map((name) => [name, 0])),
    };
    await using kernel = await launch({ argv: argvOf("echo"), file });

    const { connection } = await rewritten(kernel.connection_file);
    using client = await connect(connection);

    expect((await client.run("hello")).reply).toMatchObject({ status: "ok" });
  });

  test("a kernel whose parent is gone ends by itself", async () => {
    await using kernel = await launch({
      argv: [
        process.execPath,
        "-e",
        `const [program, file] = process.argv.slice(1);
         const env = { ...process.env, JPY_PARENT_PID: String(process.pid) };
         const child = require("node:child_process").spawn(process.execPath, [program, file], { env, stdio: ["ignore", "inherit", "inherit"] });
         process.on("SIGTERM", () => process.exit(0));`,
        ...argvOf("echo").slice(1),
      ],
    });
    using client = await connect(kernel.connection);
    expect(await client.beats()).toBe(true);

    kernel.child.kill("SIGTERM");

    await kernel.exited; // "close" is emitted when the grandchild has closed the pipes too
  });
});

test("unresponsive does not answer", async () => {
  await using kernel = await launch({ argv: argvOf("unresponsive") });
  using client = new RawClient(kernel.connection);

  await client.request("control", "kernel_info_request", {});
  await client.request("shell", "kernel_info_request", {});
  await client.execute("1");

  expect(await client.beats()).toBe(false);
  expect(client.received.filter(isAnswer)).toEqual([]);

  kernel.child.kill("SIGTERM");
  expect(await kernel.exited).toBe(0);
});

test("stubborn outlives shutdown_request, SIGINT and SIGTERM", async () => {
  await using kernel = await launch({ argv: argvOf("stubborn") });
  using client = await connect(kernel.connection);

  await client.request("control", "shutdown_request", { restart: false });
  kernel.child.kill("SIGINT");
  kernel.child.kill("SIGTERM");

  expect(await client.ask("kernel_info_request")).toMatchObject({
    implementation: "stubborn",
  });
  kernel.child.kill("SIGKILL");
  expect(await kernel.exited).toBe("SIGKILL");
});

test("stillborn exits with 3 and a traceback", async () => {
  await using kernel = await launch({ argv: argvOf("stillborn") });

  expect(await kernel.exited).toBe(3);
  expect(kernel.stderr).toMatch(/ModuleNotFoundError: .*\n$/);
});

test("chatty prints every number once, and records how many", async () => {
  await using folder = await temporaryFolder();
  const CHATTY_FILE = join(folder.path, "count");
  await using kernel = await launch({
    argv: argvOf("chatty"),
    env: { CHATTY_LIMIT: "20000", CHATTY_FILE },
  });
  using client = await connect(kernel.connection);

  await client.wait(
    (message) =>
      message.header.msg_type === "stream" &&
      (contentOf(message) as Content)["text"] === "20000\n",
  );

  const numbers = client.received
    .filter(({ header }) => header.msg_type === "stream")
    .map((message) => Number((contentOf(message) as Content)["text"]));
  expect(numbers).toEqual(Array.from({ length: 20_000 }, (_, i) => i + 1));
  await client.ask("shutdown_request", {}, "control");
  await kernel.exited;
  expect(await readFile(CHATTY_FILE, "utf8")).toBe("20000");
});

test("slow binds after its delay", async () => {
  await using kernel = await launch({
    argv: argvOf("slow"),
    env: { SLOW_S: "0.5" },
  });
  using client = await connect(kernel.connection);

  expect((await client.run("1")).reply).toMatchObject({ status: "ok" });
});

test("crash-on-execute dies by a signal while it runs code", async () => {
  await using kernel = await launch({ argv: argvOf("crash-on-execute") });
  using client = await connect(kernel.connection);

  await client.execute("1");

  expect(await kernel.exited).toBe("SIGSEGV");
});

test("forgetful replies and never sends idle", async () => {
  await using kernel = await launch({ argv: argvOf("forgetful") });
  using client = await connect(kernel.connection);

  const msg_id = await client.execute("1");
  await client.reply(msg_id);
  const next = await client.request("shell", "is_complete_request", {});
  await client.outputs(next); // iopub is ordered: an idle would have arrived by now

  const states = client.received
    .filter(({ parent_header }) => parent_header?.msg_id === msg_id)
    .map(stateOf);
  expect(states).toContain("busy");
  expect(states).not.toContain("idle");
});

test("no-heartbeat loses its heartbeat, and continues", async () => {
  await using kernel = await launch({ argv: argvOf("no-heartbeat") });
  using client = await connect(kernel.connection);
  expect(await client.beats()).toBe(true);

  await client.run("stop");

  expect(await client.beats()).toBe(false);
  expect((await client.run("1")).reply).toMatchObject({ status: "ok" });
});

test("late answers the second execution first", async () => {
  await using kernel = await launch({ argv: argvOf("late") });
  using client = await connect(kernel.connection);
  const first = await client.execute("1");
  await client.outputs(first);

  const second = await client.execute("2");
  await client.reply(first);

  const replies = client.received
    .filter(({ header }) => header.msg_type === "execute_reply")
    .map(({ parent_header }) => parent_header?.msg_id);
  expect(replies).toEqual([second, first]);
});

test("prints-first prints ten megabytes, then starts", async () => {
  await using kernel = await launch({ argv: argvOf("prints-first") });
  using client = await connect(kernel.connection);

  expect((await client.run("1")).reply).toMatchObject({ status: "ok" });
  expect(kernel.stdout).toHaveLength(10 * 1024 * 1024);
});

describe("registered", () => {
  const key = "the key";
  const signer = new Signer(key);

  test("in Posit's dialect: a handshake_request with numbers", async () => {
    const socket = new Reply({ linger: 0, receiveTimeout: 20_000 });
    await socket.bind("tcp://127.0.0.1:*");
    await using kernel = await launch({
      argv: argvOf("registered"),
      file: {
        transport: "tcp",
        ip: "127.0.0.1",
        registration_port: portOf(socket.lastEndpoint),
        signature_scheme: "hmac-sha256",
        key,
      },
    });

    const request = new FrameReader(signer).read(
      await socket.receive(),
      "shell",
    );
    expect(request.header.msg_type).toBe("handshake_request");
    const ports = contentOf(request) as Ports;
    expect(Object.keys(ports).sort()).toEqual([...portNames].sort());
    await socket.send(
      toFrames(
        compose({
          channel: "shell",
          msg_type: "handshake_reply",
          content: { status: "ok", capabilities: {} },
          session: "s",
          username: "u",
          parent: request,
        }),
        signer,
      ),
    );
    using client = await connect({
      ...kernel.connection,
      transport: "tcp",
      ip: "127.0.0.1",
      key,
      ...ports,
    });

    expect((await client.run("1")).reply).toMatchObject({ status: "ok" });
    expect(
      client.received.some(({ header }) => header.msg_type === "iopub_welcome"),
    ).toBe(true);
    socket.close();
  });

  test("in the specification's dialect: one frame, ports as strings", async () => {
    const socket = new Router({ linger: 0, receiveTimeout: 20_000 });
    await socket.bind("tcp://127.0.0.1:*");
    await using kernel = await launch({
      argv: argvOf("registered"),
      file: {
        kernel_id: "the kernel",
        transport: "tcp",
        registration_ip: "127.0.0.1",
        registration_port: portOf(socket.lastEndpoint),
        signature_scheme: "hmac-sha256",
        key,
      },
    });

    const [
      identity = Buffer.alloc(0),
      delimiter,
      signature = Buffer.alloc(0),
      frame = Buffer.alloc(0),
    ] = await socket.receive();
    const nothing = Buffer.alloc(0);
    const alone = (content: Buffer) => ({
      header: nothing,
      parent_header: nothing,
      metadata: nothing,
      content,
    });
    expect(delimiter).toEqual(DELIMITER);
    expect(signer.verifies(signature, alone(frame))).toBe(true);
    const { kernel_id, ...spelled } = JSON.parse(String(frame)) as Record<
      string,
      string
    >;
    expect(kernel_id).toBe("the kernel");
    expect(Object.keys(spelled).sort()).toEqual([...portNames].sort());
    const ports = Object.fromEntries(
      Object.entries(spelled).map(([name, port]) => [name, Number(port)]),
    ) as unknown as Ports;
    const content = Buffer.from("{}");
    await socket.send([
      identity,
      DELIMITER,
      signer.sign(alone(content)),
      content,
    ]);
    using client = await connect({
      ...kernel.connection,
      transport: "tcp",
      ip: "127.0.0.1",
      key,
      ...ports,
    });

    expect((await client.run("1")).reply).toMatchObject({ status: "ok" });
    socket.close();
  });

  test("without an acknowledgement the kernel ends", async () => {
    await using kernel = await launch({
      argv: argvOf("registered"),
      file: {
        transport: "tcp",
        ip: "127.0.0.1",
        registration_port: 9, // nobody is there
        signature_scheme: "hmac-sha256",
        key,
      },
    });

    expect(await kernel.exited).toBe(1);
  });
});

function portOf(endpoint: string | null): number {
  return Number(endpoint?.split(":").at(-1));
}

async function temporaryFolder() {
  const path = await mkdtemp(join(tmpdir(), "count-"));
  return {
    path,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true }),
  };
}

/** Whether it is not the `starting` that every kernel sends once, without a parent. */
function isAnswer({ parent_header }: ReceivedMessage): boolean {
  return parent_header !== undefined;
}

/** Resolves with the content of the connection file when it contains ports. */
async function rewritten(file: string): Promise<Instructions> {
  const watcher = watch(dirname(file));
  try {
    for (;;) {
      const changed = once(watcher, "change");
      const instructions = await readInstructions(file).catch(() => undefined); // the file was read while it was written
      if (instructions !== undefined && instructions.connection.shell_port > 0)
        return instructions;
      await changed;
    }
  } finally {
    watcher.close();
  }
}
