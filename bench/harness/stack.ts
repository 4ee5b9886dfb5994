/** The resources of a question, disposed of in the reverse order. (Not every Node has `AsyncDisposableStack`.) */
export class Stack implements AsyncDisposable {
  readonly #all: AsyncDisposable[] = [];

  use<T extends AsyncDisposable>(opened: T): T {
    this.#all.push(opened);
    return opened;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const opened of this.#all.toReversed())
      await opened[Symbol.asyncDispose]();
  }
}
