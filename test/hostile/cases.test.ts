/**
 * Single messages and connections that could end a server, in all places where
 * they can occur: with both ZeroMQ drivers, in an embedded server, in mocked
 * kernels. They end one message, or one start with a reason. The session beside
 * it is not affected.
 */
import { createServer as createHttpServer } from "node:http";
import {
  type AddressInfo,
  connect,
  createServer,
  type Server,
  type Socket,
} from "node:net";
import { once } from "node:events";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { curveKeyPair, Push, Router } from "zeromq";
import { eventually, TOKEN } from "../harness.ts";
import { Liar } from "./liar.ts";
import { Beside, type Room, rooms, toBeAdopted } from "./rooms.ts";

/** Longer than the heartbeat's timeout, so that its timer has run. */
const HEARTBEAT_MS = 30_000;
/** Bytes; more than a string can hold. */
const HUGE = 600_000_000;

const foreign: Readonly<Record<string, () => Promise<number>>> = {
  "an HTTP server": async () =>
    portOf(createHttpServer((_, res) => res.end("hello"))),
  "a server that greets as SSH does": async () =>
    portOf(createServer((socket) => socket.write("SSH-2.0-OpenSSH_9.6\r\n"))),
  "a server that accepts and says nothing": async () =>
    portOf(createServer(() => {})),
  "a server that hangs up": async () =>
    portOf(createServer((socket) => socket.destroy())),
  "a PUSH socket": async () => zeromqPort(new Push()),
  "a kernel with CURVE keys of its own": async () =>
    zeromqPort(
      new Router({
        curveServer: true,
        curveSecretKey: curveKeyPair().secretKey,
      }),
    ),
};

/** Contents of a kernel's answers to the server's own requests. */
const answers: Readonly<Record<string, string>> = {
  nan: '{"status":"ok","x":NaN}',
  empty: "",
  blank: " ",
  half: "{nope",
  number: "5",
  list: "[]",
  null: "null",
  deep: "[".repeat(200_000) + "]".repeat(200_000),
  no_language: '{"status":"ok","language_info":null}',
  strange_version: '{"status":"ok","protocol_version":7,"banner":[]}',
  envelope: '{},"kind":"kernel","exited":0,"x":{}',
};

describe.each(rooms.filter(({ adopts }) => adopts))(
  "$name",
  ({ open, name }) => {
    test("a kernel whose heartbeat port has another peer is adopted and reported as offline", async () => {
      const room = await open();
      const beside = await Beside.in(room);
      const ids = await Promise.all(
        Object.entries(foreign).map(async ([what, bind], nth) => {
          const liar = await opened();
          const session_id = `silent-${nth}`;
          await toBeAdopted(room, session_id);
          const adopted = await room.ask(
            "PUT",
            `/sessions/${session_id}/adopt`,
            {
              ...liar.connection,
              hb_port: await bind(),
            },
          );
          expect([what, adopted.status, adopted.text]).toEqual([
            what,
            200,
            expect.stringContaining("liar"),
          ]);
          return session_id;
        }),
      );
      for (const session_id of ids) {
        await eventually(
          `${session_id} offline`,
          async () =>
            (await statusOf(room, session_id)) === "offline" || undefined,
          HEARTBEAT_MS,
        );
      }
      await beside.isUnhurt();
    });

    test.each(["shell_port", "iopub_port", "control_port", "stdin_port"])(
      "a kernel whose %s is an HTTP server is refused with a reason, if the driver can find out",
      async (port) => {
        const room = await open();
        const beside = await Beside.in(room);
        const liar = await opened();
        await toBeAdopted(room, "wrong");
        const adopted = await room.ask("PUT", "/sessions/wrong/adopt", {
          ...liar.connection,
          [port]: await foreign["an HTTP server"]?.(),
        });
        // libzmq takes it for a peer from before 2013, and waits for more.
        if (!name.includes("libzmq")) {
          expect(adopted.status).toBe(500);
          expect(adopted.text).toContain("does not use ZeroMQ");
          expect(adopted.text).toContain("connection_failed");
          expect(await statusOf(room, "wrong")).toBe("exited");
        }
        expect(adopted.text).not.toContain('"internal"');
        await beside.isUnhurt();
      },
    );

    test.each(["with a parent", "without one"])(
      "code whose input request cannot be read, %s, is interrupted with a reason",
      async (how) => {
        const room = await open();
        const liar = await opened();
        await toBeAdopted(room, "asker");
        await room.ask("PUT", "/sessions/asker/adopt", liar.connection);
        const path = "/sessions/asker/executions";
        await room.ask("POST", path, { code: "1", execution_id: "e" });
        const parent_header = await eventually(
          "the execution of the code",
          () => liar.requested.get("execute_request"),
        );
        await liar.send("stdin", {
          msg_type: "input_request",
          content: Buffer.from('{"prompt":'),
          ...(how === "with a parent" && { parent_header }),
        });
        await eventually("an interrupt", () =>
          liar.requested.get("interrupt_request"),
        );
        await liar.send("shell", {
          msg_type: "execute_reply",
          parent_header,
          content: Buffer.from('{"status":"error","ename":"Interrupt"}'),
        });
        await liar.send("iopub", {
          msg_type: "status",
          parent_header,
          content: Buffer.from('{"execution_state":"idle"}'),
        });
        const over = await eventually("its end", async () => {
          const { body } = await room.ask("GET", `${path}/e`);
          const { state } = body as { state: string };
          return state === "running" ? undefined : body;
        });
        expect(over).toMatchObject({
          state: "interrupted",
          reason: "question_refused",
        });
      },
    );

    test("a kernel whose answers to the server's requests are not JSON, or not an object, affects no other session", async () => {
      const room = await open();
      const beside = await Beside.in(room);
      await Promise.all(
        Object.entries(answers).map(async ([session_id, content]) => {
          const liar = await opened({
            kernel_info_request: content,
            interrupt_request: content,
            shutdown_request: content,
          });
          await toBeAdopted(room, session_id);
          const path = `/sessions/${session_id}`;
          const adopted = await room.ask(
            "PUT",
            `${path}/adopt`,
            liar.connection,
          );
          expect(adopted.text).not.toContain('"internal"');
          if (adopted.status !== 200) return;
          await room.ask("POST", `${path}/interrupt`);
          await room.ask("POST", `${path}/shutdown`);
        }),
      );
      await beside.isUnhurt();
    });

    test("a kernel that stops speaking ZeroMQ is ended with a reason", async () => {
      const room = await open();
      const beside = await Beside.in(room);
      const liar = await opened();
      const relay = await relayTo(liar.connection.iopub_port);
      await toBeAdopted(room, "lost");
      const adopted = await room.ask("PUT", "/sessions/lost/adopt", {
        ...liar.connection,
        iopub_port: relay.port,
      });
      expect(adopted.status).toBe(200);
      relay.say(Buffer.alloc(1_000, 0xa5));
      if (!name.includes("libzmq")) {
        const reason = await toldOf(room, "lost", /"status":"exited"[^}]*/);
        expect(reason).toMatch(/iopub cannot be reached.*not ZMTP/);
      }
      await beside.isUnhurt();
    });
  },
);

describe.each(rooms)("$name", ({ open }) => {
  test("an execute_reply of one long string affects no other session", async () => {
    const room = await open();
    const beside = await Beside.in(room);
    const speaker = await room.speaker("liar");
    const msg_id = await begin(room, "liar");
    await speaker.say("shell", {
      msg_type: "execute_reply",
      parent_header: Buffer.from(
        JSON.stringify({ msg_id, msg_type: "execute_request" }),
      ),
      content: Buffer.from(JSON.stringify("x".repeat(5_000_000))),
    });
    await eventually("the reply", async () => {
      const last = await lastOf(room, "liar");
      return last > 1 ? true : undefined;
    });
    await beside.isUnhurt();
  });

  test.runIf(process.env["HOSTILE_SECONDS"] !== undefined).each([
    ["that is not UTF-8", () => Buffer.alloc(HUGE, 0xff)],
    [
      "of JSON",
      () =>
        Buffer.alloc(HUGE, "x")
          .fill('"', 0, 1)
          .fill('"', HUGE - 1),
    ],
  ])(
    "one signed message of 600 MB %s is refused with a reason and affects no other session",
    { timeout: 240_000 },
    async (_, content) => {
      const room = await open();
      const beside = await Beside.in(room);
      const speaker = await room.speaker("liar");
      await speaker.say("iopub", { msg_type: "stream", content: content() });
      const event = await toldOf(room, "liar", /"kind":"refused"[^}]*/);
      expect(event).toContain('"reason":"too_large"');
      await beside.isUnhurt();
    },
  );

  test("a client's header that is nested 4,500 deep affects no other session", async () => {
    const room = await open();
    const beside = await Beside.in(room);
    await room.speaker("liar");
    const address = `${room.url.replace("http", "ws")}/sessions/liar/channels`;
    const socket = new WebSocket(address, {
      headers: { authorization: `Bearer ${TOKEN}` },
    });
    await once(socket, "open");
    const deep = `${'{"a":'.repeat(4_500)}1${"}".repeat(4_500)}`;
    socket.send(
      `{"channel":"shell","header":{"msg_id":"x","msg_type":"execute_request","deep":${deep}},"parent_header":{},"metadata":{},"content":{"code":"1"},"buffers":[]}`,
    );
    await beside.isUnhurt();
    socket.terminate();
  });
});

async function opened(
  answers: Readonly<Record<string, string>> = {},
): Promise<Liar> {
  const liar = await Liar.open(answers);
  onTestFinished(() => liar[Symbol.asyncDispose]());
  return liar;
}

/** Relays between the server and a kernel's socket; may insert bytes. */
async function relayTo(
  port: number,
): Promise<{ port: number; say: (bytes: Uint8Array) => void }> {
  let last: Socket | undefined;
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    far.on("error", () => near.destroy()).pipe(near);
    near.on("close", () => far.destroy()).pipe(far);
    last = near;
  });
  return {
    port: await portOf(server),
    say: (bytes) => void last?.write(bytes),
  };
}

async function portOf(server: Server): Promise<number> {
  const sockets = new Set<{ destroy(): void }>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => {}); // a link that gives up may reset the connection
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

async function zeromqPort(socket: Push | Router): Promise<number> {
  await socket.bind("tcp://127.0.0.1:*");
  onTestFinished(() => socket.close());
  return Number(socket.lastEndpoint?.split(":").at(-1));
}

/** Resolves with the events that clients get of it. */
async function toldOf(
  room: Room,
  session_id: string,
  what: RegExp,
): Promise<string | undefined> {
  const response = await fetch(`${room.url}/sessions/${session_id}/events`, {
    headers: { authorization: `Bearer ${TOKEN}` },
    signal: AbortSignal.timeout(120_000),
  });
  let text = "";
  for await (const bytes of response.body ?? []) {
    text += Buffer.from(bytes as Uint8Array).toString();
    const [found] = what.exec(text) ?? [];
    if (found !== undefined) return found;
  }
  return undefined;
}

async function statusOf(room: Room, session_id: string): Promise<unknown> {
  const { body } = await room.ask("GET", `/sessions/${session_id}`);
  return (body as { status: unknown }).status;
}

async function lastOf(room: Room, session_id: string): Promise<number> {
  const { body } = await room.ask("GET", `/sessions/${session_id}`);
  return Number((body as { last_seq: unknown }).last_seq);
}

/** Sends code to the liar, which never completes it. */
async function begin(room: Room, session_id: string): Promise<string> {
  const msg_id = crypto.randomUUID();
  const sent = await room.ask("POST", `/sessions/${session_id}/messages`, {
    channel: "shell",
    header: { msg_id, msg_type: "execute_request" },
    content: { code: "lie" },
    buffers: [],
  });
  expect(sent.status).toBe(202);
  return msg_id;
}
