/**
 * Reads lines from the person at the terminal, with editing, history and
 * completion. One prompt serves the whole conversation: lines that are typed or
 * pasted early wait in a queue, and the next requests for a line take them.
 */
import { createInterface, type Interface } from "node:readline";
import { Writable } from "node:stream";

export interface PromptOptions {
  /** Completes the end of `line`: resolves with the candidates, and the part of the line that they replace. */
  readonly complete: (
    line: string,
  ) => Promise<[candidates: string[], part: string]>;
  /** Called at Ctrl-C. */
  readonly interrupted: () => void;
  /** The newest first. */
  readonly history: readonly string[];
}

const HISTORY_LIMIT = 1_000;
/** Lines in the queue. The prompt drops further pasted lines, as a terminal's own buffer does. */
const QUEUE_LIMIT = 10_000;

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
  /** The lines for Up and Down, the newest first: code only, never an answer. */
  #history: readonly string[];
  /** The line editor's own list, which it publishes with its first line. */
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
    // The editor adds every line to its history; this class decides which lines stay.
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

  /** Whether typed lines wait in the queue. */
  get hasMore(): boolean {
    return this.#lines.length > 0;
  }

  /** Resolves with the next line of code and adds it to the history; with `undefined` from the first Ctrl-D on. `draft` is the initial text of the line. */
  async askCode(prompt: string, draft = ""): Promise<string | undefined> {
    const line = await this.#ask(prompt, { draft, hidden: false });
    if (line !== undefined) this.#remember(line);
    return line;
  }

  /** Resolves with the answer to an input request of running code. The answer may be a password, so it is not added to the history. */
  askAnswer(prompt: string, hidden: boolean): Promise<string | undefined> {
    return this.#ask(prompt, { draft: "", hidden });
  }

  /** Ends the open request for a line with an empty line. */
  withdraw(): void {
    this.#answer("");
  }

  /** Prints above the line that is being typed. */
  async printAbove(show: () => Promise<void>): Promise<void> {
    const isOpen = this.#resolveLine !== undefined && !this.#isMuted;
    if (isOpen) this.#screen.write("\r\u001b[J");
    await show();
    if (isOpen && !this.#isClosed) this.#interface.prompt(true);
  }

  /** Removes the text of the current line, and the lines in the queue. */
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
    else if (this.#lines.length < QUEUE_LIMIT) this.#lines.push(line);
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
