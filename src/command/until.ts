/** Yields `events` until `signal` aborts, even while no event arrives. The code that aborts must end the source. */
export async function* until<T>(
  events: AsyncIterable<T>,
  signal: AbortSignal,
): AsyncGenerator<T, void> {
  const source = events[Symbol.asyncIterator]();
  let wake = () => {};
  const abort = () => wake();
  signal.addEventListener("abort", abort);
  try {
    while (!signal.aborted) {
      const next = await new Promise<IteratorResult<T> | undefined>(
        (resolve, reject) => {
          wake = () => resolve(undefined);
          source.next().then(resolve, reject);
        },
      );
      if (next === undefined || next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
