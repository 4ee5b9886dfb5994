/**
 * The sockets to one kernel: shell, control, stdin, iopub.
 *
 * One set per kernel run, with an identity of its own: a ROUTER ignores a new
 * peer that has the identity of a peer it still knows. Shell and stdin share the
 * identity, because the kernel sends input requests to the sender of the code.
 */
import { randomBytes } from "node:crypto";
import type { ConnectionInfo } from "../../contract/index.ts";
import { type Refusal, FramesRefused } from "../jupyter/admission.ts";
import { FrameReader, type Signer } from "../jupyter/frames.ts";
import { Intake } from "../jupyter/intake.ts";
import { indexContent } from "../jupyter/large-json.ts";
import type { Channel, Message } from "../jupyter/message.ts";
import { withRecord } from "../jupyter/record.ts";
import type { Boundary } from "./boundary.ts";
import type { Hooks } from "./kernel.ts";
import { type Outgoing, signedTo } from "./outgoing.ts";
import type { CurveKeys, Link, LinkState } from "../zmq/transport.ts";

/** The most time for large messages of a kernel that is gone. */
const LONGEST_DRAIN_MS = 10_000;

/** Callbacks for messages of a kernel, and for the states of its channels. */
export interface SocketHooks extends Pick<
  Hooks,
  "message" | "burst" | "refused" | "caughtUp" | "tooLarge"
> {
  stateChanged(channel: Channel, state: LinkState, error?: Error): void;
}

/** `tcp://ip:port`, or `ipc://ip-port` as Jupyter names sockets of that transport. */
export function endpointOf(connection: ConnectionInfo, port: number): string {
  const { transport, ip } = connection;
  if (transport === "ipc") return `ipc://${ip}-${port}`;
  return `tcp://${ip.includes(":") ? `[${ip}]` : ip}:${port}`;
}

export class Sockets {
  readonly #outgoing: Readonly<Record<Channel, Outgoing>>;
  readonly #links: Link[] = [];
  readonly #states = new Map<Channel, LinkState>();
  /** Resolves when no large message is being received. */
  #busy: Promise<unknown> = Promise.resolve();
  #onDisconnect: (() => void) | undefined;

  constructor(
    boundary: Boundary,
    connection: ConnectionInfo,
    signer: Signer,
    hooks: SocketHooks,
  ) {
    const identity = randomBytes(16);
    identity[0] = 1; // identities that a ROUTER generates begin with zero
    const curve = curveOf(connection);
    const opened: Outgoing[] = [];
    const open = (channel: Channel, port: number): Outgoing => {
      const reader = new FrameReader(signer, (what) =>
        boundary.repaired(channel, what),
      );
      const isIopub = channel === "iopub";
      const intake = isIopub
        ? Intake.for(signer, (burst) => hooks.burst(burst))
        : undefined;
      const deliver = (read: Message | Refusal | undefined): void => {
        const { lastParent } = reader;
        if (lastParent !== undefined) {
          intake?.follow(lastParent.received, lastParent.msg_id);
        }
        if (read === undefined) return;
        if ("reason" in read) hooks.refused(read);
        else hooks.message(read);
      };
      const refusalOf = (error: unknown): Refusal | undefined => {
        if (!(error instanceof FramesRefused)) throw error;
        boundary.refused(channel, error.message);
        return error.refusal;
      };
      const link = boundary.connect(channel, {
        type: isIopub ? "sub" : "dealer",
        endpoint: endpointOf(connection, port),
        ...(isIopub ? { backpressure: () => hooks.caughtUp() } : { identity }),
        ...(intake !== undefined && { bulk: intake }),
        ...(curve !== undefined && { curve }),
        onMessage: (frames) => {
          let read: Message | Refusal | undefined;
          try {
            read = reader.read(frames, channel);
          } catch (error) {
            read = refusalOf(error);
          }
          deliver(read);
        },
        *onLarge(frames) {
          let read: Message | Refusal | undefined;
          try {
            read = yield* withRecord(yield* reader.reading(frames, channel));
            yield* indexContent(read);
          } catch (error) {
            read = refusalOf(error);
          }
          deliver(read);
        },
        busy: (until) => {
          const before = this.#busy;
          this.#busy = until.then(() => before);
        },
        onTooLarge: (size) => hooks.tooLarge(channel, size),
        onState: (state, error) => {
          this.#states.set(channel, state);
          if (state !== "connected") this.#onDisconnect?.();
          hooks.stateChanged(channel, state, error);
        },
      });
      this.#links.push(link);
      const outgoing = signedTo(link, signer);
      opened.push(outgoing);
      return outgoing;
    };
    try {
      this.#outgoing = {
        iopub: open("iopub", connection.iopub_port), // first, so that it is connected when the kernel answers on the others
        shell: open("shell", connection.shell_port),
        control: open("control", connection.control_port),
        stdin: open("stdin", connection.stdin_port),
      };
    } catch (error) {
      for (const outgoing of opened) outgoing.close();
      throw error;
    }
  }

  isConnected(channel: Channel): boolean {
    return this.#states.get(channel) === "connected";
  }

  /** Whether a message of the kernel is being received, on any channel. */
  get isReceiving(): boolean {
    return this.#links.some(({ isReceiving }) => isReceiving);
  }

  /** server → kernel, in order. Throws a `LinkError`. */
  send(message: Message): void {
    this.#outgoing[message.channel].send(message);
  }

  /**
   * Resolves when no more messages can arrive: the kernel has closed iopub and
   * shell, and all sent messages were read. Waits at most `timeout_ms`, plus the
   * time for large messages that are being received.
   */
  async drained(timeout_ms: number): Promise<void> {
    const latest = performance.now() + LONGEST_DRAIN_MS;
    for (;;) {
      const busy = this.#busy;
      await busy;
      await this.#disconnected(timeout_ms);
      if (this.#busy === busy || performance.now() > latest) return;
    }
  }

  async #disconnected(timeout_ms: number): Promise<void> {
    const timer = AbortSignal.timeout(timeout_ms);
    while (
      !timer.aborted &&
      (this.isConnected("iopub") || this.isConnected("shell"))
    ) {
      await new Promise<void>((resolve) => {
        this.#onDisconnect = resolve;
        timer.addEventListener("abort", () => resolve(), { once: true });
      });
    }
  }

  close(): void {
    for (const outgoing of Object.values(this.#outgoing)) outgoing.close();
  }
}

/** CurveZMQ keys that a connection file may carry (JEP 145). */
export function curveOf(connection: ConnectionInfo): CurveKeys | undefined {
  const { curve_publickey: publicKey, curve_secretkey: secretKey } =
    connection as Record<string, unknown>;
  return typeof publicKey === "string" && typeof secretKey === "string"
    ? { publicKey, secretKey }
    : undefined;
}
