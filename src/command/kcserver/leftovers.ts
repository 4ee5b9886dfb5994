/**
 * What must not outlive the process, whichever way it ends: taken away at once
 * when the process exits, last come first. Only a kill leaves it behind.
 */
export interface Leftovers extends Disposable {
  own(thing: Disposable): void;
}

export function removeOnExit(): Leftovers {
  const owned: Disposable[] = [];
  const remove = () => {
    process.off("exit", remove);
    for (const thing of owned.splice(0).reverse()) {
      try {
        thing[Symbol.dispose]();
      } catch {
        // The others must go, too; there is nobody left to tell.
      }
    }
  };
  process.once("exit", remove);
  return { own: (thing) => owned.push(thing), [Symbol.dispose]: remove };
}
