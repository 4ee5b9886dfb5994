/** Warm kernels, as processes, at every door. */
import { randomUUID } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { ServerOptions } from "../../src/serve.ts";
import { isAlive } from "../../src/host/process-table.ts";
import { doors, trpcClient } from "../doors.ts";
import {
  eventually,
  openServer,
  ownWords,
  temporaryFolder,
  type TestServer,
} from "../harness.ts";
import { argvOf, kernelspecOf } from "../kernels/index.ts";
import { Client } from "./jupyter-client.ts";

async function opened(
  options: ServerOptions = { prespawn: [{ kernel_name: "echo", count: 1 }] },
): Promise<TestServer> {
  const server = await openServer(options);
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

interface Warm {
  readonly ready: readonly {
    readonly process_id: number;
    readonly memory_bytes: number | null;
  }[];
  readonly problem: string | null;
}

async function warmIn(server: TestServer): Promise<Warm> {
  const { body } = await server.ask("GET", "/server_configuration");
  const [warm] = (body as { warm_kernels: Warm[] }).warm_kernels;
  return warm as Warm;
}

/** The process of the warm kernel, once it is another than `before`. */
function untilReady(server: TestServer, before?: number): Promise<number> {
  return eventually(
    "a warm kernel",
    async () => {
      const pid = (await warmIn(server)).ready[0]?.process_id;
      return pid === before ? undefined : pid;
    },
    30_000,
  );
}

async function pidOf(server: TestServer, id: string): Promise<unknown> {
  const { body } = await server.ask("GET", `/api/kernels/${id}`);
  return (body as { pid?: number }).pid;
}

const session = (
  server: TestServer,
  more: Readonly<Record<string, unknown>> = {},
) => server.start("echo", randomUUID(), more);

/** Starts a kernel at one door; resolves with its id. */
const starts: Readonly<
  Record<string, (server: TestServer) => Promise<string>>
> = {
  "the REST door": (server) => session(server),
  "a Kallichore client": async (server) => {
    const session_id = randomUUID();
    await server.ask("PUT", "/sessions", {
      ...ownWords,
      session_id,
      argv: argvOf("echo"),
      protocol_version: "5.4",
      connection_timeout: 60,
    });
    await server.ask("POST", `/sessions/${session_id}/start`);
    return session_id;
  },
  tRPC: async (server) => {
    const session_id = randomUUID();
    const { client, close } = trpcClient(server);
    await client.sessions.create.mutate({ session_id, kernel_name: "echo" });
    await client.sessions.start.mutate({ session_id });
    await close();
    return session_id;
  },
  "Jupyter's kernels": async (server) => {
    const { body } = await server.ask("POST", "/api/kernels", {
      name: "echo",
      env: { KERNEL_USERNAME: "ann", KERNEL_LAUNCH_TIMEOUT: "40" },
    });
    return (body as { id: string }).id;
  },
  "Jupyter's sessions": async (server) => {
    const { body } = await server.ask("POST", "/api/sessions", {
      path: "a.ipynb",
      type: "notebook",
      kernel: { name: "echo" },
    });
    return (body as { kernel: { id: string } }).kernel.id;
  },
};

test.each(Object.entries(starts))(
  "%s hands a warm kernel out, and starts the next one",
  async (_, start) => {
    const server = await opened();
    const pid = await untilReady(server);
    const { body } = await server.ask("GET", "/sessions");
    expect(body).toEqual({ total: 0, sessions: [] });
    const [ready] = (await warmIn(server)).ready;
    expect(ready?.memory_bytes).toBeGreaterThan(1_000_000);

    const id = await start(server);

    expect(await pidOf(server, id)).toBe(pid);
    await untilReady(server, pid);
  },
);

test("its session's journal has what that of a kernel started for it has, and code runs", async () => {
  const courses: unknown[] = [];
  for (const prespawn of [[], [{ kernel_name: "echo", count: 1 }]]) {
    const server = await opened({ prespawn });
    if (prespawn.length > 0) await untilReady(server);
    const id = await session(server);
    const [door] = doors;
    const client = await door?.attach(server, id, 0);
    await client?.over(await client.execute("hello"));
    await client?.until(
      "the end of the execution",
      ({ kind, state }) => kind === "execution" && state === "done",
    );
    await client?.[Symbol.asyncDispose]();
    const entries = (client?.received ?? []).filter(
      ({ kind }) => kind !== "resource_usage",
    );
    // Between channels there is only the order of arrival.
    const byChannel = entries.toSorted((a, b) =>
      String(a.channel).localeCompare(String(b.channel)),
    );
    courses.push({
      numbers: entries.map(({ seq }) => seq),
      entries: byChannel.map(
        ({ channel, kind, status, state, reason, header }) => [
          channel,
          kind,
          header?.msg_type ?? status ?? state,
          reason,
        ],
      ),
    });
  }
  expect(courses[1]).toEqual(courses[0]);
});

test("it is interrupted, restarted and shut down as others are", async () => {
  const server = await opened();
  const pid = await untilReady(server);
  const id = await session(server);
  const client = await Client.open(server, id);
  const msg_id = client.send("execute_request", { code: "sleep 60000" });
  await eventually("busy", () =>
    client.states.at(-1) === "busy" ? true : undefined,
  );
  const interrupted = await server.ask("POST", `/api/kernels/${id}/interrupt`);
  expect(interrupted.status).toBe(204);
  await client.answered(msg_id);
  await server.ask("POST", `/api/kernels/${id}/restart`);
  expect(await pidOf(server, id)).not.toBe(pid);
  await client.answered(client.send("execute_request", { code: "again" }));
  await server.ask("DELETE", `/api/kernels/${id}`);
});

describe("a start that wants something else launches its own kernel:", () => {
  test.each<[string, Readonly<Record<string, unknown>>]>([
    ["a directory", { working_directory: "/" }],
    ["a variable", { env: [{ action: "replace", name: "A", value: "1" }] }],
    ["a shell", { startup_environment: "shell" }],
    ["messages as interrupts", { interrupt_mode: "message" }],
  ])("%s", async (_, more) => {
    const server = await opened();
    const pid = await untilReady(server);
    const id = await session(server, more);
    expect(await pidOf(server, id)).not.toBe(pid);
    expect((await warmIn(server)).ready[0]?.process_id).toBe(pid);
  });
});

test("they count in the limit on kernels, and keep no session from its kernel", async () => {
  const server = await opened({
    maxKernels: 1,
    prespawn: [{ kernel_name: "echo", count: 1 }],
  });
  const start = (name: string) =>
    server.ask("POST", "/api/kernels", { name, path: "/" });
  const pid = await untilReady(server);

  const other = await start("echo"); // in another directory
  expect(other.status).toBe(201);
  await eventually("the end of the warm kernel", () =>
    isAlive(pid) ? undefined : true,
  );
  expect((await warmIn(server)).problem).toContain("no room");
  expect((await start("echo")).status).toBe(403);

  const { id } = other.body as { id: string };
  await server.ask("DELETE", `/api/kernels/${id}`);
  await untilReady(server);
  const last = await server.ask("POST", "/api/kernels", { name: "echo" });
  expect(last.status).toBe(201);
});

test("warm kernels of another directory are for starts there", async () => {
  const directory = temporaryFolder();
  const server = await opened({
    prespawn: [{ kernel_name: "echo", count: 1, working_directory: directory }],
  });
  const pid = await untilReady(server);
  const elsewhere = await session(server);
  expect(await pidOf(server, elsewhere)).not.toBe(pid);
  const there = await session(server, { working_directory: directory });
  expect(await pidOf(server, there)).toBe(pid);
});

test("a kernel that was killed is not handed out, and is replaced", async () => {
  const server = await opened();
  const pid = await untilReady(server);
  process.kill(pid, "SIGKILL");
  const id = await session(server);
  expect(await pidOf(server, id)).not.toBe(pid);
  await untilReady(server, pid);
});

test("a kernelspec that changes ends its kernels; one that cannot start is reported", async () => {
  const folder = temporaryFolder();
  const directory = join(folder, "kernels", "changing");
  const write = (spec: object) => {
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, "kernel.json"), JSON.stringify(spec));
  };
  write(kernelspecOf("echo"));
  const server = await opened({
    kernelspecDirs: [folder],
    prespawn: [{ kernel_name: "changing", count: 1 }],
  });
  const old = await untilReady(server);
  write(kernelspecOf("echo", { env: { CHANGED: "1" } }));
  const next = await untilReady(server, old);
  expect(next).toBeDefined();
  await eventually("the end of the old kernel", () => {
    try {
      process.kill(old, 0);
      return undefined;
    } catch {
      return true;
    }
  });
  write(kernelspecOf("stillborn"));
  const { problem } = await eventually(
    "a problem",
    async () => {
      const warm = await warmIn(server);
      return warm.problem === null ? undefined : warm;
    },
    30_000,
  );
  expect(problem).toContain("exited");
  rmSync(directory, { recursive: true });
});
