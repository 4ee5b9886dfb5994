/** A kernel's answers to the server's own requests: a bad answer makes one operation fail with a reason, and nothing else. */
import { randomBytes } from "node:crypto";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { Wire } from "../../kernels/wire.ts";
import type { Exit } from "../../src/host/exit.ts";
import type { HostProcess } from "../../src/host/host.ts";
import type { ReceivedMessage } from "../../src/jupyter/frames.ts";
import { toFrames } from "../../src/jupyter/frames.ts";
import { kernelInfoIn } from "../../src/jupyter/kernel-info.ts";
import { compose, contentOf, type Message } from "../../src/jupyter/message.ts";
import { libzmq } from "../../src/zmq/libzmq.ts";
import { RunningKernel } from "../../src/kernel/running-kernel.ts";
import type { KernelTransport } from "../../src/zmq/transport.ts";
import { zmtp } from "../../src/zmq/zmtp.ts";
import { silentLog } from "../../src/log/log.ts";
import { Faults } from "../../src/log/faults.ts";

const drivers = [
  ["zmtp", zmtp],
  ["libzmq", libzmq],
] as const;

const INFO = '{"status":"ok","protocol_version":"5.3","language_info":{}}';

describe.each(drivers)("by %s", (_, transport) => {
  it.each([
    ["broken JSON", '{"x":', "is not JSON"],
    ["nothing", "", "is not JSON"],
    ["JSON that is nested deep", "[".repeat(200_000), "is nested too deep"],
    ["null", "null", "is not an object"],
    ["a list", "[]", "is not an object"],
    ["a string", '"info"', "is not an object"],
  ])("a start fails with a kernel_info_reply of %s", async (_, info, why) => {
    const { kernel } = await running(transport, () => info);
    const start = kernel.connect(AbortSignal.timeout(20_000));
    await expect(start).rejects.toThrow(/^its kernel_info_reply/);
    await expect(start).rejects.toThrow(why);
  });

  it("a bare NaN in it does not prevent the start", async () => {
    const { kernel, faults } = await running(
      transport,
      () => '\ufeff{"language_info":{"name":"x"},"load":NaN}',
    );
    await kernel.connect(AbortSignal.timeout(20_000));
    expect(kernel.info).toEqual({ language_info: { name: "x" }, load: null });
    expect(
      faults.total("A message from the kernel was repaired"),
    ).toBeGreaterThan(1);
  });

  it("an interrupt fails with a reply that is not JSON", async () => {
    const { kernel } = await running(transport, (msg_type) =>
      msg_type === "kernel_info_request" ? INFO : '{"status":',
    );
    await kernel.connect(AbortSignal.timeout(20_000));
    await expect(kernel.interrupt()).rejects.toMatchObject({
      reason: "interrupt_failed",
      message: expect.stringContaining("interrupt_reply") as string,
    });
  });

  it("a shutdown_reply that is not JSON is ignored", async () => {
    const { kernel, heard } = await running(transport, (msg_type) =>
      msg_type === "kernel_info_request" ? INFO : " ",
    );
    await kernel.connect(AbortSignal.timeout(20_000));
    kernel.askToShutDown();
    await heard("shutdown_request");
    await expect(kernel.interrupt()).rejects.toThrow("interrupt_reply"); // it still receives messages
  });
});

it.each([true, false])(
  "the shutdown request says whether the kernel is restarted: %s",
  async (restart) => {
    const { kernel, heard, requested, end } = await running(zmtp, () => INFO);
    await kernel.connect(AbortSignal.timeout(20_000));
    const stopped = kernel.stop(restart);
    await heard("shutdown_request");
    await end(); // it was adopted: it is gone when its sockets are closed
    await stopped;
    const reported = requested.filter(
      ({ header }) => header.msg_type === "shutdown_request",
    );
    expect(reported.map(contentOf)).toEqual([{ restart }]);
  },
);

it("messages of a kernel arrive before the report of its end", async () => {
  const process = ending();
  const { kernel, order, print, end } = await running(
    zmtp,
    () => INFO,
    process,
  );
  await kernel.connect(AbortSignal.timeout(20_000));
  await print("its last words");
  process.end(); // they are on their way
  await end();
  await kernel.exited;
  await vi.waitUntil(() => order.includes("exited"));
  expect(order).toEqual(["its last words", "exited"]);
});

it.each([
  [{}, { protocol_version: "5.0", language_info: { name: "" } }],
  [{ language_info: null }, { language_info: { name: "" } }],
  [{ language_info: 5 }, { language_info: { name: "" } }],
  [{ protocol_version: 7 }, { protocol_version: "7" }],
  [{ protocol_version: null }, { protocol_version: "5.0" }],
  [
    { language_info: { name: "r", version: 4, extra: [1] } },
    { language_info: { name: "r", extra: [1] } },
  ],
  [{ language_info: { name: 4 } }, { language_info: { name: "" } }],
])("the kernel info is usable: %j", (sent, reported) => {
  expect(kernelInfoIn(sent)).toMatchObject(reported);
});

it("unneeded fields of the kernel info that are not valid are left out", () => {
  const info = kernelInfoIn({ banner: 5, help_links: "none", other: [null] });
  expect(info).toEqual({
    protocol_version: "5.0",
    language_info: { name: "" },
    other: [null],
  });
});

/** A process of which only the end matters. */
function ending(): HostProcess & { readonly end: () => void } {
  let end: (exit: Exit) => void = () => {};
  const exited = new Promise<Exit>((resolve) => (end = resolve));
  const gone = () => Promise.resolve("gone" as const);
  return {
    ...{ pid: 4711, env: {}, isRunning: true, exited, output: "" },
    ...{ directory: undefined, isScheduled: true },
    group: { interrupt: gone, remember() {}, terminate: gone, kill: gone },
    connect: () => Promise.reject(new Error("it has no ports")),
    resize: () => Promise.resolve(),
    end: () => end({ exit_code: 0, signal: null, output: "" }),
  };
}

/** A kernel whose replies have the content that `answer` returns, and a client of it. */
async function running(
  transport: KernelTransport,
  answer: (msg_type: string) => string,
  process?: HostProcess,
) {
  const key = randomBytes(16).toString("hex");
  const requested: ReceivedMessage[] = [];
  /** The events that the session receives. */
  const order: string[] = [];
  const wire = await Wire.bind({
    connection: {
      ...{ shell_port: 0, iopub_port: 0, stdin_port: 0 },
      ...{ control_port: 0, hb_port: 0 },
      transport: "tcp",
      ip: "127.0.0.1",
      signature_scheme: "hmac-sha256",
      key,
    },
    onMessage: (request) => {
      requested.push(request);
      return reply(request);
    },
  });
  async function reply(request: ReceivedMessage) {
    const { msg_type } = request.header;
    const draft = { session: "k", username: "k", parent: request };
    const status = { ...draft, msg_type: "status", channel: "iopub" } as const;
    const busy = { execution_state: "busy" };
    await wire.send(compose({ ...status, content: busy }), [
      Buffer.from("status"),
    ]);
    const whole = compose({
      ...draft,
      channel: request.channel,
      msg_type: msg_type.replace("_request", "_reply"),
      content: {},
    });
    const raw = { ...whole.raw, content: Buffer.from(answer(msg_type)) };
    await wire.sendFrames(
      request.channel,
      toFrames({ raw, buffers: [] }, wire.signer, request.identities),
    );
  }
  const faults = new Faults(silentLog());
  const kernel = new RunningKernel({
    recipe: {
      session_id: "s",
      argv: [],
      language: "",
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
      timeout_ms: undefined,
    },
    connection: { ...wire.connection },
    process,
    platform: "linux",
    transport,
    hooks: {
      launched() {},
      state() {},
      tooLarge() {},
      message: (message) => order.push(textIn(message)),
      burst: () => order.push("a burst"),
      refused() {},
      caughtUp: () => undefined,
      output() {},
      registered() {},
      heartbeat() {},
      exited: () => order.push("exited"),
    },
    log: silentLog(),
    faults,
  });
  const end = () => wire.close(0);
  onTestFinished(async () => {
    kernel.close();
    await end();
  });
  return {
    kernel,
    faults,
    requested,
    order,
    end,
    print: (text: string) => {
      const content = { name: "stdout", text };
      const draft = { session: "k", username: "k", content };
      return wire.send(
        compose({ ...draft, channel: "iopub", msg_type: "stream" }),
        [Buffer.from("stream")],
      );
    },
    heard: (msg_type: string) =>
      expect
        .poll(() => requested.map(({ header }) => header.msg_type))
        .toContain(msg_type),
  };
}

function textIn(message: Message): string {
  return String(contentOf(message)?.["text"]);
}
