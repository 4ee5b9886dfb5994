/**
 * What is asked and followed by the WebSocket, in tRPC's own words.
 *
 * What is asked in one go shares frames, and leaves at the end of the go: a
 * timer, as tRPC's own client has one, takes a millisecond in Node and up to
 * four in browsers, for each piece of code. Subscriptions survive a lost
 * connection: each is resumed after the last event that it delivered. A
 * question that was sent and not answered fails, and whoever asked decides.
 */
import { type Call, CallError, type Follower } from "./call.ts";
import type { Answer } from "./frames.ts";

/** What is large has a frame of its own. */
const MAX_CALLS_IN_FRAME = 50;
const LARGE = 64 * 1024; // characters

interface PendingCall {
  readonly id: number;
  readonly call: Call;
  /** What waits to be sent. Written when it was asked: what is wrong with it is the asker's. */
  text: string | undefined;
  /** Of a subscription: where the last event was. */
  lastEventId?: string | undefined;
  /** It may have reached the server. */
  wasSent: boolean;
  receive(answer: Answer): void;
  /** Nothing more will be heard. */
  ended(error: Error): void;
}

export class WebSocketCalls {
  readonly #send: (frame: string) => void;
  readonly #pending = new Map<number, PendingCall>();
  #last = 0;
  #isOpen = false;
  /** Of this go: what has not left. */
  #unsent: PendingCall[] = [];

  /** `send` is called while there is an open socket. */
  constructor(send: (frame: string) => void) {
    this.#send = send;
  }

  /** For one answer. Rejects with a `CallError`. */
  ask(call: Call): Promise<unknown> {
    const { signal } = call;
    return new Promise((resolve, reject: (error: CallError) => void) => {
      const fail = (error: unknown) => {
        leave();
        reject(CallError.from(error));
      };
      const abort = () => fail(signal?.reason);
      const leave = () => {
        this.#pending.delete(asked.id);
        signal?.removeEventListener("abort", abort);
      };
      const asked = this.#add(call, {
        receive(answer) {
          if ("error" in answer) {
            fail(errorIn(answer));
            return;
          }
          leave();
          resolve(answer.result.data);
        },
        ended: fail,
      });
      signal?.addEventListener("abort", abort);
      if (signal?.aborted === true) abort();
    });
  }

  /** Until it ends, or is left. Returns what leaves it. */
  follow(call: Call, follower: Follower): () => void {
    const { signal } = call;
    const leave = () => {
      signal?.removeEventListener("abort", abort);
      return this.#pending.delete(asked.id);
    };
    const stop = () => {
      if (!leave() || !asked.wasSent || !this.#isOpen) return;
      const method = "subscription.stop";
      this.#send(JSON.stringify({ id: asked.id, method }));
    };
    const end = (error?: CallError) => {
      if (leave()) follower.ended(error);
    };
    const abort = () => {
      stop();
      follower.ended();
    };
    const asked: PendingCall = this.#add(call, {
      receive(answer) {
        if ("error" in answer) {
          end(errorIn(answer));
          return;
        }
        const { type, id, data } = answer.result;
        if (type === "data") {
          asked.lastEventId = id ?? asked.lastEventId;
          follower.data(data);
        } else if (type === "started") {
          follower.started?.();
        } else {
          follower.stopped?.();
          end();
        }
      },
      ended: () => end(),
    });
    signal?.addEventListener("abort", abort);
    if (signal?.aborted === true) abort();
    return stop;
  }

  /** Hands an answer to whoever asked. */
  receive(answer: Answer): void {
    callListener(() => this.#pending.get(Number(answer.id))?.receive(answer));
  }

  /** There is a connection: what waits for one leaves, and what was followed goes on. */
  opened(): void {
    this.#isOpen = true;
    for (const asked of this.#pending.values()) {
      if (asked.wasSent) asked.text = textOf(asked);
    }
    this.#unsent = [...this.#pending.values()];
    this.#flush();
  }

  /** The connection is lost, and another may come. */
  lost(why: Error): void {
    this.#isOpen = false;
    for (const asked of [...this.#pending.values()]) {
      if (asked.wasSent && asked.call.type !== "subscription") {
        asked.ended(why);
      }
    }
  }

  /** Nobody answers any more. */
  close(why: Error): void {
    this.#isOpen = false;
    for (const asked of [...this.#pending.values()]) {
      callListener(() => asked.ended(why));
    }
  }

  #add(
    call: Call,
    listener: Pick<PendingCall, "receive" | "ended">,
  ): PendingCall {
    this.#last += 1;
    const asked: PendingCall = {
      id: this.#last,
      call,
      text: textOf({ id: this.#last, call }),
      wasSent: false,
      ...listener,
    };
    this.#pending.set(asked.id, asked);
    if (!this.#isOpen) return asked;
    if (this.#unsent.length === 0) queueMicrotask(() => this.#flush());
    this.#unsent.push(asked);
    return asked;
  }

  #flush(): void {
    if (!this.#isOpen) return; // it goes when there is a connection again
    const unsent = this.#unsent;
    this.#unsent = [];
    let frame: string[] = [];
    let size = 0;
    const leave = () => {
      if (frame.length === 0) return;
      this.#send(frame.length === 1 ? frame.join() : `[${frame.join()}]`);
      frame = [];
      size = 0;
    };
    for (const asked of unsent) {
      const { text } = asked;
      if (text === undefined || !this.#pending.has(asked.id)) continue; // taken back meanwhile
      asked.text = undefined;
      asked.wasSent = true;
      const isFull =
        frame.length === MAX_CALLS_IN_FRAME || size + text.length > LARGE;
      if (isFull) leave();
      frame.push(text);
      size += text.length;
    }
    leave();
  }
}

function textOf({
  id,
  call,
  lastEventId,
}: Pick<PendingCall, "id" | "call" | "lastEventId">): string {
  const { type: method, path, input } = call;
  return JSON.stringify({ id, method, params: { path, input, lastEventId } });
}

function errorIn({ error }: Extract<Answer, { error: unknown }>): CallError {
  return new CallError(error.message, { shape: error });
}

/** What whoever listens throws is theirs: it goes where nobody can catch it, and what comes next is heard. */
function callListener(tell: () => void): void {
  try {
    tell();
  } catch (error) {
    setTimeout(() => {
      throw error;
    });
  }
}
