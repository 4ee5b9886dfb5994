/** Cursor positions: the Jupyter protocol counts code points, JavaScript strings count UTF-16 units. */

/** client → kernel. A position within a surrogate pair counts as the pair's end. */
export function toCodePoints(code: string, index: number): number {
  return Array.from(code.slice(0, Math.max(0, index))).length;
}

/** kernel → client */
export function toIndex(code: string, points: number): number {
  let index = 0;
  let seen = 0;
  for (const character of code) {
    if (seen >= points) break;
    seen += 1;
    index += character.length;
  }
  return index;
}
