/** One running kernel, with its real sockets. */
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { compose, contentOf, type Message } from "../../src/jupyter/message.ts";
import { RunningKernel } from "../../src/kernel/running-kernel.ts";
import { zmtp } from "../../src/zmq/zmtp.ts";
import { silentLog } from "../../src/log/log.ts";
import { Faults } from "../../src/log/faults.ts";
import { eventually } from "../harness.ts";
import { argvOf } from "../kernels/index.ts";
import { launch } from "../kernels/raw-client.ts";

test("a kernel is ready when it has answered and its stdin is connected", async () => {
  await using launched = await launch({ argv: argvOf("echo") });
  const { connection } = launched;
  const stdin_port = 9;
  const received: Message[] = [];
  const states: string[] = [];
  const kernel = new RunningKernel({
    recipe: recipe(connection.key),
    connection: { ...connection, stdin_port },
    process: undefined,
    platform: process.platform,
    transport: zmtp,
    hooks: {
      launched() {},
      state: (state) => states.push(state),
      refused() {},
      message: (message) => received.push(message),
      burst() {},
      tooLarge() {},
      caughtUp: () => undefined,
      output() {},
      registered() {},
      heartbeat() {},
      exited() {},
    },
    log: silentLog(),
    faults: new Faults(silentLog()),
  });
  onTestFinished(() => kernel.close());

  let isReady = false;
  const ready = kernel.connect(AbortSignal.timeout(20_000)).then(() => {
    isReady = true;
  });
  // The kernel answers in order: after this answer, it has answered all requests of the start, and only its stdin is missing.
  const question = asking("kernel_info_request", {});
  await eventually("its state", () => states.find((state) => state === "idle"));
  kernel.send(question);
  await eventually("an answer", () =>
    received.find(
      ({ header, parent_header }) =>
        header.msg_type === "kernel_info_reply" &&
        parent_header?.msg_id === question.header.msg_id,
    ),
  );
  await turn();
  expect(isReady).toBe(false);

  const stdin = createServer((socket) => {
    const peer = connect(`${connection.ip}-${connection.stdin_port}`);
    socket.on("error", () => {}).pipe(peer);
    peer.on("error", () => {}).pipe(socket);
  });
  stdin.listen(`${connection.ip}-${stdin_port}`);
  onTestFinished(() => void stdin.close());
  await once(stdin, "listening");
  await ready;
  // The kernel may notice the connection of its stdin later than the server; it then drops its input request.
  const findQuestion = () =>
    received.find(({ header }) => header.msg_type === "input_request");
  const ask = () => {
    if (findQuestion() !== undefined) return;
    kernel.send(
      asking("execute_request", {
        code: "input who?",
        silent: false,
        allow_stdin: true,
      }),
    );
  };
  ask();
  const again = setInterval(() => {
    void kernel.interrupt().then(ask); // code whose request was dropped waits for its answer
  }, 2_000);
  onTestFinished(() => clearInterval(again));
  const requested = await eventually("the input request", findQuestion, 20_000);
  expect(contentOf(requested)).toMatchObject({ prompt: "who?" });
});

function asking(msg_type: string, content: object): Message {
  return compose({
    ...{ channel: "shell", msg_type, content },
    ...{ session: "s", username: "tester" },
  });
}

function recipe(key: string) {
  return {
    session_id: "s",
    argv: [],
    language: "echo",
    env: [],
    spec_env: undefined,
    working_directory: "",
    key,
    username: "tester",
    interrupt_mode: "message",
    protocol_version: "5.3",
    startup_environment: "none",
    startup_environment_arg: undefined,
    connection: undefined,
    timeout_ms: 20_000,
  } as const;
}
