/** A process of ours that is ordered about: one answer to each order, in turn. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { ended, owned } from "./process.ts";

const TIMEOUT_MS = 300_000;

export class Child<Order extends object> implements AsyncDisposable {
  readonly #child: ChildProcess;

  /** `file` lies beside this one, and calls `obey`. */
  constructor(file: string, args: readonly string[] = []) {
    const program = fileURLToPath(new URL(file, import.meta.url));
    this.#child = owned(fork(program, args));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  ask(order: Order): Promise<unknown> {
    const answer = this.answer();
    this.#child.send(order);
    return answer;
  }

  /** The next. */
  async answer(): Promise<unknown> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), TIMEOUT_MS);
    const { signal } = late;
    const exited = once(this.#child, "exit", { signal }).then(() => {
      throw new Error(`${this.#child.spawnargs.at(-1)} ended`);
    });
    const said = once(this.#child, "message", { signal });
    let answer: unknown;
    try {
      [answer] = (await Promise.race([said, exited])) as [unknown];
    } catch (error) {
      if (!signal.aborted) throw error;
      const after = `after ${TIMEOUT_MS / 1000} s`;
      throw new Error(
        `${this.#child.spawnargs.at(-1)} has not answered ${after}`,
      );
    } finally {
      clearTimeout(timer);
      said.catch(() => {}); // raced
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

/** In the child: carries orders out until the parent lets go. Nothing where the file is only imported. */
export function obey(
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
