/**
 * Real Jupyter clients: JupyterLab's own client library, in the versions of
 * JupyterLab, VS Code and thebe, and a Jupyter Server that uses this server as
 * its gateway. `RESTARTS=100` restarts each kernel a hundred times.
 */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type * as Services from "@jupyterlab/services";
import {
  afterAll,
  beforeAll,
  describe,
  expect,
  onTestFinished,
  test,
} from "vitest";
import { WebSocket } from "ws";
import {
  eventually,
  openServer,
  temporaryFolder,
  type TestServer,
  TOKEN,
} from "../harness.ts";
import { pythonWithJupyterServer } from "../kernels/python.ts";
import { needs, needsIpykernel } from "../needs.ts";

const RESTARTS = Number(process.env["RESTARTS"] ?? 10);

/** The programs that use each version of the library. The oldest one supports only the default WebSocket protocol. */
const libraries = [
  { name: "@jupyterlab/services", who: "JupyterLab 4.6" },
  { name: "jupyterlab-services-vscode", who: "VS Code's Jupyter extension" },
  { name: "jupyterlab-services-thebe", who: "thebe-core 0.4" },
  { name: "jupyterlab-services-vscode-2023", who: "VS Code in 2023" },
];

// Their modules are CommonJS.
const require = createRequire(import.meta.url);

describe.each(libraries)("JupyterLab's client library in $who", ({ name }) => {
  const {
    ContentsManager,
    KernelAPI,
    KernelManager,
    KernelSpecManager,
    ServerConnection,
    SessionManager,
  } = require(name) as typeof Services;
  let server: TestServer;
  beforeAll(async () => {
    server = await openServer();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  function settings(): Services.ServerConnection.ISettings {
    return ServerConnection.makeSettings({
      baseUrl: `${server.url}/`,
      wsUrl: `${server.url.replace("http", "ws")}/`,
      token: TOKEN,
      appendToken: true,
      WebSocket: WebSocket as unknown as typeof globalThis.WebSocket,
      fetch,
      Request,
      Headers,
    });
  }

  async function notebook(name: string) {
    const serverSettings = settings();
    const kernelManager = new KernelManager({ serverSettings });
    const sessions = new SessionManager({ serverSettings, kernelManager });
    await sessions.ready;
    const path = `${randomUUID()}.ipynb`;
    const session = await sessions.startNew({
      path,
      name: path,
      type: "notebook",
      kernel: { name },
    });
    onTestFinished(async () => {
      await session.shutdown();
      sessions.dispose();
      kernelManager.dispose();
    });
    const { kernel } = session;
    if (kernel === null) throw new Error("The session has no kernel");
    await kernel.info;
    return { session, kernel };
  }

  async function run(
    kernel: Services.Kernel.IKernelConnection,
    code: string,
    answer = "",
  ): Promise<{ readonly status: string; readonly text: string }> {
    const future = kernel.requestExecute({ code, allow_stdin: true });
    let text = "";
    future.onIOPub = ({ content }) => {
      if ("text" in content) text += String(content.text);
      if ("data" in content) {
        const { data } = content as { data: Record<string, unknown> };
        text += String(data["text/plain"]);
      }
    };
    future.onStdin = ({ header }) => {
      kernel.sendInputReply({ status: "ok", value: answer }, header as never);
    };
    const { content } = await future.done;
    return { status: content.status, text };
  }

  test("finds the kernelspecs", async () => {
    const specs = new KernelSpecManager({ serverSettings: settings() });
    await specs.ready;
    expect(Object.keys(specs.specs?.kernelspecs ?? {})).toContain("echo");
    specs.dispose();
  });

  test(
    "starts a notebook's kernel, runs code, interrupts, and shuts down",
    needsIpykernel,
    async () => {
      const { kernel, session } = await notebook("python3");
      expect(await run(kernel, "print(6 * 7)")).toEqual({
        status: "ok",
        text: "42\n",
      });
      expect(await run(kernel, "input('name')", "Ann")).toEqual({
        status: "ok",
        text: "'Ann'",
      });

      const started = new Promise<void>((resolve) =>
        kernel.iopubMessage.connect((_, { header }) => {
          if (header.msg_type === "stream") resolve();
        }),
      );
      const sleeps = run(kernel, "print('begun'); import time; time.sleep(60)");
      await started;
      await kernel.interrupt();
      expect((await sleeps).status).toBe("error");

      await session.setPath("other.ipynb");
      expect(session.path).toBe("other.ipynb");
    },
  );

  test(
    "restarts a kernel, again and again, each time followed by code",
    { timeout: 30_000 + RESTARTS * 5_000, ...needsIpykernel },
    async () => {
      const { kernel } = await notebook("python3");
      for (let round = 0; round < RESTARTS; round += 1) {
        await run(kernel, "x = 1");
        await kernel.restart();
        expect(await run(kernel, "print('x' in globals())")).toEqual({
          status: "ok",
          text: "False\n",
        });
      }
    },
  );

  test(
    "sees that a crashed kernel starts again, and runs code in it",
    needsIpykernel,
    async () => {
      const { kernel } = await notebook("python3");
      const states: string[] = [];
      kernel.statusChanged.connect((_, state) => states.push(state));
      kernel
        .requestExecute({ code: "import os; os._exit(1)" })
        .done.catch(() => {});
      await eventually(
        "the restarted kernel",
        () =>
          states.includes("autorestarting") && kernel.status === "idle"
            ? true
            : undefined,
        30_000,
      );
      expect((await run(kernel, "print(1)")).text).toBe("1\n");
    },
  );

  test("carries comms with buffers both ways", needsIpykernel, async () => {
    const { kernel } = await notebook("python3");
    await run(
      kernel,
      "def target(comm, msg):\n  @comm.on_msg\n  def _(m):\n    comm.send({'n': len(m['buffers'])}, buffers=[bytes(m['buffers'][0])[::-1]])\nget_ipython().kernel.comm_manager.register_target('t', target)",
    );
    const comm = kernel.createComm("t");
    const answered = new Promise<Services.KernelMessage.ICommMsgMsg>(
      (resolve) => {
        comm.onMsg = (message) => resolve(message);
      },
    );
    await comm.open({}).done;
    comm.send({}, {}, [new Uint8Array([1, 2, 3]).buffer]);
    const { content, buffers = [] } = await answered;
    expect(content.data).toEqual({ n: 1 });
    const [first] = buffers;
    const bytes =
      first instanceof ArrayBuffer
        ? new Uint8Array(first)
        : new Uint8Array(
            (first as DataView).buffer,
            (first as DataView).byteOffset,
            (first as DataView).byteLength,
          );
    expect([...bytes]).toEqual([3, 2, 1]);
  });

  test(
    "loses no message and gets none twice if its connection is cut while code runs",
    needsIpykernel,
    async () => {
      const { kernel } = await notebook("python3");
      const code =
        "import time\nfor i in range(40):\n  print(i, flush=True); time.sleep(0.05)";
      const future = kernel.requestExecute({ code });
      let text = "";
      future.onIOPub = ({ content }) => {
        if ("text" in content) text += String(content.text);
      };
      await eventually("some output", () =>
        text.length > 10 ? true : undefined,
      );
      await kernel.reconnect();
      const { content } = await future.done;
      expect(content.status).toBe("ok");
      expect(text).toBe(
        Array.from({ length: 40 }, (_, i) => `${i}\n`).join(""),
      );
    },
  );

  test(
    "debugs a cell: stops at a breakpoint, and continues",
    needsIpykernel,
    async () => {
      const { kernel } = await notebook("python3");
      let seq = 0;
      const debug = async (command: string, args: object = {}) => {
        seq += 1;
        const { content } = await kernel.requestDebug({
          type: "request",
          seq,
          command,
          arguments: args,
        } as never).done;
        expect(content, command).toMatchObject({ success: true });
        return content.body as Readonly<Record<string, unknown>>;
      };
      const stopped = new Promise<number>((resolve) =>
        kernel.iopubMessage.connect((_, { header, content }) => {
          if (header.msg_type !== ("debug_event" as string)) return;
          const { event, body } = content as unknown as {
            readonly event: string;
            readonly body: { readonly threadId: number };
          };
          if (event === "stopped") resolve(body.threadId);
        }),
      );
      await debug("initialize", {
        clientID: "test",
        adapterID: "",
        pathFormat: "path",
        linesStartAt1: true,
        columnsStartAt1: true,
        supportsVariableType: true,
        supportsVariablePaging: true,
        supportsRunInTerminalRequest: true,
        locale: "en",
      });
      await debug("attach");
      const code = "i = 1\ni += 1\nprint(i)";
      const { sourcePath } = await debug("dumpCell", { code });
      await debug("setBreakpoints", {
        breakpoints: [{ line: 2 }],
        source: { path: sourcePath },
        sourceModified: false,
      });
      await debug("configurationDone");

      const ran = run(kernel, code);
      const threadId = await stopped;
      const { isStarted } = await debug("debugInfo");
      expect(isStarted).toBe(true);
      await debug("continue", { threadId });

      expect(await ran).toEqual({ status: "ok", text: "2\n" });
      await debug("disconnect", { restart: false, terminateDebuggee: false });
    },
  );

  test("is refused a file for a notebook, and starts its session without one", async () => {
    const serverSettings = settings();
    const contents = new ContentsManager({ serverSettings });
    const created = contents.newUntitled({ type: "notebook" });
    await expect(created).rejects.toThrow("runs kernels only");
    contents.dispose();
    const { session } = await notebook("echo");
    expect(session.path).toMatch(/\.ipynb$/);
  });

  test(
    "shows a kernel busy that answers the debugger while code runs",
    needsIpykernel,
    async () => {
      const { kernel } = await notebook("python3");
      const end = join(temporaryFolder(), "end");
      const begun = new Promise<void>((resolve) =>
        kernel.iopubMessage.connect((_, { header }) => {
          if (header.msg_type === "stream") resolve();
        }),
      );
      const running = run(
        kernel,
        `import os, time
print("begun", flush=True)
while not os.path.exists(${JSON.stringify(end)}): time.sleep(0.05)`,
      );
      await begun;
      const command = {
        seq: 1,
        type: "request",
        command: "debugInfo",
      } as const;
      await kernel.requestDebug(command).done;
      await eventually("busy", () =>
        kernel.status === "busy" ? true : undefined,
      );
      const model = await KernelAPI.getKernelModel(kernel.id, settings());
      expect(model?.execution_state).toBe("busy");
      writeFileSync(end, "");
      expect((await running).status).toBe("ok");
      await eventually("idle", () =>
        kernel.status === "idle" ? true : undefined,
      );
    },
  );

  test("lists nothing after everything was shut down", async () => {
    expect(await KernelAPI.listRunning(settings())).toEqual([]);
  });
});

test(
  "a Jupyter Server in front of this one restarts a kernel again and again, each time answered at once",
  {
    timeout: 60_000 + RESTARTS * 20_000,
    ...needs(
      pythonWithJupyterServer !== undefined,
      "a Python with jupyter_server and ipykernel (python3 -m pip install jupyter_server ipykernel)",
    ),
  },
  async () => {
    await using server = await openServer();
    const home = temporaryFolder();
    const front = spawn(
      pythonWithJupyterServer ?? "",
      [
        "-m",
        "jupyter_server",
        "--allow-root",
        `--gateway-url=${server.url}`,
        "--IdentityProvider.token=front",
        "--port=0",
        "--no-browser",
        `--ServerApp.root_dir=${home}`,
      ],
      {
        env: { ...process.env, HOME: home, JUPYTER_GATEWAY_AUTH_TOKEN: TOKEN },
        stdio: ["ignore", "ignore", "pipe"],
      },
    );
    const ended = once(front, "exit");
    onTestFinished(() => void front.kill("SIGKILL"));
    let log = "";
    front.stderr.on("data", (data: Buffer) => (log += data.toString()));
    const url = await eventually(
      "the Jupyter Server",
      () =>
        /http:\/\/127\.0\.0\.1:\d+/.exec(log.replaceAll(server.url, ""))?.[0],
      60_000,
    );
    // It prints its address before it listens.
    const isThere = () =>
      fetch(url).then(
        () => true,
        () => undefined,
      );
    await eventually("its first answer", isThere, 60_000);
    const headers = { authorization: "token front" };
    const post = (path: string, body: object) =>
      fetch(`${url}${path}`, {
        method: "POST",
        headers,
        body: JSON.stringify(body),
      });
    const started = await post("/api/kernels", { name: "echo" });
    const { id } = (await started.json()) as { readonly id: string };
    const session = randomUUID();
    const socket = new WebSocket(
      `${url.replace("http", "ws")}/api/kernels/${id}/channels?session_id=${session}`,
      { headers },
    );
    onTestFinished(() => socket.terminate());
    const replies = new Set<string>();
    socket.on("message", (data: Buffer) => {
      const { header, parent_header } = JSON.parse(String(data)) as {
        readonly header: { readonly msg_type: string };
        readonly parent_header: { readonly msg_id: string };
      };
      if (header.msg_type.endsWith("_reply")) replies.add(parent_header.msg_id);
    });
    await once(socket, "open");
    for (let round = 0; round < RESTARTS; round += 1) {
      expect((await post(`/api/kernels/${id}/restart`, {})).status).toBe(200);
      const msg_id = randomUUID();
      const header = {
        msg_id,
        msg_type: "kernel_info_request",
        session,
        username: "",
        version: "5.3",
        date: "",
      };
      socket.send(
        JSON.stringify({
          channel: "shell",
          header,
          parent_header: {},
          metadata: {},
          content: {},
          buffers: [],
        }),
      );
      await eventually(
        `the reply of round ${round}`,
        () => (replies.has(msg_id) ? true : undefined),
        20_000,
      );
    }
    await fetch(`${url}/api/kernels/${id}`, { method: "DELETE", headers });
    front.kill();
    await ended;
  },
);
