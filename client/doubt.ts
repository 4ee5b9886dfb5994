/** The doubt whether something will still come: it is acted on when nothing was heard for a while. */
const PATIENCE_MS = 3_000;

export class Doubt {
  readonly #act: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heardAt = 0;

  constructor(act: () => void) {
    this.#act = act;
  }

  /** Something came: what is missing may be behind it. */
  heard(): void {
    this.#heardAt = performance.now();
  }

  begin(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (performance.now() - this.#heardAt < PATIENCE_MS) this.begin();
      else this.#act();
    }, PATIENCE_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
