/**
 * Questions that travel by an open WebSocket, in tRPC's own words.
 *
 * tRPC's client lets a timer pass before it sends anything, so that what a page
 * asks at one time shares a frame: a millisecond in Node, up to four in
 * browsers, for each piece of code: code that is run piece by piece takes 1.3 to
 * 1.5 times as long without this file, and 1.4 times the processor time
 * (`bench/client.ts`, one by one). Here what is asked in one go shares frames,
 * too, and leaves at the end of the go. Its ids are numbers and ours are words,
 * so that each side knows its answers on the same socket.
 */
import {
  type Operation,
  type OperationResultObservable,
  type OperationResultObserver,
  TRPCClientError,
} from "@trpc/client";
import { observable } from "@trpc/server/observable";
import type { AppRouter } from "../contract/index.ts";
import type { Answer } from "./frames.ts";

type Observer = OperationResultObserver<AppRouter, unknown>;

/** What is large has a frame of its own. */
const MOST_IN_FRAME = 50;
const LARGE = 64 * 1024; // characters

export class Calls {
  readonly #send: (frame: string) => void;
  readonly #asked = new Map<string, Asked>();
  #last = 0;
  /** Of this go: what has not left. */
  #unsent: string[] = [];
  #size = 0;

  /** `send` is called while there is an open socket, or has no effect. */
  constructor(send: (frame: string) => void) {
    this.#send = send;
  }

  ask({
    type,
    path,
    input,
    signal,
  }: Operation): OperationResultObservable<AppRouter, unknown> {
    return observable((observer: Observer) => {
      this.#last += 1;
      const id = `call-${this.#last}`;
      const leave = () => {
        this.#asked.delete(id);
        signal?.removeEventListener("abort", abort);
      };
      const abort = () => {
        leave();
        observer.complete(); // without an answer: tRPC makes that an `AbortError`
      };
      if (signal?.aborted === true) {
        abort();
        return;
      }
      signal?.addEventListener("abort", abort);
      this.#asked.set(id, { observer, leave });
      this.#post(JSON.stringify({ id, method: type, params: { path, input } }));
      return leave;
    });
  }

  /** Hands an answer to whoever asked. */
  heard(answer: Answer): void {
    const asked = this.#asked.get(String(answer.id));
    if (asked === undefined) return;
    const { observer, leave } = asked;
    leave(); // whoever waits for one answer does not when it has come
    if ("error" in answer) {
      const { error } = answer;
      observer.error(TRPCClientError.from({ error }));
    } else {
      const { data } = answer.result;
      // Not completed as well: nobody waits for that, and tRPC would make an error of it to throw away.
      observer.next({ result: { type: "data", data } });
    }
  }

  /** Nobody answers any more. */
  lost(why: Error): void {
    this.#unsent = [];
    this.#size = 0;
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    for (const { observer } of asked) observer.error(TRPCClientError.from(why));
  }

  #post(call: string): void {
    if (this.#unsent.length === 0) queueMicrotask(() => this.#flush());
    const isFull =
      this.#unsent.length === MOST_IN_FRAME || this.#size + call.length > LARGE;
    if (isFull) this.#flush();
    this.#unsent.push(call);
    this.#size += call.length;
  }

  #flush(): void {
    const calls = this.#unsent;
    this.#unsent = [];
    this.#size = 0;
    if (calls.length === 0) return;
    this.#send(calls.length === 1 ? calls.join() : `[${calls.join()}]`);
  }
}

interface Asked {
  readonly observer: Observer;
  readonly leave: () => void;
}
