/** A child process that answers orders, one after the other. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { ended, owned } from "./process.ts";

const TIMEOUT_MS = 300_000;

export class Child<Order extends object> implements AsyncDisposable {
  readonly #child: ChildProcess;

  /** `file`: a module in this folder that calls `serveParent`. */
  constructor(file: string, args: readonly string[] = []) {
    const program = fileURLToPath(new URL(file, import.meta.url));
    this.#child = owned(fork(program, args));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  request(order: Order): Promise<unknown> {
    const answer = this.nextAnswer();
    this.#child.send(order);
    return answer;
  }

  /** Resolves with the next answer. */
  async nextAnswer(): Promise<unknown> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), TIMEOUT_MS);
    const { signal } = late;
    const exited = once(this.#child, "exit", { signal }).then(() => {
      throw new Error(`${this.#child.spawnargs.at(-1)} ended`);
    });
    const answered = once(this.#child, "message", { signal });
    let answer: unknown;
    try {
      [answer] = (await Promise.race([answered, exited])) as [unknown];
    } catch (error) {
      if (!signal.aborted) throw error;
      const after = `after ${TIMEOUT_MS / 1000} s`;
      throw new Error(
        `${this.#child.spawnargs.at(-1)} has not answered ${after}`,
      );
    } finally {
      clearTimeout(timer);
      answered.catch(() => {}); // only the first of the two is used
      exited.catch(() => {});
      late.abort();
    }
    const { error } = Object(answer) as { error?: string };
    if (error !== undefined) throw new Error(error);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await ended(this.#child);
  }
}

/** In the child process: carries out orders until the parent disconnects. Does nothing if `file` is not the main module. */
export function serveParent(
  file: string,
  carryOut: (order: never) => Promise<unknown>,
): void {
  if (process.send === undefined || process.argv[1] !== fileURLToPath(file))
    return;
  process.on("message", (order) => {
    carryOut(order as never).then(
      (answer) => process.send?.(answer),
      (error: unknown) => process.send?.({ error: String(error) }),
    );
  });
  process.once("disconnect", () => process.exit());
}
