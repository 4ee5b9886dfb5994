import {
  afterAll,
  beforeAll,
  beforeEach,
  describe,
  expect,
  test,
} from "vitest";
import { kernelspecFinder } from "../../src/kernelspecs/kernelspecs.ts";
import { embeddedKernelspecs } from "../../src/kernelspecs/embedded.ts";
import { pythonWasmKernelspec } from "../../kernels/python-wasm/kernelspec.ts";
import { doors } from "../doors.ts";
import { eventually, openServer, type TestServer } from "../harness.ts";
import { pythonWasmProgram } from "../kernels/index.ts";
import { pythonWithIpykernel } from "../kernels/python.ts";
import { needs } from "../needs.ts";

/** Real kernels of other projects: the code for each, and the expected output. */
const kernels = [
  {
    name: "python3",
    print: "print('hi')",
    value: "6 * 7",
    wrong: "1 / 0",
    ask: "x = input('Name? '); print(x)",
    sleep: "import time; print('on', flush=True); time.sleep(60)",
    begin: "prin",
    end: "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
  },
  {
    name: "python-wasm",
    print: "print('hi')",
    value: "6 * 7",
    wrong: "1 / 0",
    ask: "x = input('Name? '); print(x)",
    sleep: "print('on')\nwhile True: pass",
    begin: "prin",
    end: "import os; os._exit(9)",
  },
  {
    name: "ir",
    print: "cat('hi\\n')",
    value: "6 * 7",
    wrong: "stop('no')",
    ask: "x <- readline('Name? '); cat(x, '\\n', sep = '')",
    sleep: "cat('on\\n'); flush.console(); Sys.sleep(60)",
    begin: "prin",
    end: "tools::pskill(Sys.getpid(), 9)",
  },
] as const;

const embedded = embeddedHere();
const installed = new Set([
  ...(pythonWithIpykernel === undefined ? [] : ["python3"]),
  ...(
    await kernelspecFinder({
      extraDirs: [],
      env: process.env,
      embedded: () => embedded,
    }).list()
  ).kernelspecs.map(({ name }) => name),
]);

describe.each(kernels)("$name", (kernel) => {
  const needsIt = needs(
    installed.has(kernel.name),
    `the kernel ${kernel.name}`,
  );
  test(
    "is idle after its start and after a restart, and the server's own requests leave no message",
    { ...needsIt, timeout: 180_000 },
    async () => {
      await using server = await openServer({ embedded });
      await server.start(kernel.name, "s", { connection_timeout: 120 });
      const [door] = doors;
      if (door === undefined) throw new Error("no door");
      await using client = await door.attach(server, "s");
      const idle = async () =>
        ((await server.ask("GET", "/sessions/s")).body as { status: string })
          .status === "idle" || undefined;
      await eventually("idle", idle);
      await server.ask("POST", "/sessions/s/restart");
      await eventually("idle again", idle);
      await client.until(
        "idle again",
        ({ status }) => status === "idle" && client.statuses.includes("exited"),
      );
      const parented = client.received.filter(
        ({ parent_header }) => (parent_header ?? null) !== null,
      );
      expect(parented).toEqual([]);
    },
  );
  // IRkernel does not answer while it runs code, so it cannot be adopted then.
  const answers = kernel.name !== "ir";
  test(
    "is busy if it is adopted while it runs code, and idle afterwards",
    {
      ...(answers
        ? needsIt
        : needs(false, "a kernel that answers while it runs code")),
      timeout: 180_000,
    },
    async () => {
      await using owner = await openServer({ embedded });
      await owner.start(kernel.name, "s", { connection_timeout: 120 });
      const [door] = doors;
      if (door === undefined) throw new Error("no door");
      await using theirs = await door.attach(owner, "s");
      await theirs.execute(kernel.sleep);
      await theirs.until(
        "that it runs",
        ({ header }) => header?.msg_type === "stream",
      );
      const { body } = await owner.ask("GET", "/sessions/s/connection_info");
      await using server = await openServer();
      const adopting = {
        ...{ session_id: "s", argv: [], display_name: "", language: "" },
        ...{ username: "", input_prompt: "", continuation_prompt: "" },
        ...{ working_directory: "", env: [], interrupt_mode: "signal" },
      };
      await server.ask("PUT", "/sessions", adopting);
      const adopted = await server.ask("PUT", "/sessions/s/adopt", body);
      expect(adopted.status).toBe(200);
      await using client = await door.attach(server, "s");
      await client.until("busy", ({ status }) => status === "busy");
      await owner.ask("POST", "/sessions/s/interrupt");
      await client.until("idle", ({ status }) => status === "idle");
      expect(client.statuses).toEqual(["starting", "ready", "busy", "idle"]);
    },
  );
  describe.each(doors)("over $name", needsIt, (door) => {
    let server: TestServer;
    const session = "s";

    beforeAll(async () => {
      server = await openServer({ embedded });
      await server.start(kernel.name, session);
    }, 60_000);
    afterAll(() => server[Symbol.asyncDispose]());
    beforeEach(async () => {
      const { body } = await server.ask("GET", `/sessions/${session}`);
      if ((body as { status: string }).status === "exited") {
        await server.ask("POST", `/sessions/${session}/start`);
      }
    });

    test("prints, and returns a value", async () => {
      await using client = await door.attach(server, session);
      const printed = await client.execute(kernel.print);
      await client.over(printed);
      const valued = await client.execute(kernel.value);
      await client.over(valued);
      const text = client
        .messagesFor(printed)
        .map(({ content }) => content?.["text"])
        .join("");
      expect(text).toContain("hi\n");
      const data = client
        .messagesFor(valued)
        .map(({ content }) => content?.["data"] as Record<string, string>)
        .find((bundle) => (bundle as unknown) !== undefined);
      expect(data?.["text/plain"]).toContain("42");
    });

    test("fails with a traceback", async () => {
      await using client = await door.attach(server, session);
      const msg_id = await client.execute(kernel.wrong);
      const reply = await client.over(msg_id);
      expect(reply.content).toMatchObject({ status: "error" });
      expect(reply.content?.["traceback"]).toBeInstanceOf(Array);
    });

    test("requests input", async () => {
      await using client = await door.attach(server, session);
      const msg_id = await client.execute(kernel.ask);
      const requested = await client.until(
        "input_request",
        ({ channel, parent_header }) =>
          channel === "stdin" && parent_header?.msg_id === msg_id,
      );
      await client.send({
        channel: "stdin",
        msg_type: "input_reply",
        content: { value: "Ada" },
        parent_header: requested.header,
      });
      await client.over(msg_id);
      const text = client
        .messagesFor(msg_id)
        .map(({ content }) => content?.["text"])
        .join("");
      expect(text).toContain("Ada");
    });

    test("is interrupted", async () => {
      await using client = await door.attach(server, session);
      const msg_id = await client.execute(kernel.sleep);
      await client.until(
        "that it runs",
        ({ header, parent_header }) =>
          header?.msg_type === "stream" && parent_header?.msg_id === msg_id,
      );
      await server.ask("POST", `/sessions/${session}/interrupt`);
      const reply = await client.over(msg_id);
      expect(reply.content?.["status"]).not.toBe("ok");
      const again = await client.execute(kernel.value);
      expect((await client.over(again)).content).toMatchObject({
        status: "ok",
      });
    });

    test("is interrupted as soon as it has the code", async () => {
      await using client = await door.attach(server, session);
      for (let times = 0; times < 5; times++) {
        const msg_id = await client.execute(kernel.sleep);
        await server.ask("POST", `/sessions/${session}/interrupt`);
        const reply = await client.over(msg_id);
        expect(reply.content?.["status"]).not.toBe("ok");
      }
    });

    test("is restarted, without its variables", async () => {
      await server.ask("POST", `/sessions/${session}/restart`);
      await using client = await door.attach(server, session);
      const msg_id = await client.execute(kernel.value);
      expect((await client.over(msg_id)).content).toMatchObject({
        execution_count: 1,
      });
    });

    // After the restart, because ipykernel takes seconds to end its completion process.
    test("completes a word", async () => {
      await using client = await door.attach(server, session);
      const msg_id = await client.send({
        channel: "shell",
        msg_type: "complete_request",
        content: { code: kernel.begin, cursor_pos: kernel.begin.length },
      });
      const { content } = await client.reply(msg_id);
      expect(content?.["matches"]).toContain("print");
    });

    test("its sudden death is reported once", async () => {
      await using client = await door.attach(server, session);
      const path = `/sessions/${session}`;
      const { body } = await server.ask("GET", path);
      const { last_seq: before } = body as { last_seq: number };
      await client.execute(kernel.end);
      await client.until(
        "exited",
        ({ kind, seq }) => kind === "exited" && seq > before,
      );
      const after = await server.ask("GET", path);
      expect(after.body).toMatchObject({ status: "exited" });
    });
  });
});

/** The embedded Python from the sources, built or not. */
function embeddedHere() {
  const { argv, env, metadata, ...spec } =
    pythonWasmKernelspec(pythonWasmProgram());
  const name = "python-wasm";
  return [
    ...embeddedKernelspecs().filter((kernelspec) => kernelspec.name !== name),
    {
      ...spec,
      name,
      argv: [...argv],
      env: { ...env },
      metadata: { ...metadata },
      resource_dir: "",
      resources: {},
    },
  ];
}
