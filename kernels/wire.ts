/**
 * The kernel's five sockets: shell, control and stdin (ROUTER), iopub (XPUB)
 * and the heartbeat, which echoes.
 *
 * Messages of one channel leave in the order in which the kernel sent them.
 * Requests are read one at a time, as fast as `onMessage` accepts them. If more than
 * a thousand wait, the clients wait.
 */
import { FramesRefused } from "../src/jupyter/admission.ts";
import {
  FrameReader,
  Signer,
  toFrames,
  type ReceivedMessage,
} from "../src/jupyter/frames.ts";
import type { Channel, Message } from "../src/jupyter/message.ts";
import { Router, XPublisher } from "./bound.ts";
import { portNames, type ConnectionInfo, type Ports } from "./connection.ts";

export interface WireOptions {
  readonly connection: ConnectionInfo;
  /** client → kernel. The next message of the channel is read when this resolves. Must not reject. */
  readonly onMessage: (message: ReceivedMessage) => Promise<void> | void;
  /** Called when a client has subscribed to iopub (JEP 65); the topic is usually empty. */
  readonly subscribed?: (topic: Uint8Array) => void;
  /**
   * The most messages that wait for one slow subscriber. Beyond it XPUB drops
   * messages, as in every kernel. 0: no limit.
   */
  readonly iopubLimit?: number;
}

export class Wire implements AsyncDisposable {
  /** The connection, with the bound ports instead of zeros. */
  readonly connection: ConnectionInfo;
  readonly signer: Signer;
  readonly #queues: Readonly<Record<Channel, SendQueue>>;
  readonly #heartbeatQueue: SendQueue;
  #isHeartbeatOn = true;
  readonly #readers: readonly Promise<void>[];

  /** Resolves when all five sockets are bound. Rejects if one cannot be bound, and leaves no socket open. */
  static async bind(options: WireOptions): Promise<Wire> {
    const { connection, iopubLimit = 10_000 } = options;
    const sockets = {
      shell: new Router(),
      iopub: new XPublisher(iopubLimit),
      stdin: new Router(),
      control: new Router(),
      hb: new Router(),
    };
    try {
      const ports = await bindAll(sockets, connection);
      return new Wire(sockets, { ...connection, ...ports }, options);
    } catch (cause) {
      for (const socket of Object.values(sockets)) void socket.close(0);
      throw cause;
    }
  }

  private constructor(
    sockets: Sockets,
    connection: ConnectionInfo,
    { onMessage, subscribed }: WireOptions,
  ) {
    this.connection = connection;
    this.signer = new Signer(connection.key, connection.signature_scheme);
    this.#queues = {
      shell: sendQueueOf(sockets.shell),
      control: sendQueueOf(sockets.control),
      stdin: sendQueueOf(sockets.stdin),
      iopub: sendQueueOf(sockets.iopub),
    };
    this.#heartbeatQueue = sendQueueOf(sockets.hb);
    this.#readers = [
      this.#read("shell", sockets.shell, onMessage),
      this.#read("control", sockets.control, onMessage),
      this.#read("stdin", sockets.stdin, onMessage),
      readSubscriptions(sockets.iopub, subscribed),
      this.#echo(sockets.hb),
    ];
  }

  /** kernel → client. Resolves when the message is queued. Never rejects: a closed wire drops messages. */
  send(
    message: Message,
    identities: readonly Uint8Array[] = [],
  ): Promise<void> {
    return this.sendFrames(
      message.channel,
      toFrames(message, this.signer, identities),
    );
  }

  /** Sends any frames, also broken ones or ones with a wrong signature. */
  sendFrames(channel: Channel, frames: readonly Uint8Array[]): Promise<void> {
    return this.#queues[channel].send(frames);
  }

  /** The heartbeat socket stays bound and no longer echoes. */
  stopHeartbeat(): void {
    this.#isHeartbeatOn = false;
  }

  startHeartbeat(): void {
    this.#isHeartbeatOn = true;
  }

  /** Waits up to `flush_ms` until all messages are sent, then closes. */
  async close(flush_ms = 500): Promise<void> {
    const queues = [...Object.values(this.#queues), this.#heartbeatQueue];
    await Promise.all(queues.map((line) => line.close(flush_ms)));
    await Promise.all(this.#readers);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Sends each message back unchanged to its sender. */
  async #echo(socket: Router): Promise<void> {
    for await (const frames of socket) {
      if (this.#isHeartbeatOn) await this.#heartbeatQueue.send(frames);
    }
  }

  /** client → kernel */
  async #read(
    channel: Channel,
    socket: Router,
    onMessage: WireOptions["onMessage"],
  ): Promise<void> {
    const reader = new FrameReader(this.signer);
    for await (const frames of socket) {
      let message;
      try {
        message = reader.read(frames, channel);
      } catch (error) {
        if (!(error instanceof FramesRefused)) throw error;
        console.error(`A message on ${channel} was dropped: ${error.message}`);
        continue;
      }
      await onMessage(message);
    }
  }
}

interface Sockets {
  readonly shell: Router;
  readonly iopub: XPublisher;
  readonly stdin: Router;
  readonly control: Router;
  readonly hb: Router;
}

async function bindAll(
  sockets: Sockets,
  { transport, ip, ...ports }: ConnectionInfo,
): Promise<Ports> {
  const bound = portNames.map(async (name) => {
    const socket = sockets[name.replace("_port", "") as keyof Sockets];
    const port = await socket.bind({ transport, ip, port: ports[name] });
    return [name, port] as const;
  });
  return Object.fromEntries(await Promise.all(bound)) as Ports;
}

/** A socket that sends one message after the other. */
interface SendQueue {
  /** Never rejects. */
  send(frames: readonly Uint8Array[]): Promise<void>;
  close(linger_ms: number): Promise<void>;
}

function sendQueueOf(socket: Router | XPublisher): SendQueue {
  let last: Promise<void> = Promise.resolve();
  return {
    send(frames) {
      last = last
        .then(() => socket.send(frames))
        .catch((error: unknown) => {
          if (!socket.isClosed) console.error("A message was not sent:", error);
        });
      return last;
    },
    async close(linger_ms) {
      await last;
      await socket.close(linger_ms);
    },
  };
}

/** XPUB reports each subscription as one frame: the byte 1, then the topic. */
async function readSubscriptions(
  socket: XPublisher,
  subscribed: WireOptions["subscribed"],
): Promise<void> {
  for await (const [frame] of socket) {
    if (frame?.[0] === 1) subscribed?.(frame.subarray(1));
  }
}
