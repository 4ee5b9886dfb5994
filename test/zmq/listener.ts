/**
 * Records everything that a link reports: every message (copied, as the port
 * requires) and every state, and can wait for them with a timeout.
 */
import type {
  Frames,
  KernelTransport,
  Link,
  LinkOptions,
  LinkState,
} from "../../src/zmq/transport.ts";

const TIMEOUT_MS = 20_000;

export class Listener implements Disposable {
  readonly messages: Buffer[][] = [];
  readonly states: LinkState[] = [];
  readonly errors: (Error | undefined)[] = [];
  readonly link: Link;
  /** Called during the delivery of a batch. */
  onBatch: ((batch: readonly Frames[]) => void) | undefined;
  #waiting = new Set<() => void>();

  constructor(
    transport: KernelTransport,
    options: Omit<LinkOptions, "onMessages" | "onState">,
  ) {
    this.link = transport.connect({
      ...options,
      onMessages: (batch) => {
        for (const frames of batch) {
          this.messages.push(frames.map((frame) => Buffer.from(frame)));
        }
        this.onBatch?.(batch);
        this.#wake();
      },
      onState: (state, error) => {
        this.states.push(state);
        this.errors.push(error);
        this.#wake();
      },
    });
  }

  send(...frames: (string | Uint8Array)[]): void {
    this.link.send(
      frames.map((frame) =>
        typeof frame === "string" ? Buffer.from(frame) : frame,
      ),
    );
  }

  /** Resolves with the first `count` messages when they have arrived. */
  async received(count: number): Promise<Buffer[][]> {
    await this.until(() => this.messages.length >= count);
    return this.messages.slice(0, count);
  }

  /** Resolves when the link is in this state for the `nth` time. */
  async is(state: LinkState, nth = 1): Promise<Error | undefined> {
    const at = (): number =>
      this.states
        .map((one, i) => (one === state ? i : -1))
        .filter((i) => i !== -1)[nth - 1] ?? -1;
    await this.until(() => at() !== -1);
    return this.errors[at()];
  }

  async until(holds: () => boolean): Promise<void> {
    const late = AbortSignal.timeout(TIMEOUT_MS);
    const wake = (): void => this.#wake();
    late.addEventListener("abort", wake);
    try {
      while (!holds()) {
        if (late.aborted) {
          throw new Error(
            `received ${this.messages.length} messages, was ${this.states.join(", ")}; ${String(this.errors.at(-1))}`,
          );
        }
        await new Promise<void>((resolve) => this.#waiting.add(resolve));
      }
    } finally {
      late.removeEventListener("abort", wake);
    }
  }

  [Symbol.dispose](): void {
    this.link.close();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}
