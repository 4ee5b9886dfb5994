/**
 * `kcserver --state-dir`: its server is killed, and clients that behave as
 * Positron's go on: the same process id, address, token and `server_id`.
 */
import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { childrenOf } from "../../src/host/process-table.ts";
import { needsPosix } from "../needs.ts";
import { eventually } from "../harness.ts";
import { streamed, type Channel } from "../conformance/harness/channel.ts";
import { Ground, type Launch } from "../conformance/harness/ground.ts";
import type { Server } from "../conformance/harness/server.ts";
import { Session } from "../conformance/harness/session.ts";
import { buildCommand } from "./built.ts";

let program: string;

beforeAll(async () => {
  program = await buildCommand("kcserver");
});

afterAll(() => {
  rmSync(dirname(program), { recursive: true, force: true });
});

describe("a server that is killed", needsPosix, () => {
  test.each(["tcp", "socket"] as const)(
    "goes on for a client that makes one attempt to connect again (%s)",
    async (transport) => {
      await using ground = newGround();
      const { server, state } = await kept(ground, { transport });
      const before = await status(server);
      expect(before).toMatchObject({ process_id: server.pid });
      const session = await Session.started(server);
      const channel = await session.channel();
      const gate = join(server.home, "gate");
      const code = `print before\nwait ${gate}\nprint after`;
      const msg_id = channel.execute(code);
      await channel.waitFor(
        "output", // and not the code, which contains it too
        (frame) => streamed([frame]) === "before\n",
      );
      await acknowledged(session, state);

      const killed = await killServer(server);
      await channel.closed;
      process.kill(server.pid, 0); // the pid that Positron watches lives
      const again = await session.channel(); // the one attempt

      const after = await status(server);
      expect(after).toMatchObject({
        process_id: server.pid,
        server_id: before["server_id"],
      });
      expect(await serverPid(server)).not.toBe(killed);
      writeFileSync(gate, "");
      expect(await again.reply(msg_id)).toMatchObject({ status: "ok" });
      await again.idle(msg_id);
      expect([streamed(channel.frames), streamed(again.frames)]).toEqual([
        "before\n",
        "after\n",
      ]);
      const temporary = join(server.home, "tmp");
      await eventually("the files of the killed server are removed", () =>
        readdirSync(temporary).some((name) => name.includes(`-${killed}-`))
          ? undefined
          : true,
      );
      await ends(server, session, again);
      expect(readdirSync(state)).toEqual([]);
    },
  );

  test("restarts its kernel, with the variables of the session, if they are kept", async () => {
    await using ground = newGround();
    const { server } = await kept(ground, { args: ["--keep-env"] });
    const env = [{ action: "replace", name: "A_VALUE", value: "kept" }];
    const session = await Session.started(server, { body: { env } });
    await killServer(server);
    await session.becomes(["idle"]);
    expect((await session.restart()).status).toBe(200);
    expect(await session.details()).toMatchObject({
      initial_env: { A_VALUE: "kept" },
    });
    await ends(server, session);
  });

  test("is started again as often as it is killed", async () => {
    await using ground = newGround();
    const { server } = await kept(ground, { transport: "socket" });
    const session = await Session.started(server);
    const { process_id } = (await session.details()) as Record<string, unknown>;
    for (let round = 0; round < 4; round += 1) {
      await killServer(server);
      await session.becomes(["idle"]);
    }
    expect(await session.details()).toMatchObject({ process_id });
    await ends(server, session);
  });

  test("listens at its path again if the path was removed", async () => {
    await using ground = newGround();
    const { server } = await kept(ground, { transport: "socket" });
    const session = await Session.started(server);
    if (!("socketPath" in server.address)) throw new Error("no path");
    const { socketPath } = server.address;
    const pid = await serverPid(server);
    rmSync(socketPath);
    process.kill(pid, "SIGKILL");
    await eventually("the next server", () =>
      session.details().catch(() => undefined),
    );
    await session.becomes(["idle"]);
    await killServer(server); // the parent holds the new socket too
    await session.becomes(["idle"]);
    await ends(server, session);
  });

  test("a signal that arrives between two servers ends the next one, and its kernels", async () => {
    await using ground = newGround();
    const { server, state } = await kept(ground);
    const session = await Session.started(server);
    const kernel = await session.pid();
    process.kill(await serverPid(server), "SIGKILL");
    server.signal("SIGTERM");
    expect(await server.ended(20_000)).toEqual({ code: 0, signal: null });
    expect(() => process.kill(kernel, 0)).toThrow("ESRCH");
    expect(readdirSync(state)).toEqual([]);
  });
});

test(
  "the end of the parent leaves the kernels to a server that is told their name",
  needsPosix,
  async () => {
    await using ground = newGround();
    const { server, state } = await kept(ground);
    const session = await Session.started(server);
    const kernel = await session.pid();
    const child = await serverPid(server);
    await server.kill();
    await eventually("the server ends too", () =>
      isAlive(child) ? undefined : true,
    );
    const [name = ""] = readdirSync(state);
    expect(name).toMatch(/^kcserver-[0-9a-f]{8}$/);

    // A new one has a name of its own, and leaves the sessions of others alone.
    const other = await ground.start({ args: ["--state-dir", state] });
    expect(await status(other)).toMatchObject({ sessions: 0 });
    other.signal("SIGTERM");
    await other.ended(20_000);
    expect(readdirSync(state)).toEqual([name]);

    const next = await ground.start({
      args: ["--state-dir", state, "--state-name", name],
    });
    const found = new Session(next, session.id);
    await found.becomes(["idle"]);
    expect(await found.pid()).toBe(kernel);
    await ends(next, found);
  },
);

test("without a state directory, a server has an id of its own and no parent", async () => {
  await using ground = newGround();
  const [one, two] = [await ground.start(), await ground.start()];
  expect(await status(one)).toMatchObject({ process_id: one.pid });
  expect((await status(one))["server_id"]).not.toBe(
    (await status(two))["server_id"],
  );
  for (const server of [one, two]) {
    server.signal("SIGTERM");
    expect(await server.ended(20_000)).toEqual({ code: 0, signal: null });
  }
});

test("a server that cannot be started says so once, with its exit code", async () => {
  await using ground = newGround();
  const home = ground.home();
  const state = join(home, "state");
  const log = join(home, "no", "such", "directory");
  const args = ["--state-dir", state, "--log-file", log];
  const { code, stderr } = await ground.invoke(args, { home });
  expect(code).toBe(101);
  expect(stderr.match(/The log file cannot be written/g)).toHaveLength(1);
});

function newGround(): Ground & AsyncDisposable {
  const ground = new Ground({
    kcserver: program,
    restarts: 1,
    python: undefined,
  });
  return Object.assign(ground, {
    async [Symbol.asyncDispose]() {
      expect(await ground.close()).toEqual([]);
    },
  });
}

async function kept(
  ground: Ground,
  { args = [], ...launch }: Launch = {},
): Promise<{ server: Server; state: string }> {
  const state = join(ground.home(), "state");
  const server = await ground.start({
    ...launch,
    args: ["--state-dir", state, ...args],
  });
  return { server, state };
}

async function status(server: Server): Promise<Record<string, unknown>> {
  const { body } = await server.anonymous("GET", "/status");
  return body as Record<string, unknown>;
}

/** The process that runs the server, behind its parent. */
async function serverPid(server: Server): Promise<number> {
  return eventually("the parent has a server", () => childrenOf(server.pid)[0]);
}

/** Resolves with its process id when it is gone. */
async function killServer(server: Server): Promise<number> {
  const pid = await serverPid(server);
  process.kill(pid, "SIGKILL");
  await eventually("the server is gone", () =>
    childrenOf(server.pid).includes(pid) ? undefined : true,
  );
  return pid;
}

/** Resolves when it is written that the owner has read all entries. */
async function acknowledged(session: Session, state: string): Promise<void> {
  const { last_seq } = (await session.details()) as { last_seq: number };
  const [name = ""] = readdirSync(state);
  const sessions = join(state, name, "sessions");
  const [folder = ""] = readdirSync(sessions);
  const file = join(sessions, folder, "positions.log");
  await eventually("the owner's position is written", () => {
    const last = readFileSync(file, "utf8").trim().split("\n").at(-1) ?? "";
    const [, position] = JSON.parse(last.slice(9) || "[]") as [string, number];
    return position >= last_seq ? true : undefined;
  });
}

/** Ends the server as a client does, and checks that it and the kernel are gone. */
async function ends(
  server: Server,
  session: Session,
  channel?: Channel,
): Promise<void> {
  const kernel = await session.pid();
  expect((await server.request("POST", "/shutdown")).status).toBe(200);
  await channel?.closed;
  expect(await server.ended(20_000)).toEqual({ code: 0, signal: null });
  expect(isAlive(kernel)).toBe(false);
  if ("socketPath" in server.address) {
    expect(existsSync(server.address.socketPath)).toBe(false);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
