/** The part of Node's `EventEmitter` that the server uses of a request, a response or a socket. */
type Listener = (...args: unknown[]) => void;

export class Emitter {
  readonly #listeners = new Map<string, Set<Listener>>();

  on(event: string, listener: Listener): this {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return this;
  }

  once(event: string, listener: Listener): this {
    const first: Listener = (...args) => {
      this.off(event, first);
      this.off(event, listener);
      listener(...args);
    };
    this.on(event, first);
    this.#firsts.set(listener, first);
    return this;
  }
  readonly #firsts = new WeakMap<Listener, Listener>();

  off(event: string, listener: Listener): this {
    const listeners = this.#listeners.get(event);
    listeners?.delete(listener);
    listeners?.delete(this.#firsts.get(listener) ?? listener);
    return this;
  }

  removeListener(event: string, listener: Listener): this {
    return this.off(event, listener);
  }

  /** Does nothing: this emitter never warns about many listeners. */
  setMaxListeners(): this {
    return this;
  }

  emit(event: string, ...args: unknown[]): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      listener(...args);
    }
  }
}
