/**
 * JEP 66 from the kernel's side: it has bound its own ports, and says which.
 *
 * The two dialects differ in the socket, in how many frames travel and in how a
 * port is spelled. Without an acknowledgement the kernel is nobody's, and ends.
 */
import { Dealer, Request } from "zeromq";
import {
  DELIMITER,
  FrameReader,
  Signer,
  toFrames,
} from "../src/jupyter/frames.ts";
import { compose, contentOf } from "../src/jupyter/message.ts";
import {
  portNames,
  type ConnectionInfo,
  type Registration,
} from "./connection.ts";

/** As long as xeus waits. */
const PATIENCE_MS = 5_000;

/** Resolves once the launcher has acknowledged; rejects when it refuses, or says nothing for five seconds. */
export async function register(
  registration: Registration,
  connection: ConnectionInfo,
  session: string,
): Promise<void> {
  const signer = new Signer(connection.key, connection.signature_scheme);
  if (registration.dialect === "posit") {
    await registerByMessage(registration, connection, { signer, session });
  } else {
    await registerByFrame(registration, connection, signer);
  }
}

/** A whole `handshake_request`, answered by a whole `handshake_reply`. */
async function registerByMessage(
  { endpoint }: Registration,
  connection: ConnectionInfo,
  { signer, session }: { readonly signer: Signer; readonly session: string },
): Promise<void> {
  const socket = new Request({
    linger: 0,
    receiveTimeout: PATIENCE_MS,
    sendTimeout: PATIENCE_MS,
  });
  try {
    socket.connect(endpoint);
    const request = compose({
      channel: "shell",
      msg_type: "handshake_request",
      content: Object.fromEntries(
        portNames.map((name) => [name, connection[name]]),
      ),
      session,
      username: "kernel",
    });
    await socket.send(toFrames(request, signer));
    const frames = await socket.receive();
    const reply = new FrameReader(signer).read(frames, "shell");
    const content = contentOf(reply);
    if (content?.["status"] !== "ok") {
      throw new Error(
        `The launcher refused the registration: ${JSON.stringify(content)}`,
      );
    }
  } finally {
    socket.close();
  }
}

/** One signed frame each way. Signed as if it were a message's content: the digest of that frame alone. */
async function registerByFrame(
  { endpoint, kernel_id }: Registration,
  connection: ConnectionInfo,
  signer: Signer,
): Promise<void> {
  const socket = new Dealer({
    linger: 0,
    receiveTimeout: PATIENCE_MS,
    sendTimeout: PATIENCE_MS,
  });
  try {
    socket.connect(endpoint);
    const ports = Object.fromEntries(
      portNames.map((name) => [name, String(connection[name])]),
    );
    const content = Buffer.from(JSON.stringify({ kernel_id, ...ports }));
    await socket.send([DELIMITER, signer.sign(alone(content)), content]);
    const [, signature, acknowledged] = await socket.receive();
    if (
      signature === undefined ||
      acknowledged === undefined ||
      !signer.verifies(signature, alone(acknowledged))
    ) {
      throw new Error(
        "The launcher's acknowledgement is not signed with our key",
      );
    }
  } finally {
    socket.close();
  }
}

/** The digest runs over four frames; three empty ones leave it that of the fourth. */
function alone(content: Uint8Array) {
  return {
    header: NOTHING,
    parent_header: NOTHING,
    metadata: NOTHING,
    content,
  };
}

const NOTHING = new Uint8Array();
