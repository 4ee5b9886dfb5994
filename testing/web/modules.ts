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
