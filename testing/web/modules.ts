/** Web replacements of the imports of the session core from Node and `ws`. Only the browser bundle contains this file. */
export function randomUUID(): string {
  return crypto.randomUUID();
}

export function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Used only in `instanceof` checks, which are always false here. */
export function IncomingMessage() {}

/** Used only for the numbers of its states. */
export const WebSocket = { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 };

/** Resolves at the next event with this name. */
export function once(
  target: {
    once?(event: string, listener: () => void): unknown;
    addEventListener?(
      event: string,
      listener: () => void,
      options: { once: true },
    ): unknown;
  },
  event: string,
): Promise<void> {
  return new Promise((resolve) => {
    const listener = () => resolve();
    if (target.once !== undefined) target.once(event, listener);
    else target.addEventListener?.(event, listener, { once: true });
  });
}

/** Used for names only, which need not be hard to guess. */
export function randomBytes(length: number): {
  toString(encoding: "hex"): string;
} {
  const text = Array.from({ length }, () => randomUUID().slice(0, 2)).join("");
  return { toString: () => text };
}

/** Never succeeds: a journal in memory has no disk. */
export function open(): Promise<never> {
  return Promise.reject(new Error("There are no files here"));
}
export const rm = open;

export function join(...parts: readonly string[]): string {
  return parts.join("/");
}

/** Does nothing: the web's event targets never warn about many listeners. */
export function setMaxListeners(): void {}

export { Emitter as EventEmitter } from "../emitter.ts";

/** Hashes nothing: the token protects nothing here, because every caller is code of this page. */
export function createHash() {
  let hashed = "";
  const hash = {
    update(text: string) {
      hashed = text;
      return hash;
    },
    digest: () => hashed,
  };
  return hash;
}

export function timingSafeEqual(a: string, b: string): boolean {
  return a === b;
}

/** Used only for data on disk, which does not exist here. */
export function crc32(): number {
  return 0;
}
