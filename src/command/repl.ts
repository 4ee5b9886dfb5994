/**
 * A prompt on a session: runs the code that the person types, and shows its
 * output and what other clients of the session do. The session does not change
 * when the person leaves.
 */
import type { Execution, Session, SessionEvent } from "../../client/index.ts";
import { isMessage } from "../../client/events.ts";
import { toExecutionEvent } from "../../client/execution-event.ts";
import type { Ending } from "./ending.ts";
import { END_OF_INPUT } from "./answers.ts";
import { Prompt } from "./prompt.ts";
import type { Show } from "./show.ts";
import type { Terminal } from "./terminal.ts";
import { withReplyError } from "./reply-error.ts";
import { until } from "./until.ts";

/** How long a kernel that may be busy has to answer a request for completeness, completion or history. */
const SHORT_TIMEOUT_MS = 1_500;
const HISTORY = 500;

export interface ReplOptions {
  readonly terminal: Terminal;
  readonly show: Show;
  readonly ending: Ending;
}

export class Repl implements Disposable {
  readonly #session: Session;
  readonly #terminal: Terminal;
  readonly #show: Show;
  readonly #ending: Ending;
  readonly #prompt: Prompt;
  /** The ids of this prompt's own requests, whose output is shown while they run. */
  readonly #ours = new Set<string>();
  #execution: Execution | undefined;
  #count: number | undefined;
  #lines: string[] = [];
  #isDead = false;

  private constructor(
    session: Session,
    history: readonly string[],
    { terminal, show, ending }: ReplOptions,
  ) {
    this.#session = session;
    this.#terminal = terminal;
    this.#show = show;
    this.#ending = ending;
    this.#prompt = new Prompt({
      history,
      complete: (line) => this.#complete(line),
      interrupted: () => this.#interrupted(),
    });
  }

  /** Reads the kernel's history first. */
  static async open(session: Session, options: ReplOptions): Promise<Repl> {
    return new Repl(session, await historyOf(session), options);
  }

  /** Resolves when the person leaves, the command ends, or the session is deleted. */
  async start(): Promise<void> {
    const others = this.#listen();
    for (;;) {
      const line = await this.#ending.orEnd(
        Promise.race([this.#nextLine(), others]),
      );
      if (line === undefined) break;
      await this.#handleLine(line);
    }
    if (this.#execution !== undefined) return;
    await this.#terminal.out.line();
  }

  [Symbol.dispose](): void {
    this.#prompt[Symbol.dispose]();
  }

  async #nextLine(): Promise<string | undefined> {
    const isFirst = this.#lines.length === 0;
    const { green, dim } = this.#terminal.out.colors;
    const label = `In [${this.#count ?? " "}]: `;
    if (isFirst) return this.#prompt.askCode(green(label));
    const more = dim(`${" ".repeat(label.length - 5)}...: `);
    return this.#prompt.askCode(more, this.#indent);
  }

  #indent = "";

  async #handleLine(line: string): Promise<void> {
    this.#lines.push(line.trim() === "" ? "" : line);
    const code = this.#lines.join("\n");
    if (code.trim() === "") {
      this.#lines = [];
      return;
    }
    if (await this.#isIncomplete(code)) return;
    this.#lines = [];
    await this.#run(code);
  }

  async #isIncomplete(code: string): Promise<boolean> {
    this.#indent = "";
    if (this.#isDead) return false;
    try {
      const { status, indent = "" } = await this.#session.isComplete(code, {
        timeout_ms: SHORT_TIMEOUT_MS,
      });
      if (!this.#prompt.hasMore) this.#indent = indent; // pasted lines have their own indent
      return status === "incomplete";
    } catch {
      return false; // the kernel is busy or cannot tell; it reports errors when it runs the code
    }
  }

  async #run(code: string): Promise<void> {
    const { err } = this.#terminal;
    if (this.#isDead) {
      await err.line(
        `The kernel has ended. To start one: kallichore restart ${this.#session.session_id}`,
      );
      return;
    }
    const execution = this.#session.execute(code, { collect: false });
    this.#ours.add(execution.msg_id);
    this.#execution = execution;
    const events = withReplyError(execution);
    try {
      for await (const event of until(events, this.#ending.signal)) {
        await this.#show(event);
        if (event.type === "input_request") void this.#answer(event, execution);
        if (event.type === "error" || event.type === "execute_reply") {
          if (this.#isAwaitingAnswer) this.#prompt.withdraw();
        }
        if (event.type === "execute_reply" && event.execution_count !== null) {
          this.#count = event.execution_count + 1;
        }
      }
    } catch (error) {
      await err.line(
        `${err.colors.red("kallichore:")} ${(error as Error).message}`,
      );
    } finally {
      this.#execution = undefined;
    }
  }

  #isAwaitingAnswer = false;

  async #answer(
    { prompt, password }: { prompt: string; password: boolean },
    execution: Execution,
  ): Promise<void> {
    this.#isAwaitingAnswer = true;
    const text = await this.#prompt.askAnswer(prompt, password);
    this.#isAwaitingAnswer = false;
    try {
      await execution.answer(text ?? END_OF_INPUT);
    } catch {
      // The code no longer waits; the end of the execution is reported elsewhere.
    }
  }

  /** Shows what other clients do in the session. Resolves when the session is deleted. */
  async #listen(): Promise<undefined> {
    const { signal } = this.#ending;
    for await (const event of this.#session.events({ signal })) {
      if (event.kind === "exited") {
        this.#isDead = true;
        await this.#prompt.printAbove(() => this.#printExit(event));
      } else if (event.kind === "status" && event.status === "starting") {
        this.#isDead = false;
        this.#count = undefined;
      } else if (isMessage(event)) await this.#showOther(event);
    }
    await this.#prompt.printAbove(() =>
      this.#terminal.err.line("The session was deleted"),
    );
  }

  async #showOther(event: Extract<SessionEvent, { msg_type: string }>) {
    const parent = event.parent_header?.msg_id;
    if (parent === undefined || this.#ours.has(parent)) {
      return;
    }
    const shown = toExecutionEvent(event);
    const { out } = this.#terminal;
    switch (shown.type) {
      case "execute_input":
        await this.#prompt.printAbove(() => {
          const label = `[${shown.execution_count ?? " "}] `;
          return out.line(out.colors.dim(label + shown.code));
        });
        break;
      case "stream":
        await this.#prompt.printAbove(() =>
          this.#show({ ...shown, text: shown.text.replace(/\n?$/, "\n") }),
        );
        break;
      case "display_data":
      case "execute_result":
      case "update_display_data":
      case "error":
        await this.#prompt.printAbove(() => this.#show(shown));
        break;
      default: // of interest only to the other client
    }
  }

  #printExit({
    exit_code,
    signal,
    output,
    oom,
    limit,
  }: Extract<SessionEvent, { kind: "exited" }>): Promise<void> {
    const { err } = this.#terminal;
    const end = signal ?? `exit code ${exit_code}`;
    const how =
      limit === "run_time"
        ? `${end}, it has run for as long as it may`
        : oom === true
          ? `${end}, out of memory`
          : end;
    const lastOutput =
      output.trim() === "" ? "" : `\n${err.colors.dim(output.trimEnd())}`;
    return err.line(`The kernel ended (${how})${lastOutput}`);
  }

  #interrupted(): void {
    if (this.#execution !== undefined) {
      this.#execution.interrupt().catch(() => {}); // the execution has ended meanwhile
      return;
    }
    this.#lines = [];
    this.#prompt.clear();
    void this.#terminal.out.line("^C"); // never rejects
    this.#prompt.withdraw();
  }

  async #complete(line: string): Promise<[string[], string]> {
    if (line.trim() === "") return [["    "], line === "" ? "" : line];
    if (this.#execution !== undefined) return [[], line];
    const before = [...this.#lines, ""].join("\n");
    const code = before + line;
    const { matches, cursor_start } = await this.#session.complete(
      code,
      code.length,
      { timeout_ms: SHORT_TIMEOUT_MS },
    );
    if (cursor_start < before.length) return [[], line];
    return [[...matches], code.slice(cursor_start)];
  }
}

/** The one-line inputs of the kernel's history, the newest first. Empty if the kernel is busy or keeps no history. */
async function historyOf(session: Session): Promise<string[]> {
  try {
    const entries = await session.history({
      n: HISTORY,
      timeout_ms: SHORT_TIMEOUT_MS,
    });
    return entries
      .map(([, , input]) => (typeof input === "string" ? input : input[0]))
      .filter((input) => input !== "" && !input.includes("\n"))
      .reverse();
  } catch {
    return [];
  }
}
