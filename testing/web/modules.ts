/** What the session core imports of Node and of `ws`, as the web has it. Only the browser's bundle has this. */
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

/** Asked only whether something is a request of Node's: nothing is. */
export function IncomingMessage() {}

/** Asked only for the numbers of its states. */
export const WebSocket = { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 };

/** Resolves at the next event of that name. */
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
    const heard = () => resolve();
    if (target.once !== undefined) target.once(event, heard);
    else target.addEventListener?.(event, heard, { once: true });
  });
}

/** For names only, of which nothing depends on being hard to guess. */
export function randomBytes(length: number): {
  toString(encoding: "hex"): string;
} {
  const text = Array.from({ length }, () => randomUUID().slice(0, 2)).join("");
  return { toString: () => text };
}

/** A journal here has no disk. */
export function open(): Promise<never> {
  return Promise.reject(new Error("There are no files here"));
}
export const rm = open;

export function join(...parts: readonly string[]): string {
  return parts.join("/");
}

/** Event targets of the web never complain of many listeners. */
export function setMaxListeners(): void {}

export { Emitter as EventEmitter } from "../emitter.ts";

/** Of a token that guards nothing: who can ask runs in this page. */
export function createHash() {
  let said = "";
  const hash = {
    update(text: string) {
      said = text;
      return hash;
    },
    digest: () => said,
  };
  return hash;
}

export function timingSafeEqual(a: string, b: string): boolean {
  return a === b;
}

/** Asked only for what goes to disk: nothing does. */
export function crc32(): number {
  return 0;
}
