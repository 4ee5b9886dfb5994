/**
 * A TCP proxy that breaks connections at positions that a seed determines: it
 * cuts, delays, closes one half, or replaces data by random bytes and then
 * cuts. Every fault ends the connection within LINGER_MS.
 */
import { once } from "node:events";
import {
  type AddressInfo,
  connect,
  createServer,
  type NetConnectOpts,
  type Server,
  type Socket,
} from "node:net";

export type Fault = "cut" | "delay" | "half-close" | "noise";

/** How long a connection stays open after a fault that does not end it at once. */
const LINGER_MS = 60;

export class FaultyProxy implements AsyncDisposable {
  /** The number of faults of each kind. */
  readonly faults: Record<Fault, number> = {
    cut: 0,
    delay: 0,
    "half-close": 0,
    noise: 0,
  };
  readonly url: string;
  /** Whether it passes everything from now on, also on new connections. */
  isKind = false;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, target: NetConnectOpts, faults: Plan) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("connection", (client) => {
      const upstream = connect({ ...target, allowHalfOpen: true });
      const pair = { ...faults, client, upstream };
      this.#carry(pair, client, upstream);
      this.#carry(pair, upstream, client);
    });
  }

  /** A fault occurs within `reach` bytes of each direction of each connection. `target`: a URL, or the path of a Unix socket. */
  static async to(
    target: string,
    seed: number,
    reach: number,
    kinds: readonly Fault[] = FAULTS,
  ): Promise<FaultyProxy> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const upstream = target.startsWith("/")
      ? { path: target }
      : { port: Number(new URL(target).port), host: "127.0.0.1" };
    const random = randomFrom(seed);
    return new FaultyProxy(server, upstream, { random, reach, kinds });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #carry(pair: Pair, from: Socket, to: Socket): void {
    const { client, upstream, random, reach, kinds } = pair;
    this.#sockets.add(from);
    const both = () => {
      client.destroy();
      upstream.destroy();
    };
    let left = Math.floor(random() * reach);
    let isMuted = false;
    from.on("error", both);
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroySoon();
    });
    from.on("end", () => to.end());
    from.on("data", (chunk: Buffer) => {
      if (isMuted) return;
      if (this.isKind || chunk.length <= left) {
        left -= chunk.length;
        pass(from, to, chunk);
        return;
      }
      const fault = kinds[Math.floor(random() * kinds.length)] ?? "cut";
      this.faults[fault] += 1;
      const before = chunk.subarray(0, left);
      const after = chunk.subarray(left);
      left = Math.floor(random() * reach);
      to.write(before);
      switch (fault) {
        case "cut":
          both();
          return;
        case "delay":
          from.pause();
          setTimeout(() => {
            pass(from, to, after);
            from.resume();
          }, random() * LINGER_MS);
          return;
        case "half-close":
          isMuted = true;
          to.end();
          setTimeout(both, LINGER_MS);
          return;
        case "noise":
          isMuted = true;
          to.write(from === client ? noise(random) : NO_TEXT);
          setTimeout(both, LINGER_MS);
      }
    });
  }
}

interface Plan {
  readonly random: Random;
  readonly reach: number;
  readonly kinds: readonly Fault[];
}

interface Pair extends Plan {
  readonly client: Socket;
  readonly upstream: Socket;
}

const FAULTS: readonly Fault[] = ["cut", "delay", "half-close", "noise"];

function pass(from: Socket, to: Socket, chunk: Buffer): void {
  if (to.write(chunk)) return;
  from.pause();
  to.once("drain", () => from.resume());
}

/** No part of it is text, or the beginning of a frame. */
const NO_TEXT = Buffer.alloc(64, 0xff);

/** Long and random, so that it is not text with any mask. */
function noise(random: Random): Buffer {
  return Buffer.from(
    Array.from({ length: 64 }, () => Math.floor(random() * 256)),
  );
}

export type Random = () => number;

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
