/** Resolves with the result of `promise`, or with `undefined` after `timeout_ms`. */
export async function within<T>(
  promise: Promise<T>,
  timeout_ms: number,
): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeout_ms);
  });
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}
