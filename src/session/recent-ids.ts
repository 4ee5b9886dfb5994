/** The `msg_id`s that were accepted lately, so that a client may repeat itself after a reconnect. */
const LIMIT = 20_000; // ids; the oldest go

export class RecentIds {
  readonly #ids = new Set<string>();

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  add(id: string): void {
    this.#ids.add(id);
    const [oldest] = this.#ids;
    if (this.#ids.size > LIMIT && oldest !== undefined)
      this.#ids.delete(oldest);
  }
}
