/** Messages from clients that wait for a kernel, in order. Beyond the limit, a new message is refused; no message is lost. */
import { failure } from "../../contract/index.ts";
import { type Message, sizeOf } from "../jupyter/message.ts";

const LIMIT = 64 * 1024 * 1024; // bytes

export class WaitingMessages {
  #messages: Message[] = [];
  #bytes = 0;

  /** Throws `too_busy` when it is full. */
  add(message: Message): void {
    const size = sizeOf(message);
    if (this.#bytes + size > LIMIT) {
      const why = `${LIMIT} bytes wait for the kernel already: start it, or wait until it is ready`;
      throw failure("too_busy", { why });
    }
    this.#messages.push(message);
    this.#bytes += size;
  }

  get all(): readonly Message[] {
    return this.#messages;
  }

  has(msg_id: string): boolean {
    return this.#messages.some(({ header }) => header.msg_id === msg_id);
  }

  /** Removes and returns one message. */
  remove(msg_id: string): Message | undefined {
    const at = this.#messages.findIndex(
      ({ header }) => header.msg_id === msg_id,
    );
    const message = this.#messages[at];
    if (message === undefined) return undefined;
    this.#messages.splice(at, 1);
    this.#bytes -= sizeOf(message);
    return message;
  }

  /** Removes the messages that match. */
  drop(matches: (message: Message) => boolean): void {
    for (const message of this.#messages.filter(matches)) {
      this.#bytes -= sizeOf(message);
    }
    this.#messages = this.#messages.filter((message) => !matches(message));
  }

  /** Removes and returns all messages. */
  take(): readonly Message[] {
    const messages = this.#messages;
    this.#messages = [];
    this.#bytes = 0;
    return messages;
  }
}
