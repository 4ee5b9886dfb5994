/**
 * A line at a time from the person at the terminal, with editing, history and
 * completion. One for the whole conversation: what is typed or pasted before it
 * is asked for waits, and is the answer to the next question.
 */
import { createInterface, type Interface } from "node:readline";
import { Writable } from "node:stream";

export interface PromptOptions {
  /** What could stand at the end of `line`: the candidates, and the part of it that they would replace. */
  readonly complete: (
    line: string,
  ) => Promise<[candidates: string[], part: string]>;
  /** Ctrl-C. */
  readonly interrupted: () => void;
  /** The newest first. */
  readonly history: readonly string[];
}

const HISTORY_LIMIT = 1_000;
/** Lines that wait; beyond it the rest of what was pasted is dropped, as a terminal's own buffer would. */
const MOST_LINES = 10_000;

export class Prompt implements Disposable {
  readonly #interface: Interface;
  /** Standard output, as the line editor sees it: silent while a password is typed. */
  readonly #screen = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      if (!this.#isMuted) process.stdout.write(chunk);
      done();
    },
  });
  #isMuted = false;
  readonly #lines: string[] = [];
  /** What Up and Down go through, the newest first: code only, never an answer. */
  #history: readonly string[];
  /** The line editor's own list, which it hands out with its first line. */
  #editorHistory: string[] | undefined;
  #resolveLine: ((line: string | undefined) => void) | undefined;
  #isClosed = false;

  constructor({ complete, interrupted, history }: PromptOptions) {
    Object.defineProperty(this.#screen, "columns", {
      get: () => process.stdout.columns,
    });
    this.#history = history;
    this.#interface = createInterface({
      input: process.stdin,
      output: this.#screen,
      terminal: true,
      history: [...history],
      historySize: HISTORY_LIMIT,
      removeHistoryDuplicates: true,
      completer: (line: string, done: Completed) => {
        complete(line).then(
          (found) => done(null, found),
          () => done(null, [[], line]), // the kernel is busy, or does not complete
        );
      },
    });
    this.#interface.setPrompt("");
    // The editor takes every line into its history; which of them belong there is decided here.
    this.#interface.on("history", (lines: string[]) => {
      this.#editorHistory = lines;
      this.#restoreHistory();
    });
    this.#interface.on("SIGINT", interrupted);
    this.#interface.on("line", (line) => this.#onLine(line));
    this.#interface.on("close", () => {
      this.#isClosed = true;
      this.#answer(undefined);
    });
  }

  /** Whether lines have been typed that nobody asked for yet. */
  get hasMore(): boolean {
    return this.#lines.length > 0;
  }

  /** The next line of code, which goes into the history; `undefined` after Ctrl-D, for ever. `draft` is there already, to be edited. */
  async askCode(prompt: string, draft = ""): Promise<string | undefined> {
    const line = await this.#ask(prompt, { draft, hidden: false });
    if (line !== undefined) this.#remember(line);
    return line;
  }

  /** The answer to a question of running code. It may be a password, so no answer goes into the history. */
  askAnswer(prompt: string, hidden: boolean): Promise<string | undefined> {
    return this.#ask(prompt, { draft: "", hidden });
  }

  /** Takes back the question that is open: it is answered with nothing. */
  withdraw(): void {
    this.#answer("");
  }

  /** Shows something above the question that is open, if one is. */
  async printAbove(show: () => Promise<void>): Promise<void> {
    const isOpen = this.#resolveLine !== undefined && !this.#isMuted;
    if (isOpen) this.#screen.write("\r\u001b[J");
    await show();
    if (isOpen && !this.#isClosed) this.#interface.prompt(true);
  }

  /** Forgets what has been typed of this line, or waits to be asked for. */
  clear(): void {
    this.#lines.length = 0;
    this.#interface.write(null, { ctrl: true, name: "e" });
    this.#interface.write(null, { ctrl: true, name: "u" });
  }

  [Symbol.dispose](): void {
    this.#interface.close();
  }

  #ask(
    prompt: string,
    { draft, hidden }: { draft: string; hidden: boolean },
  ): Promise<string | undefined> {
    const next = this.#lines.shift();
    if (next !== undefined || this.#isClosed) return Promise.resolve(next);
    return new Promise((resolve) => {
      this.#interface.setPrompt(prompt);
      this.#interface.prompt();
      if (draft !== "") this.#interface.write(draft);
      this.#isMuted = hidden;
      this.#resolveLine = resolve;
    });
  }

  #remember(line: string): void {
    if (line.trim() === "") return;
    const others = this.#history.filter((one) => one !== line);
    this.#history = [line, ...others].slice(0, HISTORY_LIMIT);
    this.#restoreHistory();
  }

  #restoreHistory(): void {
    this.#editorHistory?.splice(0, Infinity, ...this.#history);
  }

  #onLine(line: string): void {
    if (this.#resolveLine !== undefined) this.#answer(line);
    else if (this.#lines.length < MOST_LINES) this.#lines.push(line);
  }

  #answer(line: string | undefined): void {
    const answer = this.#resolveLine;
    this.#resolveLine = undefined;
    if (this.#isMuted) {
      this.#isMuted = false;
      this.#screen.write("\n");
    }
    if (!this.#isClosed) this.#interface.setPrompt("");
    answer?.(line);
  }
}

type Completed = (error: null, found: [string[], string]) => void;
