/** What Node has as globals, and browsers have not or have otherwise. Only the browser's bundle has this. */
export { Buffer } from "./buffer.ts";

export const process = { pid: 1, platform: "browser", env: {} };

type Act = (...args: unknown[]) => void;
type Start = (act: Act, ms?: number, ...args: unknown[]) => unknown;

/** Looked up at each call, so that fake timers are found. */
export const setTimeout: Start = (...args) =>
  handleOf((globalThis.setTimeout as unknown as Start)(...args));
export const setInterval: Start = (...args) =>
  handleOf((globalThis.setInterval as unknown as Start)(...args));

/** A timer's handle with Node's `unref`, which means nothing where no process waits for it. */
function handleOf(handle: unknown): unknown {
  if (typeof handle !== "number") return handle;
  const timer = {
    unref: () => timer,
    /** By this `clearTimeout` takes it for the number that it is. */
    [Symbol.toPrimitive]: () => handle,
  };
  return timer;
}
