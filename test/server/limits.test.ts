/** What a session's kernel may use at most, in the server's own process tree and in a keeper. */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { ServerOptions } from "../../src/serve.ts";
import { settingsOf, whyNoControlGroup } from "../../src/host/control-group.ts";
import { descendantsOf } from "../../src/host/process-table.ts";
import { eventually, openServer, type TestServer } from "../harness.ts";
import { programOf } from "../keeper/programs.ts";
import { pythonWithIpykernel } from "../kernels/python.ts";
import { needsIpykernel, needsPosix } from "../needs.ts";

const MIB = 1024 ** 2;

interface Model {
  readonly execution_state: string;
  readonly reason?: string;
  readonly exit?: unknown;
}

function stateFolder(): string {
  const folder = mkdtempSync("/tmp/kc-limits-"); // short enough for sockets
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function keepIn(folder: string): ServerOptions["keep"] {
  return {
    stateDirectory: join(folder, "state"),
    keeper: [programOf("keeper")],
  };
}

async function openPlain(options: ServerOptions): Promise<TestServer> {
  const server = await openServer(options);
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

/** The keeper ends a moment after the server. */
async function openKept(
  folder: string,
  options: ServerOptions = {},
): Promise<TestServer> {
  const before = new Set(descendantsOf([process.pid]));
  const keep = keepIn(folder);
  const server = await openServer({
    runtimeDirectory: folder,
    keep,
    ...options,
  });
  onTestFinished(async () => {
    await server.server[Symbol.asyncDispose]();
    await eventually("the end of the keeper", () =>
      descendantsOf([process.pid]).every((pid) => before.has(pid))
        ? true
        : undefined,
    );
  });
  return server;
}

const PYTHON = {
  argv: [
    pythonWithIpykernel ?? "python3",
    ..."-m ipykernel_launcher -f {connection_file}".split(" "),
  ],
  kernel_name: "echo", // for the other fields
};

async function describeSession(server: TestServer, id: string) {
  const { body } = await server.ask("GET", `/sessions/${id}`);
  return body as Readonly<Record<string, unknown>>;
}

async function model(server: TestServer, id: string): Promise<Model> {
  const { kernel_id } = await describeSession(server, id);
  const { body } = await server.ask("GET", `/api/kernels/${String(kernel_id)}`);
  return body as Model;
}

function untilDead(server: TestServer, id: string): Promise<Model> {
  return eventually(
    "the kernel's end",
    async () => {
      const kernel = await model(server, id);
      return kernel.execution_state === "dead" ? kernel : undefined;
    },
    30_000,
  );
}

function execute(server: TestServer, id: string, code: string) {
  return server.ask("POST", `/sessions/${id}/execute`, { code });
}

describe.each([
  { where: "in the server's own process tree", isKept: false },
  { where: "in a keeper", isKept: true },
])("a kernel $where", { ...needsPosix, timeout: 60_000 }, ({ isKept }) => {
  async function opened(options: ServerOptions = {}): Promise<TestServer> {
    return isKept ? openKept(stateFolder(), options) : openPlain(options);
  }

  test(
    "that uses more memory than it may is killed for this reason, and its sibling and the server go on",
    needsIpykernel,
    async () => {
      const server = await opened();
      await server.start("echo", "sibling");
      await server.start("echo", "greedy", {
        ...PYTHON,
        limits: { memory_bytes: 300 * MIB },
      });
      const answer = await execute(
        server,
        "greedy",
        `import time\nx = bytearray(b"x") * ${600 * MIB}\ntime.sleep(60)`,
      );
      expect(answer.text).toContain("kernel_exited");
      const dead = await untilDead(server, "greedy");
      expect(dead.reason).toMatch(
        /^out of memory: it used [3-9]\d\d(\.\d)? MiB, and its limit is 300 MiB$/,
      );
      expect(dead.exit).toEqual({
        code: -1,
        signal: "SIGKILL",
        oom: true,
        limit: "memory",
      });
      expect((await execute(server, "sibling", "hello")).status).toBe(200);
      await expect(model(server, "sibling")).resolves.toMatchObject({
        execution_state: "idle",
      });
    },
  );

  test(
    "that dies for lack of memory is started again if its session wants that",
    needsIpykernel,
    async () => {
      const server = await opened();
      await server.start("echo", "greedy", {
        ...PYTHON,
        limits: { memory_bytes: 300 * MIB },
        policy: { autorestart: { limit: 1, window_s: 60 } },
      });
      const { process_id } = await describeSession(server, "greedy");
      await execute(
        server,
        "greedy",
        `x = bytearray(b"x") * ${600 * MIB}; input()`,
      );
      await eventually(
        "the next kernel",
        async () => {
          const session = await describeSession(server, "greedy");
          const isNext = session["process_id"] !== process_id;
          return session["status"] === "idle" && isNext ? true : undefined;
        },
        30_000,
      );
    },
  );

  test("that has run for as long as it may is shut down, and not started again by itself", async () => {
    const server = await opened();
    await server.start("echo", "long", {
      limits: { run_time_s: 3 },
      policy: { autorestart: { limit: 5, window_s: 60 } },
    });
    const running = execute(server, "long", "sleep 60000");
    const dead = await untilDead(server, "long");
    expect(dead.reason).toBe(
      "time_limit: it has run for 3 s, as long as it may",
    );
    expect(dead.exit).toMatchObject({ limit: "run_time" });
    expect((await running).text).toContain("kernel_exited");
    await expect(model(server, "long")).resolves.toMatchObject({
      execution_state: "dead",
    });
    // A client may start it again, and the time begins anew.
    const again = await server.ask("POST", "/sessions/long/start");
    expect(again.status).toBe(200);
    await untilDead(server, "long");
  });

  test("has limits that can be changed while it runs, and the next kernel has them too", async () => {
    const server = await opened({
      sessionLimits: { memory_bytes: 512 * MIB, run_time_s: 3600 },
    });
    const set = (limits: Readonly<Record<string, unknown>>) =>
      server.ask("PUT", "/sessions/grown/limits", limits);
    await server.start("echo", "grown", { limits: { run_time_s: 1800 } });
    const changed = await set({ run_time_s: null, memory_bytes: 256 * MIB });
    expect(changed).toMatchObject({
      status: 200,
      body: { memory_bytes: 256 * MIB, cpus: null, run_time_s: 3600 },
    });
    const tooMuch = await set({ memory_bytes: 1024 * MIB, run_time_s: 1 });
    expect(tooMuch.status).toBe(400);
    expect(tooMuch.text).toContain("this server allows at most 536870912");
    await expect(describeSession(server, "grown")).resolves.toMatchObject({
      status: "idle",
      limits: { memory_bytes: 256 * MIB, run_time_s: 3600 },
    });
    await set({ run_time_s: 1 });
    const dead = await untilDead(server, "grown");
    expect(dead.exit).toMatchObject({ limit: "run_time" });
    // The limits are the session's: its next kernel has them, and without a kernel they can be changed too.
    const later = await set({ run_time_s: 2 });
    expect(later.body).toMatchObject({ run_time_s: 2 });
    const started = await server.ask("POST", "/sessions/grown/start");
    expect(started.status).toBe(200);
    const again = await untilDead(server, "grown");
    expect(again.reason).toBe(
      "time_limit: it has run for 2 s, as long as it may",
    );
  });

  test("of a session without limits of its own has those of the server", async () => {
    const server = await opened({
      sessionLimits: { memory_bytes: 512 * MIB, run_time_s: 3600 },
    });
    await server.start("echo", "usual");
    await server.start("echo", "less", {
      limits: { memory_bytes: 256 * MIB, run_time_s: null },
    });
    await expect(describeSession(server, "usual")).resolves.toMatchObject({
      limits: { memory_bytes: 512 * MIB, cpus: null, run_time_s: 3600 },
    });
    await expect(describeSession(server, "less")).resolves.toMatchObject({
      limits: { memory_bytes: 256 * MIB, run_time_s: 3600 },
    });
    const more = await server.ask("PUT", "/sessions", {
      session_id: "more",
      kernel_name: "echo",
      limits: { memory_bytes: 1024 * MIB },
    });
    expect(more.status).toBe(400);
    expect(more.text).toContain(
      "`limits.memory_bytes` is 1073741824, and this server allows at most 536870912",
    );
  });
});

test("cores that cannot be limited are refused, with the reason", async () => {
  const why = whyNoControlGroup(settingsOf({ cpus: 1 }));
  const server = await openPlain({});
  const { status, text } = await server.ask("PUT", "/sessions", {
    session_id: "slow",
    kernel_name: "echo",
    limits: { cpus: 0.5 },
  });
  if (why === undefined) expect(status).toBe(200);
  else {
    expect(status).toBe(400);
    expect(text).toContain(
      "the CPU of a kernel cannot be limited on this machine",
    );
    await expect(openServer({ sessionLimits: { cpus: 1 } })).rejects.toThrow(
      "cannot be limited on this machine",
    );
  }
});

test(
  "kernels of an earlier server count in the number of kernels that may run",
  needsPosix,
  async () => {
    const folder = stateFolder();
    const first = await openKept(folder, { maxKernels: 1 });
    await first.start("echo", "kept");
    await first.server.letGo();
    const second = await openKept(folder, { maxKernels: 1 });
    await expect(second.start("echo", "more")).rejects.toThrow(
      "resource_limit",
    );
    const stopped = await second.ask("POST", "/sessions/kept/shutdown");
    expect(stopped.status).toBe(200);
    const started = await second.ask("POST", "/sessions/more/start");
    expect(started.status).toBe(200);
  },
);
