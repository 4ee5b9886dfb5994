/**
 * JEP 66: the kernel chooses its own ports, binds them, and reports them to a
 * socket of the server.
 *
 * The server supports two dialects, and answers in the dialect of the request:
 * the specification's (one content frame after the signature, ports as text) and
 * Posit's (a whole `handshake_request` message from a REQ socket, ports as
 * numbers).
 */
import type { ConnectionInfo } from "../../contract/index.ts";
import {
  DELIMITER,
  FrameReader,
  type ReceivedMessage,
  Signer,
  toFrames,
} from "../jupyter/frames.ts";
import { compose, EMPTY_OBJECT, objectOf } from "../jupyter/message.ts";
import { isFault, KernelFault } from "./fault.ts";
import { bindRouter } from "../zmq/zmtp/router.ts";

const PORT_NAMES = [
  "shell_port",
  "iopub_port",
  "stdin_port",
  "control_port",
  "hb_port",
] as const;
type Ports = Readonly<Record<(typeof PORT_NAMES)[number], number>>;

export interface Registration extends AsyncDisposable {
  /** The port to which the kernel reports. */
  readonly port: number;
  /** Resolves with the connection info of the first valid registration. Rejects with a `bad_registration` for one that is signed with the key and not valid. */
  readonly connection: Promise<ConnectionInfo>;
  /** How many messages were not signed with the key. */
  readonly unsigned: number;
}

/** Binds a socket on `ip` that waits for the registration of one kernel, which signs with `key`. `refused` is called for each unsigned message. */
export async function awaitRegistration(
  key: string,
  ip: string,
  refused: (why: string) => void,
): Promise<Registration> {
  const signer = new Signer(key);
  let accept: (connection: ConnectionInfo) => void = () => {};
  let refuse: (why: KernelFault) => void = () => {};
  const connection = new Promise<ConnectionInfo>((resolve, reject) => {
    accept = resolve;
    refuse = reject;
  });
  connection.catch(() => {}); // a launch that failed before does not await it
  let unsigned = 0;
  const router = await bindRouter((frames, sender) => {
    const signed = signedParts(frames, signer);
    if (signed === undefined) {
      unsigned += 1;
      refused("it is not signed with the kernel's key");
      sender.disconnect();
      return;
    }
    try {
      const request = read(frames, signed, signer);
      sender.answer(request.acknowledge());
      accept({
        ...request.ports,
        ip,
        transport: "tcp",
        signature_scheme: "hmac-sha256",
        key,
      });
    } catch (error) {
      refuse(
        isFault(error, "bad_registration")
          ? error
          : badRegistration("the kernel's registration is malformed"),
      );
    }
  }, ip);
  return {
    port: router.port,
    connection,
    get unsigned() {
      return unsigned;
    },
    [Symbol.asyncDispose]() {
      router[Symbol.dispose]();
      refuse(badRegistration("the registration socket was closed"));
      return Promise.resolve();
    },
  };
}

interface RegistrationRequest {
  readonly ports: Ports;
  /** Returns the answer to the same peer, in the dialect of the request. */
  acknowledge(): Uint8Array[];
}

interface SignedParts {
  readonly identities: readonly Uint8Array[];
  /** The frames after the signature; at least one. */
  readonly parts: readonly Uint8Array[];
}

/** `undefined` if the frames have no delimiter or no valid signature: the kernel did not send them. */
function signedParts(
  frames: readonly Uint8Array[],
  signer: Signer,
): SignedParts | undefined {
  const at = frames.findIndex(
    (frame) => Buffer.compare(frame, DELIMITER) === 0,
  );
  const [signature, ...parts] = at === -1 ? [] : frames.slice(at + 1);
  if (signature === undefined || parts.length === 0) return undefined;
  // In both dialects, the digest covers the signed frames one after the other.
  const signed = contentOnly(Buffer.concat(parts.slice(0, 4)));
  if (!signer.verifies(signature, signed)) return undefined;
  return { identities: frames.slice(0, at), parts };
}

/** Throws a `bad_registration` for a signed registration that is not valid. */
function read(
  frames: readonly Uint8Array[],
  { identities, parts }: SignedParts,
  signer: Signer,
): RegistrationRequest {
  const [content] = parts;
  if (content !== undefined && parts.length === 1) {
    const answer = Buffer.from(JSON.stringify({ status: "ok" }));
    const signature = signer.sign(contentOnly(answer));
    return {
      ports: portsIn(content),
      acknowledge: () => [...identities, DELIMITER, signature, answer],
    };
  }
  const message = messageIn(frames, signer);
  if (message.header.msg_type !== "handshake_request") {
    throw badRegistration(
      "the kernel sent a message of another type than handshake_request as its registration",
    );
  }
  const ports = portsIn(message.raw.content);
  const reply = compose({
    channel: "control",
    msg_type: "handshake_reply",
    content: { status: "ok", capabilities: {} },
    session: message.header.session ?? "",
    username: message.header.username ?? "",
    parent: message,
  });
  return { ports, acknowledge: () => toFrames(reply, signer, identities) };
}

function messageIn(
  frames: readonly Uint8Array[],
  signer: Signer,
): ReceivedMessage {
  try {
    return new FrameReader(signer).read(frames, "control");
  } catch (cause) {
    throw badRegistration(
      "the kernel's registration is not a Jupyter message",
      { cause },
    );
  }
}

function portsIn(content: Uint8Array): Ports {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(content).toString());
  } catch {
    throw badRegistration("the kernel's registration is not JSON");
  }
  const given = objectOf(parsed);
  const ports = PORT_NAMES.map(
    (name) => [name, portOf(given?.[name])] as const,
  );
  const wrong = ports.filter(([, port]) => port === undefined);
  if (wrong.length === 0) return Object.fromEntries(ports) as Ports;
  throw badRegistration(
    `the kernel's registration does not name its five ports: ${
      given === undefined
        ? "it is not an object"
        : `${wrong.map(([name]) => name).join(", ")}: not a port from 1 to 65535`
    }`,
  );
}

/** The port, from a number or a string of digits. */
function portOf(value: unknown): number | undefined {
  const isText = typeof value === "string" && /^[0-9]{1,5}$/.test(value);
  const port = isText ? Number(value) : value;
  if (typeof port !== "number" || !Number.isInteger(port)) return undefined;
  return port >= 1 && port <= 65_535 ? port : undefined;
}

function badRegistration(why: string, options?: ErrorOptions): KernelFault {
  return new KernelFault("bad_registration", why, options);
}

function contentOnly(content: Uint8Array) {
  const nothing = EMPTY_OBJECT.subarray(0, 0);
  return {
    header: nothing,
    parent_header: nothing,
    metadata: nothing,
    content,
  };
}
