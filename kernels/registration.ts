/**
 * The kernel's side of JEP 66: the kernel has bound its own ports and reports
 * them to the launcher.
 *
 * The two dialects differ in the socket type, in the number of frames and in
 * the encoding of a port. Without an acknowledgement no server knows the kernel,
 * so it ends.
 */
import {
  DELIMITER,
  FrameReader,
  Signer,
  toFrames,
} from "../src/jupyter/frames.ts";
import { compose, contentOf } from "../src/jupyter/message.ts";
import type { Frames } from "../src/zmq/transport.ts";
import { zmtp } from "../src/zmq/zmtp.ts";
import {
  portNames,
  type ConnectionInfo,
  type Registration,
} from "./connection.ts";

/** The same timeout as in xeus. */
const ACKNOWLEDGE_TIMEOUT_MS = 5_000;

/** Resolves when the launcher has acknowledged. Rejects if the launcher refuses, or does not answer within five seconds. */
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

/** Sends a complete `handshake_request`; the answer is a complete `handshake_reply`. */
async function registerByMessage(
  { endpoint }: Registration,
  connection: ConnectionInfo,
  { signer, session }: { readonly signer: Signer; readonly session: string },
): Promise<void> {
  const request = compose({
    channel: "shell",
    msg_type: "handshake_request",
    content: Object.fromEntries(
      portNames.map((name) => [name, connection[name]]),
    ),
    session,
    username: "kernel",
  });
  // The encoding of a REQ socket: an empty frame first.
  const [, ...frames] = await exchange(endpoint, [
    EMPTY,
    ...toFrames(request, signer),
  ]);
  const reply = new FrameReader(signer).read(frames, "shell");
  const content = contentOf(reply);
  if (content?.["status"] !== "ok") {
    throw new Error(
      `The launcher refused the registration: ${JSON.stringify(content)}`,
    );
  }
}

/** Sends one signed frame and gets one back. The signature is the digest of this frame alone, as of a message's content. */
async function registerByFrame(
  { endpoint, kernel_id }: Registration,
  connection: ConnectionInfo,
  signer: Signer,
): Promise<void> {
  const ports = Object.fromEntries(
    portNames.map((name) => [name, String(connection[name])]),
  );
  const content = Buffer.from(JSON.stringify({ kernel_id, ...ports }));
  const [, signature, acknowledged] = await exchange(endpoint, [
    DELIMITER,
    signer.sign(onlyContent(content)),
    content,
  ]);
  if (
    signature === undefined ||
    acknowledged === undefined ||
    !signer.verifies(signature, onlyContent(acknowledged))
  ) {
    throw new Error(
      "The launcher's acknowledgement is not signed with the key in the connection file",
    );
  }
}

/** Sends one message and resolves with the first answer; rejects after `ACKNOWLEDGE_TIMEOUT_MS`. */
function exchange(endpoint: string, message: Frames): Promise<Frames> {
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      clearTimeout(timer);
      link.close();
      settle();
    };
    const timer = setTimeout(() => {
      const why = `The launcher did not answer within ${ACKNOWLEDGE_TIMEOUT_MS / 1000} s`;
      end(() => reject(new Error(why)));
    }, ACKNOWLEDGE_TIMEOUT_MS);
    const link = zmtp.connect({
      type: "dealer",
      endpoint,
      onMessages: ([answer]) => {
        if (answer === undefined) return;
        const frames = answer.map((frame) => Buffer.from(frame));
        end(() => resolve(frames));
      },
      onState: (state, error) => {
        if (state === "closed" && error !== undefined) {
          end(() => reject(error));
        }
      },
    });
    link.send(message);
  });
}

/** The digest covers four frames. Three empty frames leave the digest of the fourth alone. */
function onlyContent(content: Uint8Array) {
  return {
    header: EMPTY,
    parent_header: EMPTY,
    metadata: EMPTY,
    content,
  };
}

const EMPTY = new Uint8Array();
