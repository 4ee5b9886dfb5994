/** What Node has as globals, and browsers have not or have otherwise. Only the browser's bundle has this. */
export { Buffer } from "./buffer.ts";

export const process = { pid: 1, platform: "browser", env: {} };

/** A timer's handle with Node's `unref`, which means nothing where no process waits for it. */
class Timer {
  readonly #id: number;

  constructor(id: number) {
    this.#id = id;
  }

  unref(): this {
    return this;
  }

  /** By this `clearTimeout` takes it for the number that it is. */
  [Symbol.toPrimitive](): number {
    return this.#id;
  }
}

type Act = (...args: unknown[]) => void;
type Start = (act: Act, ms?: number, ...args: unknown[]) => unknown;

/** Looked up at each call, so that fake timers are found. */
export const setTimeout: Start = (...args) =>
  handleOf((globalThis.setTimeout as unknown as Start)(...args));
export const setInterval: Start = (...args) =>
  handleOf((globalThis.setInterval as unknown as Start)(...args));

function handleOf(handle: unknown): unknown {
  return typeof handle === "number" ? new Timer(handle) : handle;
}
