/**
 * What a session has said so far, and the wish to hear more: the plain
 * functions with which a test of kernels waits, collects and asserts. They need
 * no test framework; every wait is bounded and says what it waited for.
 */
import {
  type JupyterEvent,
  type Output,
  type SessionEvent,
} from "../contract/index.ts";
import { outputsOf, recordIn } from "../outputs/outputs.ts";

const PATIENCE_MS = 5_000;
const realTimeout = globalThis.setTimeout;

export class Transcript implements Disposable {
  readonly #events: SessionEvent[] = [];
  readonly #waiting = new Set<() => void>();
  readonly #stop: () => void;

  /** `follow` calls `hear` with each event, until what it returned is called. */
  constructor(follow: (hear: (event: SessionEvent) => void) => () => void) {
    this.#stop = follow((event) => {
      this.#events.push(event);
      for (const look of [...this.#waiting]) look();
    });
  }

  get events(): readonly SessionEvent[] {
    return this.#events;
  }

  /** The first event that fits, heard already or yet to come. Rejects with `what`, and with what was heard instead. */
  until(
    what: string,
    fits: (event: SessionEvent) => boolean,
    patience_ms = PATIENCE_MS,
  ): Promise<SessionEvent> {
    return new Promise((resolve, reject) => {
      let looked = 0;
      const look = () => {
        for (; looked < this.#events.length; looked += 1) {
          const event = this.#events[looked];
          if (event === undefined || !fits(event)) continue;
          this.#waiting.delete(look);
          clearTimeout(timer);
          resolve(event);
          return;
        }
      };
      // Real time, also where a test has stopped the clock: it bounds the test, not the kernel.
      const timer = realTimeout(() => {
        this.#waiting.delete(look);
        const heard = words(this.#events).join(", ");
        reject(new Error(`Waited in vain for ${what}; heard: ${heard}`));
      }, patience_ms);
      this.#waiting.add(look);
      look();
    });
  }

  /** The kernel is done with that request. */
  async untilIdle(msg_id: string): Promise<void> {
    await this.until(
      `the idle of ${msg_id}`,
      (event) =>
        isOf(event, msg_id) &&
        event.header.msg_type === "status" &&
        recordIn(event.content)["execution_state"] === "idle",
    );
  }

  /** The content of the request's reply. */
  async untilReply(msg_id: string): Promise<Readonly<Record<string, unknown>>> {
    const reply = await this.until(
      `the reply to ${msg_id}`,
      (event) => isOf(event, msg_id) && /_reply$/.test(event.header.msg_type),
    );
    return isJupyter(reply) ? recordIn(reply.content) : {};
  }

  /** The outputs of a request whose reply and idle have both come. */
  async outputs(msg_id: string): Promise<Output[]> {
    await Promise.all([this.untilReply(msg_id), this.untilIdle(msg_id)]);
    return outputsOf(this.#events, msg_id);
  }

  /** The prompt that the kernel shows, with the `msg_id` of the request that asks. */
  async untilPrompt(): Promise<string> {
    const asked = await this.until(
      "a prompt",
      (event) => isJupyter(event) && event.header.msg_type === "input_request",
    );
    return isJupyter(asked) ? String(recordIn(asked.content)["prompt"]) : "";
  }

  [Symbol.dispose](): void {
    this.#stop();
  }
}

/**
 * What was said, in words: `busy`, `stream`, `execute_reply`, `idle`, and for
 * what the supervisor says `starting!`, `exited!`. Of one request where its
 * `msg_id` is given.
 */
export function words(
  events: readonly SessionEvent[],
  msg_id?: string,
): string[] {
  return events
    .filter((event) => msg_id === undefined || isOf(event, msg_id))
    .map(word);
}

/** Throws unless these words were said in this order; others may stand between. */
export function assertOrder(
  events: readonly SessionEvent[],
  expected: readonly string[],
  msg_id?: string,
): void {
  const said = words(events, msg_id);
  let from = 0;
  for (const word of expected) {
    const at = said.indexOf(word, from);
    if (at === -1) {
      throw new Error(
        `Expected ${expected.join(", ")} in this order: ${word} is missing after place ${from} of ${said.join(", ")}`,
      );
    }
    from = at + 1;
  }
}

function word(event: SessionEvent): string {
  if (event.kind === "status") return `${event.status}!`;
  if (event.kind !== "jupyter") return `${event.kind}!`;
  const { header, content } = event;
  return header.msg_type === "status"
    ? String(recordIn(content)["execution_state"])
    : header.msg_type;
}

function isOf(event: SessionEvent, msg_id: string): event is JupyterEvent {
  return isJupyter(event) && event.parent_header?.msg_id === msg_id;
}

function isJupyter(event: SessionEvent): event is JupyterEvent {
  return event.kind === "jupyter";
}
