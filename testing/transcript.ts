/**
 * The events of a session so far, and plain functions to wait for events, to
 * collect them and to assert their order. They need no test framework. Every
 * wait has a timeout, whose error says what it waited for.
 */
import {
  type JupyterEvent,
  type Output,
  type SessionEvent,
} from "../contract/index.ts";
import { outputsOf, recordIn } from "../outputs/outputs.ts";

const TIMEOUT_MS = 5_000;
const realTimeout = globalThis.setTimeout;

/** The events of a session so far, and bounded waits for new ones. */
export class Transcript implements Disposable {
  readonly #events: SessionEvent[] = [];
  readonly #waiting = new Set<() => void>();
  readonly #stop: () => void;

  /** `follow` calls its argument with each event, until the function that it returned is called. */
  constructor(follow: (onEvent: (event: SessionEvent) => void) => () => void) {
    this.#stop = follow((event) => {
      this.#events.push(event);
      for (const check of [...this.#waiting]) check();
    });
  }

  get events(): readonly SessionEvent[] {
    return this.#events;
  }

  /** Resolves with the first past or future event that fits. At the timeout it rejects with `what` and the events that arrived. */
  until(
    what: string,
    fits: (event: SessionEvent) => boolean,
    timeout_ms = TIMEOUT_MS,
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
      // Real time, even if a test has stopped the clock: the timeout bounds the test, not the kernel.
      const timer = realTimeout(() => {
        this.#waiting.delete(look);
        const received = eventNames(this.#events).join(", ");
        reject(
          new Error(
            `Timed out while waiting for ${what}; received: ${received}`,
          ),
        );
      }, timeout_ms);
      this.#waiting.add(look);
      look();
    });
  }

  /** Resolves when the kernel has sent the `idle` status of this request. */
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

  /** Resolves with the outputs of a request when its reply and its `idle` status have arrived. */
  async outputs(msg_id: string): Promise<Output[]> {
    await Promise.all([this.untilReply(msg_id), this.untilIdle(msg_id)]);
    return outputsOf(this.#events, msg_id);
  }

  /** Resolves with the prompt of the kernel's input request. */
  async untilPrompt(): Promise<string> {
    const request = await this.until(
      "a prompt",
      (event) => isJupyter(event) && event.header.msg_type === "input_request",
    );
    return isJupyter(request)
      ? String(recordIn(request.content)["prompt"])
      : "";
  }

  [Symbol.dispose](): void {
    this.#stop();
  }
}

/**
 * One name for each event: `busy`, `stream`, `execute_reply`, `idle`; events of
 * the supervisor have an exclamation mark: `starting!`, `exited!`. With a
 * `msg_id`, only the events of that request.
 */
export function eventNames(
  events: readonly SessionEvent[],
  msg_id?: string,
): string[] {
  return events
    .filter((event) => msg_id === undefined || isOf(event, msg_id))
    .map(nameOf);
}

/** Throws unless events with these names occur in this order; others may occur between them. */
export function assertOrder(
  events: readonly SessionEvent[],
  expected: readonly string[],
  msg_id?: string,
): void {
  const received = eventNames(events, msg_id);
  let from = 0;
  for (const name of expected) {
    const at = received.indexOf(name, from);
    if (at === -1) {
      throw new Error(
        `Expected ${expected.join(", ")} in this order: ${name} is missing after position ${from} of ${received.join(", ")}`,
      );
    }
    from = at + 1;
  }
}

function nameOf(event: SessionEvent): string {
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
