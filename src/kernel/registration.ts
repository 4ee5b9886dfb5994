/**
 * JEP 66: the kernel binds ports of its own choosing and reports them to a
 * socket of ours.
 *
 * Two dialects are understood, and answered in kind: the specification's (one
 * content frame after the signature, ports as text) and Posit's (a whole
 * `handshake_request` message from a REQ socket, ports as numbers).
 */
import * as z from "zod";
import type { ConnectionInfo } from "../../contract/index.ts";
import {
  DELIMITER,
  FrameReader,
  type Signer,
  toFrames,
} from "../jupyter/frames.ts";
import { compose, contentOf, EMPTY_OBJECT } from "../jupyter/message.ts";
import { Router } from "./zmtp/router.ts";

const Port = z.coerce.number().int().min(1).max(65535);
const Ports = z.object({
  shell_port: Port,
  iopub_port: Port,
  stdin_port: Port,
  control_port: Port,
  hb_port: Port,
});

/** Why a registration was refused. Holds nothing of what was sent. */
export class BadRegistration extends Error {
  override readonly name = "BadRegistration";
}

export interface Registration extends AsyncDisposable {
  /** Where the kernel reports to. */
  readonly port: number;
  /** Resolves with what the first good registration says; rejects with `BadRegistration` for one that is signed by us and makes no sense. */
  readonly connection: Promise<ConnectionInfo>;
}

/** Binds a socket on loopback that waits for one kernel, which signs with `key`. */
export async function awaitRegistration(
  key: string,
  signer: Signer,
): Promise<Registration> {
  let accept: (connection: ConnectionInfo) => void = () => {};
  let refuse: (why: BadRegistration) => void = () => {};
  const connection = new Promise<ConnectionInfo>((resolve, reject) => {
    accept = resolve;
    refuse = reject;
  });
  connection.catch(() => {}); // whoever launches awaits it; a launch that failed before does not
  const router = await Router.bind((frames, answer) => {
    const request = read(frames, signer);
    if (request === undefined) return; // not from our kernel
    const ports = Ports.safeParse(request.content);
    if (!ports.success) {
      refuse(
        new BadRegistration(
          "the kernel's registration does not name its five ports",
        ),
      );
      return;
    }
    answer(request.acknowledge(signer));
    accept({
      ...ports.data,
      ip: "127.0.0.1",
      transport: "tcp",
      signature_scheme: "hmac-sha256",
      key,
    });
  });
  return {
    port: router.port,
    connection,
    [Symbol.asyncDispose]() {
      router[Symbol.dispose]();
      refuse(new BadRegistration("the registration socket was closed"));
      return Promise.resolve();
    },
  };
}

interface RegistrationRequest {
  readonly content: unknown;
  /** The answer in the dialect of the request, to the same peer. */
  acknowledge(signer: Signer): Uint8Array[];
}

/** `undefined` for what is not signed with the key, or is no registration. */
function read(
  frames: readonly Uint8Array[],
  signer: Signer,
): RegistrationRequest | undefined {
  const at = frames.findIndex(
    (frame) => Buffer.compare(frame, DELIMITER) === 0,
  );
  const identities = frames.slice(0, Math.max(at, 0));
  try {
    if (at !== -1 && frames.length - at === 3) {
      return readSpecified(frames.slice(at + 1), identities, signer);
    }
    const message = new FrameReader(signer).read(frames, "control");
    if (message.header.msg_type !== "handshake_request") return undefined;
    const reply = compose({
      channel: "control",
      msg_type: "handshake_reply",
      content: { status: "ok", capabilities: {} },
      session: message.header.session ?? "",
      username: message.header.username ?? "",
      parent: message,
    });
    return {
      content: contentOf(message),
      acknowledge: () => toFrames(reply, signer, identities),
    };
  } catch {
    return undefined; // whatever it was, our kernel did not say it
  }
}

/** The specification's dialect signs the one frame that there is. */
function readSpecified(
  [signature, content]: readonly Uint8Array[],
  identities: readonly Uint8Array[],
  signer: Signer,
): RegistrationRequest | undefined {
  if (signature === undefined || content === undefined) return undefined;
  if (!signer.verifies(signature, only(content))) return undefined;
  return {
    content: JSON.parse(Buffer.from(content).toString()),
    acknowledge: () => {
      const answer = Buffer.from(JSON.stringify({ status: "ok" }));
      return [...identities, DELIMITER, signer.sign(only(answer)), answer];
    },
  };
}

function only(content: Uint8Array) {
  const nothing = EMPTY_OBJECT.subarray(0, 0);
  return {
    header: nothing,
    parent_header: nothing,
    metadata: nothing,
    content,
  };
}
