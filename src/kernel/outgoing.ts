/**
 * us → kernel, on one channel: messages are signed and handed to the link, in
 * line. To sign what is large takes its time: it is done in short steps, and
 * what comes after it waits behind it.
 */
import { type Signer, toFrames } from "../jupyter/frames.ts";
import { type Message, sizeOf } from "../jupyter/message.ts";
import { share } from "../time/share.ts";
import {
  type Link,
  LinkClosed,
  LinkFull,
  WAITING_LIMIT,
} from "../zmq/transport.ts";

/** Bytes. A smaller message is signed at once. */
const LARGE = 256 * 1024;
/** Bytes of a message beside its own: its signature, and what is around each frame. */
const OVERHEAD = 1024;

export class Outgoing {
  readonly #link: Link;
  readonly #signer: Signer;
  /** The first is being signed. */
  readonly #waiting: Message[] = [];
  #bytes = 0;
  #isClosed = false;

  constructor(link: Link, signer: Signer) {
    this.#link = link;
    this.#signer = signer;
  }

  /** Throws `LinkFull` or `LinkClosed`. */
  send(message: Message): void {
    const size = sizeInLine(message);
    if (this.#waiting.length === 0 && size < LARGE) {
      this.#link.send(toFrames(message, this.#signer));
      return;
    }
    if (this.#isClosed) throw new LinkClosed("The link is closed");
    const before = this.#bytes + this.#link.waiting;
    if (before > 0 && before + size > WAITING_LIMIT) {
      throw new LinkFull(
        `${before} bytes wait for a peer that does not read; the limit is ${WAITING_LIMIT}`,
      );
    }
    this.#waiting.push(message);
    this.#bytes += size;
    if (this.#waiting.length === 1) void this.#sendAll();
  }

  /** Drops what waits. */
  close(): void {
    this.#isClosed = true;
    this.#waiting.length = 0;
    this.#link.close();
  }

  async #sendAll(): Promise<void> {
    for (;;) {
      const [message] = this.#waiting;
      if (message === undefined) return;
      const signature = await share.all(this.#signer.signing(message.raw));
      if (this.#isClosed) return;
      this.#waiting.shift();
      this.#bytes -= sizeInLine(message);
      try {
        this.#link.send(toFrames(message, { sign: () => signature }));
      } catch {
        this.close(); // the driver gave the link up, and told that: what waits goes with it
        return;
      }
    }
  }
}

function sizeInLine(message: Message): number {
  return sizeOf(message) + OVERHEAD + 9 * message.buffers.length;
}
