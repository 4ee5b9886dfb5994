/** Jupyter's messages on ZeroMQ in the simplest way, for the plain server. */
import { createHmac } from "node:crypto";
import type { ConnectionInfo } from "../../kernels/connection.ts";
import { libzmq } from "../../src/zmq/libzmq.ts";
import type { Frames, Link } from "../../src/zmq/transport.ts";
import { zmtp } from "../../src/zmq/zmtp.ts";
import type { Message } from "./server.ts";

export type Driver = "zmtp" | "libzmq";

/** Receives the kernel's messages on shell and iopub. */
export function listen(
  connection: ConnectionInfo,
  driver: Driver,
  onFrames: (channel: "shell" | "iopub", frames: Frames) => void,
): { send(message: Message): void; close(): void } {
  const transport = driver === "zmtp" ? zmtp : libzmq;
  const link = (channel: "shell" | "iopub"): Link => {
    const port =
      channel === "shell" ? connection.shell_port : connection.iopub_port;
    return transport.connect({
      endpoint: `ipc://${connection.ip}-${port}`,
      ...(channel === "shell"
        ? { type: "dealer", identity: Buffer.from("bench") }
        : { type: "sub" }),
      onMessages(batch) {
        for (const frames of batch) onFrames(channel, frames);
      },
    });
  };
  const links = [link("shell"), link("iopub")] as const;
  return {
    send: (message) => links[0].send(signed(message, connection.key)),
    close() {
      for (const each of links) each.close();
    },
  };
}

function signed(message: Message, key: string): Frames {
  const { header, parent_header, metadata, content } = message;
  const four = [header, parent_header, metadata, content].map((each) =>
    Buffer.from(JSON.stringify(each)),
  );
  return [Buffer.from("<IDS|MSG>"), signatureOf(four, key), ...four];
}

/** The frames after the signature. Throws if the signature is wrong. */
export function verified(frames: Frames, key: string): readonly Uint8Array[] {
  const at = frames.findIndex(
    (frame) => frame.length === 9 && textOf(frame) === "<IDS|MSG>",
  );
  const [signature = new Uint8Array(), ...rest] = frames.slice(at + 1);
  if (!signatureOf(rest.slice(0, 4), key).equals(signature))
    throw new Error("The signature of a message is wrong");
  return rest;
}

export function parsed(
  frames: readonly Uint8Array[],
): Pick<Message, "header" | "parent_header" | "metadata" | "content"> {
  const [header, parent_header, metadata, content] = frames
    .slice(0, 4)
    .map((frame) => JSON.parse(textOf(frame)) as Message["content"]);
  return { header, parent_header, metadata, content } as Message;
}

export function textOf(frame: Uint8Array): string {
  return Buffer.from(frame.buffer, frame.byteOffset, frame.length).toString();
}

function signatureOf(four: readonly Uint8Array[], key: string): Buffer {
  const hmac = createHmac("sha256", key);
  for (const frame of four) hmac.update(frame);
  return Buffer.from(hmac.digest("hex"));
}
