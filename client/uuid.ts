/** A random UUID. Pages that are not served securely have random numbers, but no `randomUUID`. */
export function uuid(): string {
  const { crypto } = globalThis;
  // The types promise it; such pages do not.
  if ((crypto.randomUUID as unknown) !== undefined) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = Array.from(bytes, (byte, at) => {
    const fixed =
      at === 6 ? (byte & 0x0f) | 0x40 : at === 8 ? (byte & 0x3f) | 0x80 : byte;
    return fixed.toString(16).padStart(2, "0");
  }).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
