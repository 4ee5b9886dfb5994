/** Channels over TCP: frames both ways, the backlog and then live messages, one owner, and clients that send invalid data. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import {
  at,
  equal,
  holds,
  keys,
  refute,
  shown,
  text,
} from "../harness/check.ts";
import {
  eventName,
  executionState,
  knock,
  msgType,
  parentId,
  streamed,
} from "../harness/channel.ts";
import type { Channel, Frame } from "../harness/channel.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import type { Item, Mark } from "../harness/item.ts";
import { parsed, until } from "../harness/request.ts";
import type { Server } from "../harness/server.ts";
import { Session } from "../harness/session.ts";

interface World {
  readonly server: Server;
  readonly session: Session;
}

export const group = outline<World>({
  id: "CHAN",
  open: async (ground) => {
    const server = await ground.start();
    const session = await Session.started(server);
    return { server, session };
  },
  items: [
    {
      id: "CHAN-01",
      claim:
        "the messages of an execution: busy, execute_input, stream, reply, idle, each `kind` jupyter with all its keys",
      source: KALLICHORE,
      mark: "same",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          const { frames } = await channel.run("print hi");
          const iopub = frames.filter(
            (frame) => at(frame.body, "channel") === "iopub",
          );
          const types = iopub.map((frame) => msgType(frame));
          equal(
            types,
            ["status", "execute_input", "stream", "status"],
            "iopub",
          );
          for (const frame of frames) {
            equal(at(frame.body, "kind"), "jupyter", "kind");
            for (const key of FRAME_KEYS)
              holds(
                keys(frame.body).includes(key),
                `no ${key} in ${frame.text}`,
              );
            equal(at(frame.body, "buffers"), [], "buffers");
          }
          equal(streamed(frames), "hi\n", "the stream");
          const reply = frames.find(
            (frame) => msgType(frame) === "execute_reply",
          );
          equal(at(reply?.body, "channel"), "shell", "the reply's channel");
        }),
    },
    {
      id: "CHAN-02",
      claim:
        "headers to the client are complete: date, session, username and version too",
      source: FAULT,
      mark: "mended",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          const { frames } = await channel.run("print hi");
          const [frame] = frames.filter((heard) => msgType(heard) === "stream");
          for (const header of ["header", "parent_header"])
            for (const key of [
              "msg_id",
              "msg_type",
              "date",
              "session",
              "username",
              "version",
            ])
              holds(
                text(at(frame?.body, header, key)) !== "",
                `no ${key} in ${header}`,
              );
          equal(
            at(frame?.body, "parent_header", "username"),
            "conformance",
            "username",
          );
        }),
    },
    {
      id: "CHAN-03",
      claim:
        "the kernel gets the client's msg_id, msg_type, content, metadata and parent",
      source: KALLICHORE,
      mark: "same",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          const parent_header = header("some-parent", "input_request");
          const metadata = { cellId: "c1", nested: { list: [1, "two", null] } };
          const heard = await asHeard(channel, { metadata, parent_header });
          equal(at(heard.header, "msg_id"), heard.msg_id, "msg_id");
          equal(at(heard.header, "msg_type"), "execute_request", "msg_type");
          equal(
            at(heard.parent, "msg_id"),
            "some-parent",
            "the parent's msg_id",
          );
          equal(heard.metadata, metadata, "metadata");
          equal(
            at(heard.content, "allow_stdin"),
            true,
            "allow_stdin of the content",
          );
        }),
    },
    {
      id: "CHAN-04",
      claim:
        "the kernel gets the client's complete header: session, username, date",
      source: FAULT,
      mark: "mended",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          const own = {
            session: "own-session",
            username: "own-user",
            date: DATE,
          };
          const heard = await asHeard(channel, { header: own });
          for (const [key, value] of Object.entries(own))
            equal(at(heard.header, key), value, key);
        }),
    },
    {
      id: "CHAN-05",
      claim: "buffers arrive unchanged both ways, also an empty one",
      source: KALLICHORE,
      mark: "same",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          const binary = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
          const buffers = [binary.toString("base64"), "", "AAEC"];
          const msg_id = channel.send({
            msg_type: "comm_msg",
            content: { comm_id: "c1", data: { some: "data" } },
            buffers,
          });
          const echo = await channel.waitFor(
            "the comm's echo",
            (frame) =>
              msgType(frame) === "comm_msg" && parentId(frame) === msg_id,
          );
          equal(at(echo.body, "buffers"), buffers, "buffers");
          equal(
            at(echo.body, "content"),
            { comm_id: "c1", data: { some: "data" } },
            "content",
          );
        }),
    },
    {
      id: "CHAN-06",
      claim: "a megabyte of buffer arrives both ways",
      source: KALLICHORE,
      mark: "same",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          const buffers = [
            Buffer.alloc(1_000_000, "kcserver").toString("base64"),
          ];
          channel.send({
            msg_type: "comm_msg",
            content: { comm_id: "big", data: {} },
            buffers,
          });
          const echo = await channel.waitFor(
            "the echo",
            (frame) => at(frame.body, "content", "comm_id") === "big",
          );
          holds(
            at(echo.body, "buffers", 0) === buffers[0],
            "the buffer is another",
          );
        }),
    },
    {
      id: "CHAN-07",
      claim:
        "an empty parent header becomes null; a status without a cause has reason null",
      source: KALLICHORE,
      mark: "same",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          await channel.run("");
          const from = channel.frames.length;
          await channel.run("orphan");
          const orphan = await channel.waitFor(
            "the orphan",
            (frame) => at(frame.body, "content", "text") === "orphan\n",
            { from },
          );
          equal(at(orphan.body, "parent_header"), null, "parent_header");
          // The request's own busy arrives first; the idle without a parent is the first change without a cause.
          const idle = await channel.event("status", "idle", { from });
          equal(
            at(idle.body, "status"),
            { status: "idle", reason: null },
            "the status event",
          );
        }),
    },
    {
      id: "CHAN-08",
      claim:
        "key order and large integers of the kernel's content arrive unchanged",
      source: FAULT,
      mark: "mended",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          const raw =
            '{"z":1,"a":123456789012345678901234567890,"m":{"y":1.0,"b":2}}';
          const { frames } = await channel.run(`raw ${raw}`);
          const frame = frames.find(
            (heard) => msgType(heard) === "display_data",
          );
          const heard = text(frame?.text).replaceAll(" ", "");
          holds(heard.includes(raw), `not in ${shown(heard)}`);
        }),
    },
    {
      id: "CHAN-09",
      claim:
        "large integers and key order of the client's content reach the kernel unchanged",
      source: FAULT,
      mark: "mended",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          const extra = '"z":1,"a":123456789012345678901234567890';
          const message = JSON.stringify({
            header: header("big-integers", "execute_request"),
            parent_header: null,
            metadata: {},
            content: { code: "heard", silent: false, stop_on_error: true },
            channel: "shell",
            buffers: [],
          }).replace('"code"', `${extra},"code"`);
          channel.sendText(message);
          const frame = await channel.waitFor(
            "the result",
            (heard) =>
              msgType(heard) === "execute_result" &&
              parentId(heard) === "big-integers",
          );
          const texts = parsed(
            text(at(frame.body, "content", "data", "text/plain")),
          );
          const content = text(at(texts, "content")).replaceAll(" ", "");
          holds(content.includes(extra), `the kernel heard ${shown(content)}`);
        }),
    },
    {
      id: "CHAN-10",
      claim:
        "a message with `kind`, with unknown keys, or without a parent is accepted",
      source: KALLICHORE,
      mark: "same",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          const msg_id = `kind-${session.id}`;
          const message = {
            kind: "jupyter",
            header: { msg_id, msg_type: "comm_info_request", odd: 1 },
            channel: "shell",
            content: {},
            metadata: {},
            buffers: [],
            future: true,
          };
          channel.sendText(JSON.stringify(message));
          equal(at(await channel.reply(msg_id), "status"), "ok", "the reply");
        }),
    },
    {
      id: "CHAN-11",
      claim: "messages are routed by their `channel`, not by their type",
      source: KALLICHORE,
      mark: "same",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          for (const way of ["shell", "control"]) {
            const request = {
              msg_type: "comm_info_request",
              content: {},
              channel: way,
            };
            const msg_id = channel.send(request);
            const frame = await channel.waitFor(
              "the reply",
              (heard) =>
                parentId(heard) === msg_id && msgType(heard).endsWith("_reply"),
            );
            equal(at(frame.body, "channel"), way, "the reply's channel");
          }
        }),
    },
    {
      id: "CHAN-12",
      claim:
        "input_request arrives on stdin, and input_reply reaches the kernel",
      source: KALLICHORE,
      mark: "same",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          const msg_id = channel.execute("input Your name?");
          const requested = await channel.waitFor(
            "input_request",
            (frame) => msgType(frame) === "input_request",
          );
          equal(at(requested.body, "channel"), "stdin", "its channel");
          equal(
            at(requested.body, "content", "prompt"),
            "Your name?",
            "its prompt",
          );
          channel.send({
            msg_type: "input_reply",
            channel: "stdin",
            parent_header: at(requested.body, "header"),
            content: { value: "Ada" },
          });
          await channel.idle(msg_id);
          const result = channel.frames.find(
            (frame) => msgType(frame) === "execute_result",
          );
          equal(
            at(result?.body, "content", "data", "text/plain"),
            "Ada",
            "the answer",
          );
        }),
    },
    {
      id: "CHAN-13",
      claim:
        "for one iopub status, the kernel message precedes the Jupyter message",
      source: KALLICHORE,
      mark: "same",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          const { msg_id } = await channel.run("");
          const jupyter = await channel.busy(msg_id);
          const kernel = await channel.event("status", "busy");
          holds(kernel.index < jupyter.index, "it comes after");
        }),
    },
    {
      id: "CHAN-14",
      claim:
        "iopub order of one execution: a thousand messages, all, once, in order, before its idle",
      source: KALLICHORE,
      mark: "same",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          const { frames, msg_id } = await channel.run("flood 1000 20");
          areAll(numbers(frames, msg_id), 1_000);
        }),
    },
    {
      id: "CHAN-15",
      claim:
        "messages from before the connection come first, then live ones: all, once, in order",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server, session }) => {
        const gate = join(server.home, "gate");
        const first = await session.channel();
        const msg_id = first.execute(
          [
            `wait ${gate}`,
            "flood 400 50",
            `touch ${gate}-half`,
            `wait ${gate}-2`,
            "flood 400 50",
          ].join("\n"),
        );
        await first.busy(msg_id);
        await first.close();
        await disconnected(session);
        writeFileSync(gate, "");
        await until(
          "half of it",
          () => Promise.resolve(existsSync(`${gate}-half`)),
          {
            holds: Boolean,
          },
        );
        const second = await session.channel();
        writeFileSync(`${gate}-2`, "");
        await second.idle(msg_id, { within_ms: 15_000 });
        const heard = numbers(second.frames, msg_id);
        areAll(heard.slice(0, 400), 400);
        areAll(heard.slice(400), 400);
        await second.close();
      },
    },
    {
      id: "CHAN-16",
      claim: "the backlog is delivered once: a third client gets none of it",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        await withChannel(session, async (channel) => {
          await channel.run("print once");
        });
        await disconnected(session);
        await withChannel(session, async (channel) => {
          await channel.run("");
          holds(
            !streamed(channel.frames).includes("once"),
            "it is heard again",
          );
        });
      },
    },
    {
      id: "CHAN-17",
      claim:
        "a second client displaces the first, whose last frame is clientDisconnected, then close",
      source: "positron#5245",
      mark: "same",
      run: async ({ session }) => {
        const first = await session.channel();
        const second = await session.channel();
        await first.closed;
        const last = first.frames.at(-1);
        equal(
          last === undefined ? "" : eventName(last),
          "clientDisconnected",
          "last frame",
        );
        holds(
          text(at(last?.body, "clientDisconnected")) !== "",
          "it gives no reason",
        );
        equal(
          at((await second.run("")).reply, "status"),
          "ok",
          "the second client",
        );
        equal(at(await session.details(), "connected"), true, "connected");
        await second.close();
      },
    },
    {
      id: "CHAN-18",
      claim:
        "after a displacement during a flood, the two clients together have all of it, in order, without a gap",
      source: "positron#5245",
      mark: "mended",
      run: async ({ session }) => {
        const { first: heard, second: again } = await displacedInFlood(session);
        areAll(heard, heard.length);
        const joins = (again[0] ?? FLOOD) <= heard.length;
        holds(
          joins,
          `the first heard ${heard.length}, the second begins at ${shown(again[0])}`,
        );
        areAll([...heard.slice(0, again[0] ?? FLOOD), ...again], FLOOD);
      },
    },
    {
      id: "CHAN-23",
      claim:
        "messages that the displaced client has received are not sent to the next one",
      source: KALLICHORE,
      mark: "same",
      run: async ({ session }) => {
        const { first, second } = await displacedInFlood(session);
        const before = new Set(first);
        const twice = second.filter((number) => before.has(number));
        equal(
          twice.length,
          0,
          `messages heard twice, of ${before.size} and more`,
        );
      },
    },
    {
      id: "CHAN-19",
      claim:
        "ten clients in quick succession: the last one owns the session, `connected` stays true",
      source: FAULT,
      mark: "mended",
      run: async ({ session }) => {
        const clients: Channel[] = [];
        for (let i = 0; i < 10; i += 1) clients.push(await session.channel());
        await Promise.all(clients.slice(0, -1).map((client) => client.closed));
        const last = clients.at(-1);
        equal(
          at((await last?.run(""))?.reply, "status"),
          "ok",
          "the last client",
        );
        equal(at(await session.details(), "connected"), true, "connected");
        await last?.close();
        await disconnected(session);
      },
    },
    {
      id: "CHAN-20",
      claim:
        "the first ping arrives at once, with a payload of 8 bytes, the number 1",
      source: KALLICHORE,
      mark: "same",
      run: ({ session }) =>
        withChannel(session, async (channel) => {
          await until("a ping", () => Promise.resolve(channel.pings.length), {
            holds: (seen) => seen > 0,
            within_ms: 2_000,
          });
          equal(
            channel.pings[0]?.toString("hex"),
            "0000000000000001",
            "payload",
          );
        }),
    },
    {
      id: "CHAN-21",
      claim:
        "reconnecting during a flood, including address and first frame, takes less than 2 s",
      source: "Positron gives a reconnect 2 s, once",
      mark: "same",
      run: async ({ session }) => {
        const first = await session.channel();
        const msg_id = first.execute("pour 60 2000");
        await first.waitFor(
          "the flood",
          (frame) => msgType(frame) === "stream",
        );
        for (let i = 0; i < 3; i += 1) {
          const began = performance.now();
          const again = await session.channel();
          await again.waitFor("a first frame", (frame) => frame.index >= 0);
          const took = Math.round(performance.now() - began);
          holds(took < 2_000, `it took ${took} ms`);
          again.terminate();
          await again.closed;
        }
        const last = await session.channel();
        await session.post("interrupt");
        await last.idle(msg_id, { within_ms: 20_000 });
        await last.close();
      },
    },
    {
      id: "CHAN-22",
      claim:
        "other requests are answered within 2 s while a kernel sends a flood to its client",
      source: FAULT,
      mark: "mended",
      run: ({ server, session }) =>
        withChannel(session, async (channel) => {
          const msg_id = channel.execute("pour 60 2000");
          await channel.waitFor(
            "the flood",
            (frame) => msgType(frame) === "stream",
          );
          for (let i = 0; i < 6; i += 1) {
            const call = { timeout_ms: 2_000 };
            equal(
              (await server.request("GET", "/sessions", call)).status,
              200,
              "code",
            );
          }
          await session.post("interrupt");
          await channel.idle(msg_id, { within_ms: 20_000 });
        }),
    },
    harmless("CHAN-30", "text that is no JSON", "same", (channel) => {
      channel.sendText("{nonsense");
    }),
    harmless("CHAN-31", "JSON that is no message", "same", (channel) => {
      for (const odd of ["[]", "null", "17", '"text"', "{}"])
        channel.sendText(odd);
    }),
    harmless("CHAN-32", "a `kernel` document", "same", (channel) => {
      channel.sendText('{"kind":"kernel","exited":0}');
    }),
    harmless("CHAN-33", "a binary frame", "same", (channel) => {
      channel.sendBinary(Buffer.from([0, 1, 2, 255]));
    }),
    harmless("CHAN-34", "buffers that are no base64", "mended", (channel) => {
      const content = { comm_id: "c", data: {} };
      channel.send({ msg_type: "comm_msg", content, buffers: ["%%%"] });
    }),
    harmless(
      "CHAN-35",
      "a message for iopub, or for no channel known",
      "same",
      (channel) => {
        for (const way of ["iopub", "heartbeat", "elsewhere"])
          channel.send({ msg_type: "status", content: {}, channel: way });
      },
    ),
    harmless("CHAN-36", "a header without msg_id", "same", (channel) => {
      const message = {
        header: { msg_type: "x" },
        channel: "shell",
        content: {},
      };
      channel.sendText(
        JSON.stringify({ ...message, metadata: {}, buffers: [] }),
      );
    }),
    {
      id: "CHAN-40",
      claim: "/api/channels/{id} is the channel too",
      source: "Positron's third form of address",
      mark: "mended",
      run: async ({ server, session }) => {
        const url = (await session.url()).replace(
          /\/sessions\/.*$/,
          `/api/channels/${session.id}`,
        );
        const { status, channel } = await knock(url, server.authorization());
        equal(status, 101, "the upgrade's answer");
        equal(
          at((await channel?.run(""))?.reply, "status"),
          "ok",
          "an execution",
        );
        await channel?.close();
      },
    },
    {
      id: "CHAN-41",
      claim:
        "a channel opens before the first start and stays open across exit and restart",
      source: FAULT, // a restart of a kernel that has exited never answers
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.create(server);
        const channel = await session.channel();
        await session.start();
        await channel.run("");
        await session.post("kill");
        await channel.event("exited");
        holds(channel.isOpen(), "closed at the exit");
        await session.restart();
        equal(
          at((await channel.run("")).reply, "status"),
          "ok",
          "after a restart",
        );
      },
    },
    {
      id: "CHAN-42",
      claim: "a msg_id that the kernel has received is not sent again",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        const { msg_id } = await channel.run("print once");
        channel.execute("print once", { msg_id });
        const received = (await channel.result("received")) as unknown[];
        equal(
          received.filter((id) => id === msg_id).length,
          1,
          "times the kernel had it",
        );
      },
    },
    {
      id: "CHAN-43",
      claim: "a client that closes gets a close frame in return",
      source: FAULT,
      mark: "mended",
      run: async ({ session }) => {
        const channel = await session.channel();
        await channel.run("");
        const code = await channel.close();
        holds(code !== 1006, `close code ${code}`);
      },
    },
    {
      id: "CHAN-44",
      claim:
        "an event of the server about a kernel is one member beside kind, with a name that Kallichore's types have",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server);
        const channel = await session.channel();
        await session.start();
        const [first, second] = [
          channel.execute("stdout line"),
          channel.execute("chdir /"),
        ];
        await channel.idle(first);
        await channel.idle(second);
        await channel.event("output");
        await channel.event("executionQueued");
        await session.post("kill");
        await channel.event("exited");
        const next = await session.channel();
        await channel.closed;
        await next.close();
        const members = channel.frames
          .filter((frame) => at(frame.body, "kind") === "kernel")
          .map((frame) => keys(frame.body).filter((key) => key !== "kind"));
        const other = members.filter((names) => names.length !== 1);
        equal(other, [], "frames with other than one member");
        const names = new Set(members.flat());
        for (const name of ["status", "exited", "clientDisconnected"])
          holds(names.has(name), `no ${name} in ${shown([...names])}`);
        const unknown = [...names].filter((name) => !KNOWN.includes(name));
        equal(unknown, [], "unknown members");
      },
    },
  ],
});

const FLOOD = 3_000;
const DATE = "2020-02-02T02:02:02.000Z";
const NOTHING: Frame = { index: -1, text: "", body: undefined };
const FRAME_KEYS = [
  "header",
  "parent_header",
  "channel",
  "content",
  "metadata",
  "buffers",
];

async function withChannel(
  session: Session,
  use: (channel: Channel) => Promise<void>,
): Promise<void> {
  const channel = await session.channel();
  try {
    await use(channel);
  } finally {
    await channel.close();
  }
}

/** The members of Kallichore 0.1.64 and 0.1.65. */
const KNOWN = [
  "status",
  "output",
  "executionQueued",
  "workingDirChanged",
  "resourceUsage",
  "clientDisconnected",
  "exited",
  "handshakeCompleted",
  "executionRequested",
];

/** The message that the kernel says it received, with its four frames parsed. */
async function asHeard(
  channel: Channel,
  extra: {
    metadata?: unknown;
    parent_header?: unknown;
    header?: Record<string, unknown>;
  },
) {
  const msg_id = channel.execute("heard", extra);
  const frame = await channel.waitFor(
    "the result",
    (heard) =>
      msgType(heard) === "execute_result" && parentId(heard) === msg_id,
  );
  const texts = parsed(text(at(frame.body, "content", "data", "text/plain")));
  return {
    msg_id,
    header: parsed(text(at(texts, "header"))),
    parent: parsed(text(at(texts, "parent_header"))),
    metadata: parsed(text(at(texts, "metadata"))),
    content: parsed(text(at(texts, "content"))),
  };
}

function header(msg_id: string, msg_type: string): Record<string, unknown> {
  const [session, username] = ["some-session", "someone"];
  return { msg_id, msg_type, session, username, date: DATE, version: "5.3" };
}

/** Sends something invalid, and expects that the connection and the kernel continue. */
function harmless(
  id: string,
  what: string,
  mark: Mark,
  send: (channel: Channel) => void,
): Item<World> {
  return {
    id,
    claim: `${what} from a client harms nobody`,
    source: mark === "same" ? KALLICHORE : FAULT,
    mark,
    run: ({ session }) =>
      withChannel(session, async (channel) => {
        send(channel);
        const { reply, frames } = await channel.run("print after it");
        equal(at(reply, "status"), "ok", "an execution after it");
        equal(streamed(frames), "after it\n", "its output");
        holds(channel.isOpen(), "the channel closed");
      }),
  };
}

/** A second client connects while the first receives a flood. Resolves with the numbers that each has received, when both have received everything. */
async function displacedInFlood(session: Session) {
  const first = await session.channel();
  const msg_id = first.execute(`flood ${FLOOD} 200`);
  await first.waitFor(
    "the flood",
    (frame) => msgType(frame) === "stream" && parentId(frame) === msg_id,
  );
  const second = await session.channel();
  await first.closed;
  equal(
    eventName(first.frames.at(-1) ?? NOTHING),
    "clientDisconnected",
    "last frame",
  );
  // The first may have received all of it.
  await second.run("");
  if (!first.frames.some((frame) => isIdle(frame, msg_id)))
    await second.idle(msg_id, { within_ms: 20_000 });
  await second.close();
  return {
    first: numbers(first.frames, msg_id),
    second: numbers(second.frames, msg_id),
  };
}

function isIdle(frame: Frame, msg_id: string): boolean {
  return parentId(frame) === msg_id && executionState(frame) === "idle";
}

export async function disconnected(session: Session): Promise<void> {
  const ask = async () => at(await session.details(), "connected");
  await until("connected is false", ask, { holds: (seen) => seen === false });
}

/** The numbers of the flood of request `msg_id`, as received. Other frames may be the end of an earlier flood, which its owner did not acknowledge before it left. */
function numbers(frames: readonly Frame[], msg_id: string): readonly number[] {
  return streamed(frames.filter((frame) => parentId(frame) === msg_id))
    .split("\n")
    .filter((line) => /^\d+ /.test(line))
    .map((line) => Number.parseInt(line, 10));
}

/** 0 to n - 1, each once, in order; an error names the first position that differs. */
function areAll(heard: readonly number[], n: number): void {
  const wrong = heard.findIndex((number, place) => number !== place);
  if (wrong === -1 && heard.length === n) return;
  const distinct = new Set(heard).size;
  const place = wrong === -1 ? heard.length : wrong;
  refute(
    `of ${n} numbers ${heard.length} were heard, ${distinct} different; at place ${place} stands ${shown(heard.slice(place, place + 5))}`,
  );
}
