/**
 * What must not outlive the process, whichever way it ends: taken away at once
 * when the process exits, last come first. Only a kill leaves it behind.
 */
export class Leftovers implements Disposable {
  readonly #owned: Disposable[] = [];
  readonly #onExit = () => this[Symbol.dispose]();

  constructor() {
    process.once("exit", this.#onExit);
  }

  own<T extends Disposable>(thing: T): T {
    this.#owned.push(thing);
    return thing;
  }

  [Symbol.dispose](): void {
    process.off("exit", this.#onExit);
    for (const thing of this.#owned.splice(0).reverse()) {
      try {
        thing[Symbol.dispose]();
      } catch {
        // The others must go, too; there is nobody left to tell.
      }
    }
  }
}
