/** Messages to a kernel on one channel, with both drivers, and with libzmq's own socket as the kernel. */
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { Router } from "zeromq";
import { FrameReader, Signer } from "../../src/jupyter/frames.ts";
import { compose, contentOf, type Message } from "../../src/jupyter/message.ts";
import { signedTo } from "../../src/kernel/outgoing.ts";
import { libzmq } from "../../src/zmq/libzmq.ts";
import type { KernelTransport } from "../../src/zmq/transport.ts";
import { zmtp } from "../../src/zmq/zmtp.ts";
import { bound, closeAll } from "../zmq/peers.ts";
import { Listener } from "../zmq/listener.ts";

const MIB = 1024 * 1024;
const KEY = "the key of the kernel";
const FULL: unknown = expect.objectContaining({ why: "full" });
const CLOSED: unknown = expect.objectContaining({ why: "closed" });

afterEach(closeAll);

function request(code: string, buffers: readonly Uint8Array[] = []): Message {
  return compose({
    channel: "shell",
    msg_type: "execute_request",
    content: { code },
    session: "s",
    username: "tester",
    buffers,
  });
}

/** Reads as a kernel does, which accepts only messages that are signed with its key. */
async function read(router: Router, count: number): Promise<Message[]> {
  const reader = new FrameReader(new Signer(KEY));
  const messages: Message[] = [];
  while (messages.length < count) {
    const frames = await router.receive();
    messages.push(reader.read(frames, "shell"));
  }
  return messages;
}

async function opened(driver: KernelTransport, router: Router) {
  const endpoint = await bound(router);
  const { link } = new Listener(driver, { type: "dealer", endpoint });
  return signedTo(link, new Signer(KEY));
}

describe.each([zmtp, libzmq])("by $name", (driver) => {
  test("a large message arrives complete and signed, and no message overtakes it", async () => {
    const router = new Router();
    const outgoing = await opened(driver, router);
    const codes = ["small", "x\n".repeat(5 * MIB), "a", "é".repeat(MIB), "b"];
    for (const code of codes) outgoing.send(request(code));
    const messages = await read(router, codes.length);
    const received = messages.map((message) => contentOf(message)?.["code"]);
    expect(received.map((code) => (code as string).length)).toEqual(
      codes.map(({ length }) => length),
    );
    expect(received.every((code, index) => code === codes[index])).toBe(true);
    outgoing.close();
  });

  test("the event loop runs while a large message is signed", async () => {
    const router = new Router();
    const outgoing = await opened(driver, router);
    let turns = 0;
    const over = new AbortController();
    outgoing.send(request("x".repeat(60 * MIB)));
    void read(router, 1).then(() => over.abort());
    while (!over.signal.aborted) {
      await turn();
      turns += 1;
    }
    expect(turns).toBeGreaterThan(3);
    outgoing.close();
  });

  test("a message beyond the limit is refused at once, while a large message is signed", async () => {
    const router = new Router();
    const outgoing = await opened(driver, router);
    const large = new Uint8Array(100 * MIB);
    outgoing.send(request("one", [large]));
    outgoing.send(request("two", [large]));
    expect(() => outgoing.send(request("three", [large]))).toThrow(FULL);
    outgoing.send(request("four"));
    const messages = await read(router, 3);
    expect(messages.map((message) => contentOf(message))).toEqual([
      { code: "one" },
      { code: "two" },
      { code: "four" },
    ]);
    outgoing.close();
  });

  test("after close, every send fails with the reason", async () => {
    const outgoing = await opened(driver, new Router());
    outgoing.send(request("x".repeat(MIB)));
    outgoing.close();
    expect(() => outgoing.send(request("x".repeat(MIB)))).toThrow(CLOSED);
    expect(() => outgoing.send(request("small"))).toThrow(CLOSED);
  });
});

test("a signature made in steps is the same", () => {
  const signer = new Signer(KEY);
  const { raw } = request("x".repeat(MIB));
  const steps = signer.signing(raw);
  for (;;) {
    const { done, value } = steps.next();
    if (done !== true) continue;
    expect(Buffer.from(value).toString()).toBe(
      Buffer.from(signer.sign(raw)).toString(),
    );
    expect(signer.verifies(value, raw)).toBe(true);
    return;
  }
});
