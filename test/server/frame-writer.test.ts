/** How frames of a journal are written to a WebSocket's stream. */
import { Duplex } from "node:stream";
import { expect, test } from "vitest";
import type { WebSocket } from "ws";
import { FrameWriter } from "../../src/server/socket.ts";

const LIMITS = { limit: 1_000, timeout_ms: 1_000 };

class Memory {
  pins = 0;
  pin(): void {
    this.pins += 1;
  }
  unpin(): void {
    this.pins -= 1;
  }
}

/** A connection, and each write of its stream. */
function connection(readyState: "open" | "closed") {
  const writes: string[] = [];
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _, done) {
      writes.push(chunk.toString());
      done();
    },
    writev(chunks, done) {
      writes.push(chunks.map(({ chunk }) => String(chunk)).join(""));
      done();
    },
  });
  const states = { OPEN: 1, readyState: readyState === "open" ? 1 : 3 };
  const socket = states as unknown as WebSocket;
  return { writer: new FrameWriter({ socket, stream }, LIMITS), writes };
}

const piecesOf = (...texts: readonly string[]) =>
  texts.map((text) => Buffer.from(text));

test("all frames that were added before a flush go out in one write, and their memory is then free", async () => {
  const { writer, writes } = connection("open");
  const memory = new Memory();
  writer.add(piecesOf("head 1 ", "text 1 "), memory);
  writer.add(piecesOf("head 2 ", "text 2"));
  expect([writes, memory.pins]).toEqual([[], 1]);
  writer.flush();
  await new Promise(setImmediate);
  expect(writes).toEqual(["head 1 text 1 head 2 text 2"]);
  expect(memory.pins).toBe(0);
});

test("a batch of flushes goes out in one write", () => {
  const { writer, writes } = connection("open");
  writer.batch(() => {
    for (const text of ["one ", "two"]) {
      writer.add(piecesOf(text));
      writer.flush();
    }
  });
  expect(writes).toEqual(["one two"]);
});

test("frames for a socket that is closed are dropped, and their memory is free", () => {
  const { writer, writes } = connection("closed");
  const memory = new Memory();
  writer.add(piecesOf("text"), memory);
  writer.flush();
  expect([writes, memory.pins]).toEqual([[], 0]);
});
