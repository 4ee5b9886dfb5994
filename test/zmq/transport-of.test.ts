/** Which driver gets a link, and how libzmq is used for links that the own driver cannot serve. */
import type { Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { curveKeyPair, Router } from "zeromq";
import { libzmq, libzmqFrom } from "../../src/zmq/libzmq.ts";
import { either, transportOf } from "../../src/zmq/transport-of.ts";
import type { KernelTransport } from "../../src/zmq/transport.ts";
import { zmtp } from "../../src/zmq/zmtp.ts";
import { eventually } from "../harness.ts";
import { Listener } from "./listener.ts";
import { bound, closeAll, plainPeer, received } from "./peers.ts";

afterEach(closeAll);

const NOWHERE = "tcp://127.0.0.1:1";

/** A driver that must not be used. */
const never: KernelTransport = {
  name: "never",
  connect: () => {
    throw new Error("the wrong driver was asked");
  },
};

describe("transportOf", () => {
  it("returns the named driver", () => {
    expect(transportOf("zmtp")).toBe(zmtp);
    expect(transportOf("libzmq")).toBe(libzmq);
    expect(transportOf().name).toBe("auto");
  });

  it("does not use libzmq if the own driver works", async () => {
    const router = new Router();
    const endpoint = await bound(router);
    using link = new Listener(either(zmtp, never), {
      type: "dealer",
      endpoint,
    });
    link.send("hello");
    expect(String((await router.receive())[1])).toBe("hello");
    await link.is("connected");
    link.link.close();
    expect(link.states).toEqual(["connected", "closed"]);
  });

  it("gives links with curve keys to libzmq", async () => {
    const curve = curveKeyPair();
    const router = new Router({
      curveServer: true,
      curvePublicKey: curve.publicKey,
      curveSecretKey: curve.secretKey,
    });
    const endpoint = await bound(router);
    using link = new Listener(either(never, libzmq), {
      type: "dealer",
      endpoint,
      curve,
    });
    link.send("secret");
    const [sender = "", text] = await router.receive();
    expect(String(text)).toBe("secret");
    await router.send([sender, "kept"]);
    expect(String(await link.received(1))).toBe("kept");
    await link.is("connected");
  });

  it("moves a link to a peer of ZMTP 2 to libzmq, with all waiting messages, once", async () => {
    const heard: Promise<Buffer>[] = [];
    const endpoint = await plainPeer((socket) => {
      heard.push(asZmtp2Router(socket));
    });
    using link = new Listener(transportOf(), { type: "dealer", endpoint });
    link.send("one", "1");
    link.send("two");
    await link.is("connected");
    link.send("three");
    const messages = await Promise.any(heard);
    expect(messages.toString("latin1")).toBe(
      "\x01\x03one\x00\x011\x00\x03two\x00\x05three",
    );
    expect(link.states).toEqual(["connected"]);
  });

  it("drops the waiting messages if the link is closed before the peer is known", () => {
    using link = new Listener(transportOf(), {
      type: "dealer",
      endpoint: NOWHERE,
    });
    link.send("dropped");
    expect(link.link.waiting).toBeGreaterThan(0);
    link.link.close();
    expect(link.link.waiting).toBe(0);
    expect(() => link.send("late")).toThrow(
      expect.objectContaining({ name: "LinkError", why: "closed" }),
    );
    expect(link.states).toEqual(["closed"]);
  });
});

describe("a kernel that requires CURVE, without keys", () => {
  it.each([zmtp, libzmq])("closes the link of $name", async (driver) => {
    const curve = curveKeyPair();
    const router = new Router({
      curveServer: true,
      curveSecretKey: curve.secretKey,
    });
    const endpoint = await bound(router);
    using link = new Listener(driver, { type: "dealer", endpoint });
    const error = await link.is("closed");
    expect(error?.message).toContain(endpoint);
    expect(error?.message).toMatch(/mechanism/);
  });
});

describe("zmtp", () => {
  it("refuses curve keys, because it cannot encrypt", () => {
    const curve = { publicKey: "", secretKey: "" };
    expect(
      () => new Listener(zmtp, { type: "dealer", endpoint: NOWHERE, curve }),
    ).toThrow(RangeError);
  });
});

describe("libzmq", () => {
  it("says what to install if its package cannot be loaded", async () => {
    const cause = new Error("Cannot find package 'zeromq'");
    const without = libzmqFrom(() => Promise.reject(cause));
    using link = new Listener(without, { type: "dealer", endpoint: NOWHERE });
    link.send("dropped");
    const error = await link.is("closed");
    expect(error?.message).toContain("npm install zeromq");
    expect(error?.cause).toBe(cause);
    expect(() => link.send("late")).toThrow(
      expect.objectContaining({ name: "LinkError", why: "closed" }),
    );
  });

  it("reports no state while the peer closes each connection before its handshake", async () => {
    let connections = 0;
    const endpoint = await plainPeer((socket) => {
      connections += 1;
      socket.destroy();
    });
    using link = new Listener(libzmq, { type: "dealer", endpoint });
    await eventually("three attempts", () => connections > 3 || undefined);
    link.link.close();
    expect(link.states).toEqual(["closed"]);
  });

  it("does not connect a link that was closed while the package was loaded", async () => {
    let finishLoading: () => void = () => {};
    const loaded = new Promise<void>((resolve) => (finishLoading = resolve));
    const slow = libzmqFrom(() => loaded.then(() => import("zeromq")));
    const connected: string[] = [];
    const closed = await plainPeer(() => connected.push("closed"));
    const open = await plainPeer(() => connected.push("open"));
    new Listener(slow, { type: "dealer", endpoint: closed }).link.close();
    using _ = new Listener(slow, { type: "dealer", endpoint: open });
    finishLoading();
    await eventually("a connection", () =>
      connected.includes("open") ? true : undefined,
    );
    expect(connected).toEqual(["open"]);
  });

  it("closes with a reason if the curve keys are not valid", async () => {
    const curve = { publicKey: "too short", secretKey: "too short" };
    using link = new Listener(libzmq, {
      type: "dealer",
      endpoint: NOWHERE,
      curve,
    });
    expect(await link.is("closed")).toBeInstanceOf(Error);
  });
});

/**
 * A ROUTER of libzmq 3.2 (RFC 15): signature, revision 1, socket type 6, an
 * empty identity. Resolves with the bytes of the messages, after the peer's own
 * identity.
 */
async function asZmtp2Router(socket: Socket): Promise<Buffer> {
  socket.write(Buffer.from("ff00000000000000017f", "hex"));
  const beginning = await received(socket, 10);
  socket.write(Buffer.from("01060000", "hex"));
  const introduction = 14;
  const messages = 5 + 3 + 5 + 7;
  const rest = introduction + messages - beginning.length;
  return Buffer.concat([beginning, await received(socket, rest)]).subarray(
    introduction,
  );
}
