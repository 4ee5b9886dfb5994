/**
 * us → kernel, on one channel: messages are signed and handed to the link, in
 * line. To sign what is large takes its time: it is done in short steps, and
 * what comes after it waits behind it.
 */
import { type Signer, toFrames } from "../jupyter/frames.ts";
import { type Message, sizeOf } from "../jupyter/message.ts";
import { requestScheduler } from "../time/request-scheduler.ts";
import { checkRoom, type Link, LinkError } from "../zmq/transport.ts";

/** Bytes. A smaller message is signed at once. */
const LARGE = 256 * 1024;
/** Bytes of a message beside its own: its signature, and what is around each frame. */
const OVERHEAD = 1024;

export interface Outgoing {
  /** Throws a `LinkError`. */
  send(message: Message): void;
  /** Drops what waits. */
  close(): void;
}

export function signedTo(link: Link, signer: Signer): Outgoing {
  /** The first is being signed. */
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
        close(); // the driver gave the link up, and told that: what waits goes with it
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
