/**
 * Resources that must not outlive the process. They are removed when the process
 * exits, in reverse order. Only a killed process leaves them behind.
 */
export interface Leftovers extends Disposable {
  own(resource: Disposable): void;
}

export function removeOnExit(): Leftovers {
  const owned: Disposable[] = [];
  const remove = () => {
    process.off("exit", remove);
    for (const resource of owned.splice(0).reverse()) {
      try {
        resource[Symbol.dispose]();
      } catch {
        // The others must be removed, too; the log is closed by now.
      }
    }
  };
  process.once("exit", remove);
  return { own: (resource) => owned.push(resource), [Symbol.dispose]: remove };
}
