/**
 * What one client sends, read in short steps, one after the other. While
 * others have their turn, no more is taken from the client's socket.
 */
import { share } from "../time/share.ts";

/** As much of a socket as this needs. */
interface Pausable {
  pause(): void;
  resume(): void;
}

export class InOrder {
  readonly #socket: Pausable;
  readonly #queue: Generator<void, void>[] = [];
  #isWaiting = false;

  constructor(socket: Pausable) {
    this.#socket = socket;
  }

  /** Does `work` after what was added before; it does not throw. */
  add(work: Generator<void, void>): void {
    this.#queue.push(work);
    if (!this.#isWaiting) this.#goOn();
  }

  #goOn(): void {
    for (;;) {
      const [work] = this.#queue;
      if (work === undefined) return;
      const turn = share.turn();
      if (turn !== undefined) {
        this.#wait(turn);
        return;
      }
      this.#step(work);
    }
  }

  #wait(turn: Promise<void>): void {
    if (!this.#isWaiting) this.#socket.pause();
    this.#isWaiting = true;
    void turn.then(() => {
      const [work] = this.#queue;
      if (work !== undefined) this.#step(work);
      if (this.#queue.length > 0) this.#wait(share.turn() ?? Promise.resolve());
      else {
        this.#isWaiting = false;
        this.#socket.resume();
      }
    });
  }

  #step(work: Generator<void, void>): void {
    if (work.next().done === true) this.#queue.shift();
  }
}
