/**
 * Calls and subscriptions over the WebSocket, in tRPC's protocol.
 *
 * Calls of one turn of the event loop share frames, which are sent in a microtask
 * at its end: a timer, as in tRPC's own client, takes a millisecond in Node and up
 * to four in browsers, for each piece of code. Subscriptions survive a lost
 * connection: each resumes after the last event that it delivered. A call that was
 * sent and not answered fails, and its caller decides what to do.
 */
import { type Call, CallError, type Follower } from "./call.ts";
import type { Answer } from "./frames.ts";

/** A large call has a frame of its own. */
const MAX_CALLS_IN_FRAME = 50;
const LARGE = 64 * 1024; // characters

interface PendingCall {
  readonly id: number;
  readonly call: Call;
  /** The text to send. It is encoded during the call, so that an error of encoding reaches the caller. */
  text: string | undefined;
  /** For a subscription: the id of the last event. */
  lastEventId?: string | undefined;
  /** Whether it may have reached the server. */
  wasSent: boolean;
  receive(answer: Answer): void;
  /** Nothing more follows. */
  ended(error: Error): void;
}

export class WebSocketCalls {
  readonly #send: (frame: string) => void;
  readonly #pending = new Map<number, PendingCall>();
  #last = 0;
  #isOpen = false;
  /** The calls of this turn of the event loop that are not sent. */
  #unsent: PendingCall[] = [];

  /** `send` is called while there is an open socket. */
  constructor(send: (frame: string) => void) {
    this.#send = send;
  }

  /** Resolves with the answer. Rejects with a `CallError`. */
  call(call: Call): Promise<unknown> {
    const { signal } = call;
    return new Promise((resolve, reject: (error: CallError) => void) => {
      const fail = (error: unknown) => {
        leave();
        reject(CallError.from(error));
      };
      const abort = () => fail(signal?.reason);
      const leave = () => {
        this.#pending.delete(pending.id);
        signal?.removeEventListener("abort", abort);
      };
      const pending = this.#add(call, {
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

  /** Follows a subscription until it ends. Returns a function that leaves it. */
  follow(call: Call, follower: Follower): () => void {
    const { signal } = call;
    const leave = () => {
      signal?.removeEventListener("abort", abort);
      return this.#pending.delete(pending.id);
    };
    const stop = () => {
      if (!leave() || !pending.wasSent || !this.#isOpen) return;
      const method = "subscription.stop";
      this.#send(JSON.stringify({ id: pending.id, method }));
    };
    const end = (error?: CallError) => {
      if (leave()) follower.ended(error);
    };
    const abort = () => {
      stop();
      follower.ended();
    };
    const pending: PendingCall = this.#add(call, {
      receive(answer) {
        if ("error" in answer) {
          end(errorIn(answer));
          return;
        }
        const { type, id, data } = answer.result;
        if (type === "data") {
          pending.lastEventId = id ?? pending.lastEventId;
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

  /** Passes an answer to its caller. */
  receive(answer: Answer): void {
    callListener(() => this.#pending.get(Number(answer.id))?.receive(answer));
  }

  /** A connection is open: sends the waiting calls, and resumes the subscriptions. */
  opened(): void {
    this.#isOpen = true;
    for (const pending of this.#pending.values()) {
      if (pending.wasSent) pending.text = textOf(pending);
    }
    this.#unsent = [...this.#pending.values()];
    this.#flush();
  }

  /** The connection is lost; another may follow. */
  lost(why: Error): void {
    this.#isOpen = false;
    for (const pending of [...this.#pending.values()]) {
      if (pending.wasSent && pending.call.type !== "subscription") {
        pending.ended(why);
      }
    }
  }

  /** The client is closed: no answer follows. */
  close(why: Error): void {
    this.#isOpen = false;
    for (const pending of [...this.#pending.values()]) {
      callListener(() => pending.ended(why));
    }
  }

  #add(
    call: Call,
    listener: Pick<PendingCall, "receive" | "ended">,
  ): PendingCall {
    this.#last += 1;
    const pending: PendingCall = {
      id: this.#last,
      call,
      text: textOf({ id: this.#last, call }),
      wasSent: false,
      ...listener,
    };
    this.#pending.set(pending.id, pending);
    if (!this.#isOpen) return pending;
    if (this.#unsent.length === 0) queueMicrotask(() => this.#flush());
    this.#unsent.push(pending);
    return pending;
  }

  #flush(): void {
    if (!this.#isOpen) return; // sent when a connection is open again
    const unsent = this.#unsent;
    this.#unsent = [];
    let frame: string[] = [];
    let size = 0;
    const sendFrame = () => {
      if (frame.length === 0) return;
      this.#send(frame.length === 1 ? frame.join() : `[${frame.join()}]`);
      frame = [];
      size = 0;
    };
    for (const pending of unsent) {
      const { text } = pending;
      if (text === undefined || !this.#pending.has(pending.id)) continue; // withdrawn meanwhile
      pending.text = undefined;
      pending.wasSent = true;
      const isFull =
        frame.length === MAX_CALLS_IN_FRAME || size + text.length > LARGE;
      if (isFull) sendFrame();
      frame.push(text);
      size += text.length;
    }
    sendFrame();
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

/** An error that a listener throws becomes an uncaught error of the program, so that the next answers are still processed. */
function callListener(notify: () => void): void {
  try {
    notify();
  } catch (error) {
    setTimeout(() => {
      throw error;
    });
  }
}
