/** Base64 in any runtime: the runtime's own functions if it has them. */
interface Native {
  readonly fromBase64?: (text: string) => Uint8Array;
}

export function fromBase64(text: string): Uint8Array {
  const native = (Uint8Array as Native).fromBase64;
  if (native !== undefined) return native.call(Uint8Array, text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) {
    bytes[at] = binary.charCodeAt(at);
  }
  return bytes;
}

/** Bytes of one step: `fromCharCode` takes a limited number of arguments; a multiple of three. */
const PIECE = 0x6000;

/** The view's own bytes, not those of its whole buffer. */
export function toBase64(bytes: Uint8Array): string {
  const native = (bytes as { toBase64?: () => string }).toBase64;
  if (native !== undefined) return native.call(bytes);
  let text = "";
  for (let at = 0; at < bytes.length; at += PIECE) {
    text += btoa(String.fromCharCode(...bytes.subarray(at, at + PIECE)));
  }
  return text;
}
