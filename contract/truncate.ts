/** Shortening text without breaking a character. */

/** The first `length` UTF-16 units of a text; one unit less if the last would be half of a surrogate pair. */
export function truncate(text: string, length: number): string {
  const isSplit = /[\ud800-\udbff]/.test(text.charAt(length - 1));
  return text.slice(0, isSplit ? length - 1 : length);
}
