/** `kallichore serve --keep` as a process: what clients find when it was killed, or replaced. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { newSession } from "../conformance/harness/session.ts";
import { eventually, framesOf, TOKEN } from "../harness.ts";
import { needsPosix } from "../needs.ts";
import { StressClient, trpc } from "../stress/clients.ts";
import { ServerProcess } from "../stress/server-process.ts";
import { Room, useCommand } from "./kallichore.ts";
import { endKeeping } from "./keeping.ts";

useCommand();

test(
  "a client of Jupyter's protocol that connects again gets the reply to its request",
  needsPosix,
  async () => {
    await using room = new Room();
    const args = ["--keep", "--state-dir", join(room.folder, "state")];
    let server = await ServerProcess.in(room, args);
    const { port } = new URL(server.url);
    const session_id = await started(server);
    const gate = join(room.folder, "gate");
    const msg_id = randomUUID();
    const first = await jupyter(server, session_id, "lab");
    first.socket.send(
      JSON.stringify({
        channel: "shell",
        header: { msg_id, msg_type: "execute_request", session: "lab" },
        parent_header: {},
        metadata: {},
        content: { code: `print before\nwait ${gate}\nprint after` },
      }),
    );
    await first.until("before\n");

    server.signal("SIGKILL");
    await server.running.ended();
    server = await ServerProcess.in(room, [...args, "--port", port]);
    const again = await jupyter(server, session_id, "lab");
    const stranger = await jupyter(server, session_id, "another");
    writeFileSync(gate, "");
    await again.until("after\n");
    await eventually("the reply", () =>
      again.replies().includes(msg_id) ? true : undefined,
    );
    await stranger.until("after\n");
    expect(stranger.replies()).toEqual([]);
    await server.ask("POST", "/shutdown");
    expect(await server.running.ended()).toMatchObject({ code: 0 });
    await again.closed;
    await stranger.closed;
  },
);

test(
  "the notebooks of Jupyter's clients keep their kernels",
  needsPosix,
  async () => {
    await using room = new Room();
    const { args, first, session_id } = await keeping(room);
    const kernel = { id: session_id };
    const made = { path: "a.ipynb", name: "a", type: "notebook", kernel };
    const { body } = await first.ask("POST", "/api/sessions", made);
    const { id } = body as { id: string };
    const other = { ...made, path: "b.ipynb" };
    const removed = (await first.ask("POST", "/api/sessions", other)).body;
    const gone = `/api/sessions/${(removed as { id: string }).id}`;
    await first.ask("DELETE", gone);
    await first.ask("PATCH", `/api/sessions/${id}`, { path: "c.ipynb" });
    first.signal("SIGKILL");
    await first.running.ended();
    const second = await ServerProcess.in(room, args);
    expect((await second.ask("GET", "/api/sessions")).body).toMatchObject([
      { id, path: "c.ipynb", name: "a", type: "notebook" },
    ]);
    await endKeeping(room, second);
  },
);

describe("serve --keep --replace", needsPosix, () => {
  test("goes on for the server that runs: same address, id, token, sessions; code that runs and asks goes on", async () => {
    await using room = new Room();
    const { args, first, session_id } = await keeping(room);
    const stranger = await jupyter(first, session_id, "stranger");
    const client = new StressClient(trpc, { url: first.url, session_id });
    const before = await status(first);
    const gate = join(room.folder, "gate");
    const code = `print before\nwait ${gate}\ninput name?\nprint after`;
    const msg_id = await executing(first, session_id, code);
    await stranger.until("before\n");

    const second = await ServerProcess.in(room, [...args, "--replace"]);
    expect(await first.running.ended()).toMatchObject({ code: 0 });
    expect(second.url).toBe(first.url);
    expect(await status(second)).toMatchObject({
      server_id: before["server_id"],
      process_id: second.pid,
      sessions: 1,
    });
    expect(await stranger.closed).toBe(1012);
    writeFileSync(gate, "");
    await eventually("the input request, answered", async () => {
      const path = `/sessions/${session_id}/executions/${msg_id}/input`;
      const answer = await second.ask("POST", path, { value: "Ann" });
      return answer.status === 200 ? true : undefined;
    });
    await eventually("the end of the code", async () => {
      const path = `/sessions/${session_id}/executions/${msg_id}`;
      const { body } = await second.ask("GET", path);
      const { state } = body as { state?: string };
      return state === "done" ? true : undefined;
    });
    const { body } = await second.ask("GET", `/sessions/${session_id}`);
    const { last_seq } = body as { last_seq: number };
    await eventually("the client has read everything", () =>
      client.last >= last_seq ? true : undefined,
    );
    const lost = client.complaints.filter((each) => !each.includes("counted"));
    expect(lost).toEqual([]);
    await client[Symbol.asyncDispose]();
    await endKeeping(room, second);
  });

  test("the server goes on if the one that replaces it does not start", async () => {
    await using room = new Room();
    const { args, first, session_id } = await keeping(room);
    // It takes the state, and then cannot listen.
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo;
    const failing = room.start([
      "serve",
      ...[...args, "--replace", "--port", String(port)],
    ]);
    expect(await failing.ended()).toMatchObject({ code: 3 });
    taken.close();
    await eventually("the first server answers", async () => {
      const answer = await first.ask("GET", `/sessions/${session_id}`).catch(
        () => undefined, // it listens again soon
      );
      const { status } = (answer?.body ?? {}) as { status?: string };
      return status === "idle" ? true : undefined;
    });
    expect(first.running.stderr).toContain("did not start: this one goes on");
    await endKeeping(room, first);
  });

  test("a state that this version cannot read stays with the server that uses it", async () => {
    await using room = new Room();
    const { args, first, session_id, state } = await keeping(room);
    const sessions = join(state, "default", "sessions");
    const [folder = ""] = readdirSync(sessions);
    const file = join(sessions, folder, "session.json");
    const whole = JSON.parse(readFileSync(file, "utf8")) as object;
    writeFileSync(file, JSON.stringify({ ...whole, format: 99 }));
    const failing = room.start(["serve", ...args, "--replace"]);
    const { code, stderr } = await failing.ended();
    expect(code).toBe(3);
    expect(stderr).toContain("format 99");
    expect(stderr).toContain(`process ${first.pid}, which goes on`);
    const { body } = await first.ask("GET", `/sessions/${session_id}`);
    expect(body).toMatchObject({ status: "idle" });
    await endKeeping(room, first);
  });

  test("SIGUSR2 starts the version that is installed now, which takes the process id file", async () => {
    await using room = new Room();
    const pidFile = join(room.folder, "pid");
    const more = ["--pid-file", pidFile];
    const { args, first, session_id } = await keeping(room, more);
    expect(readFileSync(pidFile, "utf8")).toBe(`${first.pid}\n`);
    first.signal("SIGUSR2");
    // Its streams stay open: the successor has them.
    expect(await once(first.running.child, "exit")).toEqual([0, null]);
    const pid = Number(readFileSync(pidFile, "utf8"));
    try {
      expect(pid).not.toBe(first.pid);
      expect(await status(first)).toMatchObject({ process_id: pid });
      const { body } = await first.ask("GET", `/sessions/${session_id}`);
      expect(body).toMatchObject({ session_id });
    } finally {
      process.kill(pid, "SIGTERM"); // the room waits for its streams
    }
    await eventually("the process id file is removed", () =>
      existsSync(pidFile) ? undefined : true,
    );
    const last = await ServerProcess.in(room, args);
    await endKeeping(room, last);
  });

  test("a server that nobody replaces starts as usual", async () => {
    await using room = new Room();
    const { first } = await keeping(room, ["--replace"]);
    await endKeeping(room, first);
  });
});

test("a server that ends and starts again listens on the same port, unless that is taken", async () => {
  await using room = new Room();
  const { args, first } = await keeping(room);
  first.signal("SIGTERM");
  await first.running.ended();
  const second = await ServerProcess.in(room, args);
  expect(second.url).toBe(first.url);
  second.signal("SIGTERM");
  await second.running.ended();
  const taken = createServer().listen(
    Number(new URL(first.url).port),
    "127.0.0.1",
  );
  await once(taken, "listening");
  const third = await ServerProcess.in(room, args);
  expect(third.url).not.toBe(first.url);
  taken.close();
  await endKeeping(room, third);
});

test.each([["--replace"], ["--state-name", "mine"], ["--keep-idle-days", "1"]])(
  "%s without --keep is refused",
  async (...args) => {
    await using room = new Room();
    const { code, stderr } = await room.start(["serve", ...args]).ended();
    expect(code).toBe(64);
    expect(stderr).toContain(`${args[0]} says how sessions are kept`);
  },
);

test("variables that say how sessions are kept may be set for a server that keeps none", async () => {
  await using room = new Room();
  const env = { KALLICHORE_STATE_DIR: join(room.folder, "state") };
  const server = await ServerProcess.in(room, [], { env });
  expect(await status(server)).toMatchObject({ sessions: 0 });
  expect(existsSync(env.KALLICHORE_STATE_DIR)).toBe(false);
});

/** A server with one session. */
async function keeping(room: Room, more: readonly string[] = []) {
  const state = join(room.folder, "state");
  const args = ["--keep", "--state-dir", state, ...more];
  const first = await ServerProcess.in(room, args);
  return { args, first, state, session_id: await started(first) };
}

async function status(server: ServerProcess): Promise<Record<string, unknown>> {
  const { body } = await server.ask("GET", "/status");
  return body as Record<string, unknown>;
}

/** Resolves with its id when it was accepted. */
async function executing(
  server: ServerProcess,
  session_id: string,
  code: string,
): Promise<string> {
  const path = `/sessions/${session_id}/executions`;
  const { body } = await server.ask("POST", path, { code });
  return (body as { execution_id: string }).execution_id;
}

/** A session with the kernel of the conformance kit, which does what its code says. */
async function started(server: ServerProcess): Promise<string> {
  const wanted = newSession();
  const session_id = String(wanted["session_id"]);
  for (const [method, path, body] of [
    ["PUT", "/sessions", wanted],
    ["POST", `/sessions/${session_id}/start`, undefined],
  ] as const) {
    const answer = await server.ask(method, path, body);
    expect(answer.status).toBe(200);
  }
  return session_id;
}

async function jupyter(
  { url }: ServerProcess,
  kernel_id: string,
  client: string,
) {
  const address = `${url.replace("http", "ws")}/api/kernels/${kernel_id}/channels?session_id=${client}&token=${TOKEN}`;
  const socket = new WebSocket(address);
  const frames = framesOf(socket);
  const closed = once(socket, "close").then(([code]) => code as number);
  await once(socket, "open");
  const text = () =>
    frames.map(({ content }) => (content as { text?: string }).text ?? "");
  return {
    socket,
    closed,
    until: (wanted: string) =>
      eventually(wanted, () => (text().includes(wanted) ? true : undefined)),
    replies: () =>
      frames
        .filter(({ channel }) => channel === "shell")
        .map(({ parent_header: parent }) => (parent as Header).msg_id),
  };
}

interface Header {
  readonly msg_id: string;
}
