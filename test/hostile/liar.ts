/**
 * A kernel that is to be adopted. It sends the bytes of a test on its sockets,
 * and as answers to the server's own requests.
 */
import {
  type ReceivedMessage,
  Signer,
  toFrames,
} from "../../src/jupyter/frames.ts";
import { type Channel, compose } from "../../src/jupyter/message.ts";
import type { ConnectionInfo } from "../../kernels/connection.ts";
import { Wire } from "../../kernels/wire.ts";
import { kernelInfo } from "../kernels/kernel-info.ts";

/** The key of its signatures. */
export const KEY = "the liar's key";
const NOTHING = Buffer.from("{}");

/** The four JSON frames of a message; omitted ones are correct. */
export interface Lie {
  readonly msg_type: string;
  readonly header?: Uint8Array;
  readonly parent_header?: Uint8Array;
  readonly metadata?: Uint8Array;
  readonly content?: Uint8Array;
  readonly buffers?: readonly Uint8Array[];
}

export class Liar implements AsyncDisposable {
  readonly #wire: Wire;
  /** The content of its replies, by the request's type; `undefined` for a correct one. */
  readonly #answers: ReadonlyMap<string, Uint8Array>;
  /** The last request header of each type. */
  readonly requested = new Map<string, Uint8Array>();
  /** The senders of requests, by channel: a ROUTER needs the peer's identity. */
  readonly #peers = new Map<Channel, readonly Uint8Array[]>();

  static async open(
    answers: Readonly<Record<string, string>> = {},
  ): Promise<Liar> {
    const contents = new Map(
      Object.entries(answers).map(([type, text]) => [type, Buffer.from(text)]),
    );
    let receive: (request: ReceivedMessage) => void = () => {};
    const wire = await Wire.bind({
      connection: {
        transport: "tcp",
        ip: "127.0.0.1",
        key: KEY,
        signature_scheme: "hmac-sha256",
        shell_port: 0,
        iopub_port: 0,
        stdin_port: 0,
        control_port: 0,
        hb_port: 0,
      },
      onMessage: (request) => receive(request),
    });
    const liar = new Liar(wire, contents);
    receive = (request) => void liar.#receive(request);
    return liar;
  }

  private constructor(wire: Wire, answers: ReadonlyMap<string, Uint8Array>) {
    this.#wire = wire;
    this.#answers = answers;
  }

  get connection(): ConnectionInfo {
    return this.#wire.connection;
  }

  /** Sends signed frames. */
  send(channel: Channel, lie: Lie): Promise<void> {
    return this.sayFrames(channel, framesOf(lie, this.#wire.signer));
  }

  /** Sends frames unchanged to the last sender on that channel. */
  sayFrames(channel: Channel, frames: readonly Uint8Array[]): Promise<void> {
    const peer = this.#peers.get(channel) ?? this.#peers.get("shell") ?? [];
    const identities = channel === "iopub" ? [] : peer;
    return this.#wire.sendFrames(channel, [...identities, ...frames]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#wire.close(0);
  }

  /** Other requests are answered as by a kernel; code never completes. */
  async #receive(request: ReceivedMessage): Promise<void> {
    const { channel, header, identities } = request;
    this.#peers.set(channel, identities);
    const { msg_type } = header;
    this.requested.set(msg_type, Uint8Array.from(request.raw.header));
    const given = this.#answers.get(msg_type);
    const content =
      msg_type === "kernel_info_request"
        ? { status: "ok", ...kernelInfo("liar") }
        : { status: "ok" };
    if (msg_type === "execute_request") return;
    const draft = { session: "liar", username: "liar", parent: request };
    const state = (execution_state: string) =>
      this.#wire.send(
        compose({
          ...draft,
          channel: "iopub",
          msg_type: "status",
          content: { execution_state },
        }),
      );
    await state("busy");
    const reply = compose({
      ...draft,
      channel,
      msg_type: msg_type.replace("_request", "_reply"),
      content,
    });
    const raw =
      given === undefined ? reply.raw : { ...reply.raw, content: given };
    await this.#wire.send({ ...reply, raw }, identities);
    await state("idle");
  }
}

/** A complete message, signed with the liar's own key or another one. */
export function framesOf(
  { msg_type, header, parent_header, metadata, content, buffers = [] }: Lie,
  signer = new Signer(KEY),
): Uint8Array[] {
  const honest = { msg_id: crypto.randomUUID(), msg_type, session: "liar" };
  const raw = {
    header: header ?? Buffer.from(JSON.stringify(honest)),
    parent_header: parent_header ?? NOTHING,
    metadata: metadata ?? NOTHING,
    content: content ?? NOTHING,
  };
  return toFrames({ raw, buffers }, signer);
}
