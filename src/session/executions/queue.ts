/**
 * Who runs next: one execute request is with the kernel, the rest wait here.
 *
 * It only knows the order. When the active request is over, and whether it
 * failed, is for others to find out. What is dropped is handed back, to be
 * answered.
 */
import type { Message } from "../../jupyter/message.ts";
import { membersIn } from "../../jupyter/raw-json.ts";

export class ExecutionQueue {
  #active: Message | undefined;
  #pending: Message[] = [];
  /** Those that waited when the active request was interrupted. */
  #pendingAtInterrupt: ReadonlySet<Message> | undefined;
  readonly #limit: number;

  /** `limit`: most requests that may wait. */
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

  /** Whether the request takes part: code for the main shell. Others go straight to the kernel. */
  static accepts({ channel, header, raw }: Message): boolean {
    if (channel !== "shell" || header.msg_type !== "execute_request") {
      return false;
    }
    if (header.subshell_id !== undefined && header.subshell_id !== null) {
      return false;
    }
    return raw.content.length > 2;
  }

  /** True: it is the active one now, send it. False: it waits. */
  offer(request: Message): boolean {
    if (this.#active === undefined) {
      this.#active = request;
      return true;
    }
    this.#pending.push(request);
    return false;
  }

  /** The active request is over; the next one to send, if any, is the active one now. */
  advance(): Message | undefined {
    this.#pendingAtInterrupt = undefined;
    this.#active = this.#pending.shift();
    return this.#active;
  }

  /** Somebody interrupts the active request: who asks from now on knows of that. Returns what takes it back. */
  interrupt(): () => void {
    this.#pendingAtInterrupt = new Set(this.#pending);
    return () => (this.#pendingAtInterrupt = undefined);
  }

  /**
   * The active request failed: those that wait, unless it said that they shall
   * run. Where it was interrupted, only those that waited then: who asked after
   * that did not count on it.
   */
  fail(): readonly Message[] {
    if (this.#active === undefined || !stopsOnError(this.#active)) return [];
    const waited = this.#pendingAtInterrupt;
    if (waited === undefined) return this.drop();
    const all = this.drop();
    this.#pending = all.filter((message) => !waited.has(message));
    return all.filter((message) => waited.has(message));
  }

  /** Takes one that waits out of the line. */
  cancel(msg_id: string): Message | undefined {
    const at = this.#pending.findIndex(
      ({ header }) => header.msg_id === msg_id,
    );
    return at === -1 ? undefined : this.#pending.splice(at, 1)[0];
  }

  /** Those that wait, who do not any more; the active one is still with the kernel. */
  drop(): readonly Message[] {
    const dropped = this.#pending;
    this.#pending = [];
    return dropped;
  }

  /** The kernel is gone: those that wait; nothing is active any more. */
  clear(): readonly Message[] {
    this.#active = undefined;
    return this.drop();
  }
}

function stopsOnError(request: Message): boolean {
  const content = membersIn(request.raw.content);
  return content.get("stop_on_error")?.toString() !== "false";
}
