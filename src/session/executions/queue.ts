/**
 * The queue of execute requests: one is with the kernel, the others wait here.
 *
 * The queue knows only the order. Its caller finds out when the active request is
 * over and whether it failed. Dropped requests are returned to the caller, which
 * answers them.
 */
import type { Message } from "../../jupyter/message.ts";
import { membersIn } from "../../jupyter/raw-json.ts";

export class ExecutionQueue {
  #active: Message | undefined;
  #pending: Message[] = [];
  /** The requests that waited when the active request was interrupted. */
  #pendingAtInterrupt: ReadonlySet<Message> | undefined;
  readonly #limit: number;

  /** `limit`: the largest number of waiting requests. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get active(): Message | undefined {
    return this.#active;
  }

  get pending(): readonly Message[] {
    return this.#pending;
  }

  get isFull(): boolean {
    return this.#pending.length >= this.#limit;
  }

  /** Whether the queue takes the request: code for the main shell. Other requests go to the kernel at once. */
  static accepts({ channel, header, raw }: Message): boolean {
    if (channel !== "shell" || header.msg_type !== "execute_request") {
      return false;
    }
    if (header.subshell_id !== undefined && header.subshell_id !== null) {
      return false;
    }
    return raw.content.length > 2;
  }

  /** True: the request is active now, and the caller sends it. False: it waits. */
  offer(request: Message): boolean {
    if (this.#active === undefined) {
      this.#active = request;
      return true;
    }
    this.#pending.push(request);
    return false;
  }

  /** The active request is over. Returns the next request, if any, which is active now. */
  advance(): Message | undefined {
    this.#pendingAtInterrupt = undefined;
    this.#active = this.#pending.shift();
    return this.#active;
  }

  /** The active request is interrupted: later requests than these do not depend on it. Returns a function that undoes this. */
  interrupt(waiting: Iterable<Message> = this.#pending): () => void {
    this.#pendingAtInterrupt = new Set(waiting);
    return () => (this.#pendingAtInterrupt = undefined);
  }

  /**
   * The active request failed: drops and returns the waiting requests, unless it
   * has `stop_on_error: false`. If it was interrupted, drops only the requests that
   * waited at that time: later ones do not depend on it.
   */
  fail(): readonly Message[] {
    if (this.#active === undefined || !stopsOnError(this.#active)) return [];
    const waited = this.#pendingAtInterrupt;
    if (waited === undefined) return this.drop();
    const all = this.drop();
    this.#pending = all.filter((message) => !waited.has(message));
    return all.filter((message) => waited.has(message));
  }

  /** Removes and returns a waiting request. */
  cancel(msg_id: string): Message | undefined {
    const at = this.#pending.findIndex(
      ({ header }) => header.msg_id === msg_id,
    );
    return at === -1 ? undefined : this.#pending.splice(at, 1)[0];
  }

  /** Drops and returns the waiting requests. The active one is still with the kernel. */
  drop(): readonly Message[] {
    const dropped = this.#pending;
    this.#pending = [];
    return dropped;
  }

  /** The kernel is gone: drops and returns the waiting requests. No request is active any more. */
  clear(): readonly Message[] {
    this.#active = undefined;
    return this.drop();
  }
}

function stopsOnError(request: Message): boolean {
  const content = membersIn(request.raw.content);
  return content.get("stop_on_error")?.toString() !== "false";
}
