/**
 * server → kernel, on one channel: messages are signed and sent in order. Signing
 * a large message takes long, so it is done in short steps, and later messages
 * wait for it.
 */
import { type Signer, toFrames } from "../jupyter/frames.ts";
import { type Message, sizeOf } from "../jupyter/message.ts";
import { requestScheduler } from "../time/request-scheduler.ts";
import { checkRoom, type Link, LinkError } from "../zmq/transport.ts";

/** Bytes. A smaller message is signed at once. */
const LARGE = 256 * 1024;
/** Bytes that a message needs beside its own: its signature, and the framing. */
const OVERHEAD = 1024;

export interface Outgoing {
  /** Throws a `LinkError`. */
  send(message: Message): void;
  /** Drops the waiting messages. */
  close(): void;
}

export function signedTo(link: Link, signer: Signer): Outgoing {
  /** The first message is being signed. */
  const waiting: Message[] = [];
  let bytes = 0;
  let isClosed = false;

  const close = (): void => {
    isClosed = true;
    waiting.length = 0;
    link.close();
  };
  const sendAll = async (): Promise<void> => {
    for (;;) {
      const [message] = waiting;
      if (message === undefined) return;
      const signature = await requestScheduler.run(signer.signing(message.raw));
      if (isClosed) return;
      waiting.shift();
      bytes -= queuedSize(message);
      try {
        link.send(toFrames(message, { sign: () => signature }));
      } catch {
        close(); // the driver has closed the link and reported it
        return;
      }
    }
  };
  const send = (message: Message): void => {
    const size = queuedSize(message);
    if (waiting.length === 0 && size < LARGE) {
      link.send(toFrames(message, signer));
      return;
    }
    if (isClosed) throw new LinkError("closed", "The link is closed");
    checkRoom(bytes + link.waiting, size);
    waiting.push(message);
    bytes += size;
    if (waiting.length === 1) void sendAll();
  };
  return { send, close };
}

function queuedSize(message: Message): number {
  return sizeOf(message) + OVERHEAD + 9 * message.buffers.length;
}
