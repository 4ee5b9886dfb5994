/** Forgets what was added first, where there are more than `limit`. */
export function keepLast(kept: Map<string, unknown>, limit: number): void {
  const [oldest] = kept.keys();
  if (kept.size > limit && oldest !== undefined) kept.delete(oldest);
}
