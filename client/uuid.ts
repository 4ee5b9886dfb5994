/** A random UUID. Pages that are not loaded over HTTPS have random numbers, but no `randomUUID`. */
export function uuid(): string {
  const { crypto } = globalThis;
  // Its type says that it always exists, but it does not.
  if ((crypto.randomUUID as unknown) !== undefined) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = Array.from(bytes, (byte, index) => {
    const fixed =
      index === 6
        ? (byte & 0x0f) | 0x40
        : index === 8
          ? (byte & 0x3f) | 0x80
          : byte;
    return fixed.toString(16).padStart(2, "0");
  }).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
