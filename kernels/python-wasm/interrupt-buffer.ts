/**
 * The buffer in which Pyodide looks for an interrupt. Between bytecodes it reads
 * the first byte and then writes zero there. In shared memory these are two
 * steps: an interrupt that another thread writes between them would be lost.
 * This buffer writes the zero only over the value that was read.
 */
export function interruptBuffer(signal: Uint8Array): Uint8Array {
  let read = 0;
  const buffer = {
    get 0() {
      return (read = Atomics.load(signal, 0));
    },
    set 0(_zero: number) {
      if (read !== 0) Atomics.compareExchange(signal, 0, read, 0);
    },
  };
  return buffer as unknown as Uint8Array; // Pyodide uses only the first element
}
