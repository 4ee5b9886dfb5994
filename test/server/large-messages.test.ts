import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { LargeMessageSocket } from "../../src/server/large-messages.ts";

const LIMIT = 1024 * 1024;

let server: WebSocketServer;
let client: WebSocket;
/** The messages that the server received; `bytes ` precedes binary ones. */
let received: string[];

beforeEach(async () => {
  server = new WebSocketServer({
    port: 0,
    host: "127.0.0.1",
    perMessageDeflate: false,
    maxPayload: LIMIT,
    WebSocket: LargeMessageSocket,
  });
  await once(server, "listening");
  received = [];
  server.on("connection", (socket) => {
    socket.on("error", () => {});
    socket.on("message", (data, isBinary) => {
      const text = Buffer.concat([data].flat() as Buffer[]).toString();
      received.push(isBinary ? `bytes ${text}` : text);
    });
  });
  const { port } = server.address() as AddressInfo;
  client = new WebSocket(`ws://127.0.0.1:${port}`, {
    perMessageDeflate: false,
  });
  await once(client, "open");
});

afterEach(() => {
  client.terminate();
  server.close();
});

/** Resolves when the server has read the earlier data. */
async function read(): Promise<void> {
  const ponged = once(client, "pong");
  client.ping();
  await ponged;
}

/** Resolves with the code with which the server ends the connection. */
async function closed(): Promise<number> {
  const [code] = (await once(client, "close")) as [number];
  return code;
}

/** Writes a masked frame below the client's `WebSocket`. */
function frame(first: number, payload: Buffer): Buffer {
  const mask = [0x12, 0x9e, 0x55, 0xf0];
  const header = Buffer.alloc(14);
  header[0] = first;
  header[1] = 0xff;
  header.writeBigUInt64BE(BigInt(payload.length), 2);
  header.set(mask, 10);
  const masked = payload.map((byte, at) => byte ^ (mask[at % 4] ?? 0));
  return Buffer.concat([header, masked]);
}

function write(bytes: Buffer): void {
  const { _socket: stream } = client as unknown as {
    _socket: { write: (bytes: Buffer) => void };
  };
  stream.write(bytes);
}

const TEXT = 0x81;
const BEGIN = 0x01;
const MIDDLE = 0x00;
const END = 0x80;

/** Characters of one to four bytes, so that pieces end inside them. */
const long = "aä€😀".repeat(20_000);

describe("A large message", () => {
  test("arrives complete, and in order with small ones", async () => {
    client.send("before");
    client.send(long);
    client.send("between");
    client.send(Buffer.alloc(LIMIT, "kernel"));
    client.send(`${long}!`);
    client.send("after");
    await read();
    expect(received).toEqual([
      "before",
      long,
      "between",
      `bytes ${Buffer.alloc(LIMIT, "kernel").toString()}`,
      `${long}!`,
      "after",
    ]);
  });

  test.each([65_535, 65_536, 65_537, 131_072, 131_073])(
    "of %i bytes arrives complete",
    async (size) => {
      const text = "x".repeat(size - 1) + "y";
      client.send(text);
      await read();
      expect(received).toEqual([text]);
    },
  );

  test("may arrive in fragments, with a ping between them", async () => {
    client.send(long.slice(0, 7), { fin: false });
    await read();
    client.send(long.slice(7), { fin: false });
    client.send("", { fin: false });
    client.send("the end", { fin: true });
    client.send("after");
    await read();
    expect(received).toEqual([`${long}the end`, "after"]);
  });

  test("arrives complete with any chunk boundaries", async () => {
    const bytes = Buffer.concat([
      frame(TEXT, Buffer.from("before")),
      frame(BEGIN, Buffer.from(long)),
      frame(END, Buffer.from("!")),
      frame(TEXT, Buffer.from("after")),
    ]);
    for (let at = 0; at < bytes.length;) {
      const size = at < 40 || at > bytes.length - 60 ? 1 : 9_973;
      write(bytes.subarray(at, at + size));
      await new Promise(setImmediate); // in its own packet
      at += size;
    }
    await read();
    expect(received).toEqual(["before", `${long}!`, "after"]);
  });

  test("that is too large ends the connection", async () => {
    const code = closed();
    client.send("x".repeat(LIMIT + 1));
    expect(await code).toBe(1009);
    expect(received).toEqual([]);
  });

  test("whose fragments together are too large ends the connection", async () => {
    const code = closed();
    client.send("x".repeat(LIMIT), { fin: false });
    client.send("x");
    expect(await code).toBe(1009);
    expect(received).toEqual([]);
  });

  test("that is not UTF-8, or ends inside a character, ends the connection", async () => {
    for (const bad of [Buffer.alloc(100_000, 0xff), Buffer.from(`${long}ä`)]) {
      const payload = bad.subarray(0, -1);
      const other = new WebSocket(client.url, { perMessageDeflate: false });
      await once(other, "open");
      other.send(payload, { binary: false });
      expect(await once(other, "close")).toEqual([1007, expect.anything()]);
    }
    expect(received).toEqual([]);
  });

  test("inside another message ends the connection", async () => {
    const code = closed();
    write(frame(BEGIN, Buffer.from("one")));
    write(frame(TEXT, Buffer.from("two")));
    expect(await code).toBe(1002);
    expect(received).toEqual([]);
  });

  test("that continues without a beginning ends the connection", async () => {
    const code = closed();
    write(frame(MIDDLE, Buffer.from(long)));
    expect(await code).toBe(1002);
    expect(received).toEqual([]);
  });
});
