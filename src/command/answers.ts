/**
 * Reads the answers to input requests of code: from the person at the terminal, or
 * else from standard input, one line for each request. Nothing is read before a
 * request.
 */
import { createInterface, type Interface } from "node:readline";
import { Writable } from "node:stream";
import type { Terminal } from "./terminal.ts";

export interface InputPrompt {
  readonly prompt: string;
  /** Whether the terminal must not show the typed text. */
  readonly password: boolean;
}

/** ipykernel reads this as the end of the input. */
export const END_OF_INPUT = "\u0004";

/** Returns a function that resolves with a line, without its line end; with `undefined` if the input has ended or `signal` has aborted. */
export function inputReader(terminal: Terminal) {
  let lines: AsyncIterator<string> | undefined;
  return async (
    request: InputPrompt,
    signal: AbortSignal,
  ): Promise<string | undefined> => {
    if (process.stdin.isTTY) return askPerson(request, terminal, signal);
    await terminal.err.write(request.prompt);
    lines ??= createInterface({
      input: process.stdin,
      crlfDelay: Infinity,
    })[Symbol.asyncIterator]();
    const next = await lines.next();
    await terminal.err.line(); // a terminal would show the line end of the typed answer
    return next.done === true ? undefined : next.value;
  };
}

/** Ctrl-D on an empty line is the end of the input; Ctrl-C is for the signal's listeners. */
function askPerson(
  { prompt, password }: InputPrompt,
  { err }: Terminal,
  signal: AbortSignal,
): Promise<string | undefined> {
  const screen = err.isTerminal ? process.stderr : process.stdout;
  const discard = new Writable({ write: (_chunk, _encoding, done) => done() });
  const editor: Interface = createInterface({
    input: process.stdin,
    output: password ? discard : screen,
    terminal: true,
    historySize: 0,
  });
  if (password) screen.write(prompt);
  return new Promise((resolve) => {
    const abort = () => editor.close();
    signal.addEventListener("abort", abort);
    editor.on("SIGINT", () => process.kill(process.pid, "SIGINT")); // in raw mode, the terminal sends no signal for Ctrl-C
    editor.on("close", () => {
      signal.removeEventListener("abort", abort);
      resolve(undefined);
    });
    editor.question(password ? "" : prompt, (answer) => {
      if (password) screen.write("\n");
      resolve(answer);
      editor.close();
    });
  });
}
