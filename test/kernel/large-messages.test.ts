/** Large messages of a kernel, with both drivers, and with libzmq's own socket as the kernel: complete, in order, and in short steps. */
import { connect } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { XPublisher } from "zeromq";
import type { ConnectionInfo } from "../../contract/index.ts";
import type { Refusal } from "../../src/jupyter/admission.ts";
import { Signer, toFrames } from "../../src/jupyter/frames.ts";
import {
  compose,
  type Header,
  type Message,
} from "../../src/jupyter/message.ts";
import { recordBytesIn } from "../../src/jupyter/record.ts";
import { Entry } from "../../src/journal/entry.ts";
import { Slab } from "../../src/journal/slab.ts";
import { boundaryOf } from "../../src/kernel/boundary.ts";
import { Sockets } from "../../src/kernel/sockets.ts";
import { Faults } from "../../src/log/faults.ts";
import { libzmq } from "../../src/zmq/libzmq.ts";
import type { KernelTransport } from "../../src/zmq/transport.ts";
import { zmtp } from "../../src/zmq/zmtp.ts";
import { eventually } from "../harness.ts";
import { recordingLog } from "../recording-log.ts";
import { bound, closeAll, plainPeer, unboundEndpoint } from "../zmq/peers.ts";

const MB = 1_000_000;
const KEY = "the key of the kernel";
const REFUSED = "A message from the kernel was refused";

const opened: Sockets[] = [];
afterEach(() => {
  for (const sockets of opened.splice(0)) sockets.close();
  closeAll();
});

/** The received messages: the id of each, and its record as clients read it. */
interface Received {
  readonly ids: string[];
  readonly texts: Map<string, Buffer>;
  readonly refusals: Refusal[];
  readonly faults: Faults;
  readonly sockets: Sockets;
}

async function listen(
  driver: KernelTransport,
  endpoint: string,
): Promise<Received> {
  const faults = new Faults(recordingLog().log);
  const ids: string[] = [];
  const texts = new Map<string, Buffer>();
  const refusals: Refusal[] = [];
  const keep = (id: string, { text }: Entry) => {
    ids.push(id);
    texts.set(id, Buffer.from(text));
  };
  const connection = await connectionTo(endpoint);
  const boundary = boundaryOf(driver, faults, "s");
  const sockets = new Sockets(boundary, connection, new Signer(KEY), {
    message(message) {
      const { record, header } = message;
      const slab =
        record === undefined
          ? Entry.of(1, message).slab
          : Slab.around(message, record, 1);
      keep(header.msg_id, new Entry(slab, 0));
    },
    burst: (burst) => {
      for (let n = 0; n < burst.count; n += 1) {
        const slab = new Slab(1, recordBytesIn(burst, n), 1); // with this message only
        slab.appendBurst(burst, n);
        const entry = new Entry(slab, 0);
        const { msg_id } = JSON.parse(entry.raw.header.toString()) as Header;
        keep(msg_id, entry);
      }
    },
    refused: (refusal) => refusals.push(refusal),
    caughtUp: () => undefined,
    tooLarge: () => ids.push("too large"),
    stateChanged: () => {},
  });
  opened.push(sockets);
  return { ids, texts, refusals, faults, sockets };
}

async function connectionTo(iopub: string): Promise<ConnectionInfo> {
  const nobody = portOf(await unboundEndpoint("tcp"));
  return {
    transport: "tcp",
    ip: "127.0.0.1",
    iopub_port: portOf(iopub),
    shell_port: nobody,
    control_port: nobody,
    stdin_port: nobody,
    hb_port: nobody,
    key: KEY,
    signature_scheme: "hmac-sha256",
  };
}

function portOf(endpoint: string): number {
  return Number(endpoint.split(":").at(-1));
}

function shown(
  msg_id: string,
  data: Readonly<Record<string, unknown>>,
  buffers: readonly Uint8Array[] = [],
): Message {
  return compose({
    channel: "iopub",
    msg_type: "display_data",
    content: { data, metadata: {} },
    session: "s",
    username: "kernel",
    parent: PARENT,
    msg_id,
    buffers,
  });
}

const PARENT = compose({
  channel: "shell",
  msg_type: "execute_request",
  content: {},
  session: "s",
  username: "client",
});

/** The same with other bytes as its content. */
function withContent(message: Message, content: string | Buffer): Message {
  return {
    ...message,
    raw: { ...message.raw, content: Buffer.from(content) },
  };
}

const signer = new Signer(KEY);
const stranger = new Signer("another key");

async function publish(
  publisher: XPublisher,
  message: Message,
  by = signer,
): Promise<void> {
  const frames = toFrames(message, by, [Buffer.from("topic")]);
  await publisher.send(frames.map((frame) => Buffer.from(frame)));
}

/** Resolves at the next subscription; an unsubscription is a message too. */
async function subscribed(publisher: XPublisher): Promise<void> {
  for (;;) {
    const [told] = await publisher.receive();
    if (told?.[0] === 1) return;
  }
}

function textOf(message: Message): Buffer {
  return Entry.of(1, message).text;
}

describe.each([zmtp, libzmq])("by $name", (driver) => {
  async function listening() {
    const publisher = new XPublisher();
    const endpoint = await bound(publisher);
    const received = await listen(driver, endpoint);
    await subscribed(publisher);
    return { publisher, endpoint, ...received };
  }

  test("100 MB arrive complete, and small messages stay behind them", async () => {
    const { publisher, ids, texts } = await listening();
    const small = (id: string) => shown(id, { "text/plain": id });
    const text = 'h\u00e9 "\u4e16"\n'.repeat(4 * MB);
    const all = [
      small("before"),
      shown("text", { "text/html": text }),
      small("behind the text"),
      small("again"),
      shown("numbers", { "application/json": Array(2 * MB).fill([1.5]) }),
      shown("buffers", {}, [
        Buffer.alloc(100 * MB + 1, "kernel"),
        Buffer.alloc(0),
        Buffer.alloc(5 * MB, 255),
      ]),
      small("behind the buffers"),
    ];
    for (const message of all) await publish(publisher, message);
    await eventually("the last message", () => ids[all.length - 1], 60_000);
    expect(ids).toEqual(all.map(({ header }) => header.msg_id));
    for (const message of all) {
      const { msg_id } = message.header;
      const same = texts.get(msg_id)?.equals(textOf(message));
      expect(same, msg_id).toBe(true);
    }
  }, 120_000);

  test("a message signed with another key is refused, and the next one is received", async () => {
    const { publisher, ids, faults } = await listening();
    const large = { "text/plain": "x".repeat(20 * MB) };
    await publish(publisher, shown("forged", large), stranger);
    await publish(publisher, shown("after", {}));
    await eventually("the next message", () => ids[0], 30_000);
    expect(ids).toEqual(["after"]);
    expect(faults.total(REFUSED)).toBe(1);
  }, 60_000);

  test("a message that is not JSON is refused, and one that is nearly JSON is repaired", async () => {
    const { publisher, ids, texts, refusals } = await listening();
    const numbers = "1.5,NaN,-Infinity,".repeat(MB / 4);
    const text = "a".repeat(4 * MB);
    const cut = Buffer.concat([
      Buffer.from(`{"data":{"text/plain":"${text}`),
      Buffer.from([0xe4, 0xb8]), // the beginning of a character
      Buffer.from(`${text}"},"metadata":{}}`),
    ]);
    const wrong = `{"data":{"text/plain":"${text}"},"metadata":{}`;
    await publish(publisher, withContent(shown("wrong", {}), wrong));
    const list = `{"data":{"a":[${numbers}0]},"metadata":{}}`;
    await publish(publisher, withContent(shown("numbers", {}), list));
    await publish(publisher, withContent(shown("cut", {}), cut));
    await publish(publisher, shown("after", {}));
    await eventually("the next message", () => ids[2], 30_000);
    expect(ids).toEqual(["numbers", "cut", "after"]);
    expect(refusals).toMatchObject([
      { msg_type: "display_data", reason: "not_json" },
    ]);
    const mended = list
      .replaceAll("NaN", "null")
      .replaceAll("-Infinity", "null");
    const expected = new Map([
      ["numbers", mended],
      ["cut", cut.toString()],
    ]);
    for (const [id, content] of expected) {
      const has = texts.get(id)?.includes(`"content":${content},"buffers":[]}`);
      expect(has, id).toBe(true);
    }
  }, 60_000);

  test("the event loop runs while it is received", async () => {
    const { publisher, ids } = await listening();
    const sent = publish(
      publisher,
      shown("large", { "text/plain": "x".repeat(60 * MB) }),
    );
    let turns = 0;
    for (; ids.length === 0; turns += 1) await turn();
    await sent;
    expect(turns).toBeGreaterThan(3);
  }, 60_000);

  test("messages of a kernel that has ended are received", async () => {
    const { publisher, ids, sockets } = await listening();
    const data = { "text/plain": "x".repeat(40 * MB) };
    const sent = publish(publisher, shown("large", data));
    await publish(publisher, shown("last", {}));
    await sent;
    publisher.linger = 10_000;
    publisher.close();
    await sockets.drained(5_000);
    await eventually("the last message", () => ids[1], 30_000);
    expect(ids).toEqual(["large", "last"]);
  }, 60_000);

  test("a connection that is lost in the middle loses only this message", async () => {
    const publisher = new XPublisher();
    const endpoint = await bound(publisher);
    const cut = await plainPeer((socket, nth) => {
      const behind = connect(portOf(endpoint), "127.0.0.1");
      behind.on("error", () => {});
      let passed = 0;
      behind.on("data", (chunk) => {
        passed += chunk.length;
        if (nth === 1 && passed > 10 * MB) {
          behind.destroy();
          socket.destroy();
        } else socket.write(chunk);
      });
      socket.on("data", (chunk) => behind.write(chunk));
      socket.on("close", () => behind.destroy());
    });
    const { ids, faults } = await listen(driver, cut);
    await subscribed(publisher);
    await publish(publisher, shown("before", {}));
    const data = { "text/plain": "x".repeat(40 * MB) };
    await publish(publisher, shown("lost", data));
    await subscribed(publisher);
    await publish(publisher, shown("whole", data));
    await publish(publisher, shown("after", {}));
    await eventually("the next message", () => ids[2], 30_000);
    expect(ids).toEqual(["before", "whole", "after"]);
    expect(faults.total(REFUSED)).toBe(0);
  }, 60_000);
});
