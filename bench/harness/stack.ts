/** What a question has opened, closed in the reverse order. (`AsyncDisposableStack` is not in every Node.) */
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
