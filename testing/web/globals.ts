/** Node's globals that browsers lack or define otherwise. Only the browser bundle contains this file. */
export { Buffer } from "./buffer.ts";

export const process = { pid: 1, platform: "browser", env: {} };

type Act = (...args: unknown[]) => void;
type Start = (act: Act, ms?: number, ...args: unknown[]) => unknown;

/** The global function is looked up at each call, so that fake timers work. */
export const setTimeout: Start = (...args) =>
  handleOf((globalThis.setTimeout as unknown as Start)(...args));
export const setInterval: Start = (...args) =>
  handleOf((globalThis.setInterval as unknown as Start)(...args));

/** A timer handle with Node's `unref`, which does nothing, because no process waits for the timer. */
function handleOf(handle: unknown): unknown {
  if (typeof handle !== "number") return handle;
  const timer = {
    unref: () => timer,
    /** Lets `clearTimeout` convert the handle to its number. */
    [Symbol.toPrimitive]: () => handle,
  };
  return timer;
}
