/**
 * Where Pyodide looks for an interrupt: between bytecodes it reads the first
 * byte of a buffer, and then writes zero there. In shared memory these are two
 * steps, and an interrupt that another thread writes between them would be
 * wiped away unread. Here the zero removes only what was read before it.
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
  return buffer as unknown as Uint8Array; // of which Pyodide uses the first element
}
