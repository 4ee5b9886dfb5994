/**
 * Runs code in a session for a person or a pipe: shows its output, answers its input
 * requests, interrupts it at Ctrl-C or a timeout, and reports why its kernel died.
 */
import {
  type Execution,
  type ExecutionEvent,
  type Session,
  SupervisorError,
} from "../../client/index.ts";
import { END_OF_INPUT, type InputPrompt, inputReader } from "./answers.ts";
import type { CodeInput } from "./code.ts";
import type { Ending } from "./ending.ts";
import type { CommandError, ExitCode } from "./exit.ts";
import type { Show } from "./show.ts";
import type { Terminal } from "./terminal.ts";
import { withReplyError } from "./reply-error.ts";
import { until } from "./until.ts";

export interface RunOptions {
  readonly terminal: Terminal;
  readonly show: Show;
  readonly ending: Ending;
  /** Whether the session ends with the command. */
  readonly isOurs: boolean;
  readonly timeout_ms?: number | undefined;
}

/** How code ended. */
export interface CodeOutcome {
  /** The kernel's status, or `timeout`, or `left` if the command ended before the code. */
  readonly status: "ok" | "error" | "aborted" | "timeout" | "left";
  readonly execution_count: number | null;
  readonly exit: ExitCode;
}

/** How long the kernel may take to end code that was interrupted by the timeout. */
const INTERRUPT_TIMEOUT_MS = 5_000;
/** How long a request for the kernel's last output, or an interrupt at the end, may take. */
const SHORT_TIMEOUT_MS = 2_000;

/** Resolves when the code or the command has ended. Rejects with `kernel_exited`, with the kernel's last output, if the kernel died. */
export async function runCode(
  code: CodeInput,
  session: Session,
  options: RunOptions,
): Promise<CodeOutcome> {
  const { ending, show, terminal, timeout_ms } = options;
  ending.signal.throwIfAborted();
  const execution = session.execute(code.text, {
    collect: false,
    allow_stdin: !code.isFromStdin,
  });
  const input = answerInputRequests(execution, terminal);
  let cause: "interrupted" | "timeout" | undefined;
  ending.onInterrupt = () => {
    cause ??= "interrupted";
    void stop(execution, options);
  };
  using _clock = clock(timeout_ms, {
    expired: () => {
      cause ??= "timeout";
      void interrupt(execution);
    },
    unresponsive: () => ending.end("timeout"),
  });
  let seen = 0;
  try {
    const events = withReplyError(execution);
    for await (const event of until(events, ending.signal)) {
      seen = event.seq;
      await show(event);
      input.receive(event);
    }
    if (ending.hasEnded) return await cutShort(execution, session, options);
    const { status, execution_count } = await execution;
    if (status === "aborted") {
      await terminal.err.line(
        "kallichore: The code did not run, because earlier code failed or was interrupted",
      );
    }
    if (cause === "timeout") await printTimeout(options);
    const exit = status === "ok" ? "ok" : "code_error";
    return {
      status: cause === "timeout" ? "timeout" : status,
      execution_count,
      exit:
        cause === "timeout" || exit === "code_error" ? (cause ?? exit) : exit,
    };
  } catch (error) {
    if (ending.hasEnded) return await cutShort(execution, session, options);
    throw await withFinalOutput(error, session, seen);
  } finally {
    ending.onInterrupt = undefined;
    input.end();
  }
}

/** Handles the first Ctrl-C. */
async function stop(
  execution: Execution,
  { terminal: { err }, isOurs }: RunOptions,
): Promise<void> {
  if (err.isTerminal) {
    const next = isOurs ? "kills the kernel" : "leaves the code running";
    await err.line(err.colors.dim(`\nInterrupting; Ctrl-C again ${next}`));
  }
  await interrupt(execution);
}

/** Ignores errors: the code may have ended meanwhile. */
async function interrupt(execution: Execution): Promise<void> {
  await execution.interrupt().catch(() => {});
}

async function printTimeout({ terminal: { err }, timeout_ms = 0 }: RunOptions) {
  await err.line(
    `kallichore: The code was interrupted after ${timeout_ms / 1000} s (--timeout)`,
  );
}

/** The end of a command that did not wait for its code. It interrupts the code in a session that stays, unless an interrupt had no effect before. The command's own kernel is killed later. */
async function cutShort(
  execution: Execution,
  { session_id }: Session,
  options: RunOptions,
): Promise<CodeOutcome> {
  const { ending, isOurs, terminal } = options;
  const reason = ending.signal.reason as CommandError;
  if (!reason.isKnown) throw reason;
  const { exit } = reason;
  if (exit === "timeout") await printTimeout(options);
  if (!isOurs && exit !== "interrupted" && exit !== "timeout") {
    const timeout = new Promise<void>((resolve) =>
      setTimeout(resolve, SHORT_TIMEOUT_MS).unref(),
    );
    await Promise.race([interrupt(execution), timeout]);
  } else if (!isOurs) {
    await terminal.err.line(
      `The code still runs. To kill its kernel: kallichore kill ${session_id}`,
    );
  }
  const status = exit === "timeout" ? "timeout" : "left";
  return { status, execution_count: null, exit };
}

/** Calls `expired` after the timeout, and `unresponsive` if the code has not ended some time later. */
function clock(
  timeout_ms: number | undefined,
  handlers: {
    readonly expired: () => void;
    readonly unresponsive: () => void;
  },
): Disposable {
  if (timeout_ms === undefined) return { [Symbol.dispose]: () => {} };
  let timer = setTimeout(() => {
    handlers.expired();
    timer = setTimeout(handlers.unresponsive, INTERRUPT_TIMEOUT_MS);
  }, timeout_ms);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

/** Adds the last output of a kernel that died to the error. */
async function withFinalOutput(
  error: unknown,
  session: Session,
  after: number,
): Promise<unknown> {
  if (!(error instanceof SupervisorError) || error.reason !== "kernel_exited") {
    return error;
  }
  const signal = AbortSignal.timeout(SHORT_TIMEOUT_MS);
  try {
    for await (const event of session.events({ after, signal })) {
      if (event.kind !== "exited") continue;
      return new SupervisorError("kernel_exited", error.message, {
        cause: error,
        startup: { exit_code: event.exit_code, output: event.output },
      });
    }
  } catch {
    // The output is no longer available; the error still says that the kernel died.
  }
  return error;
}

/** Answers input requests. One is open at a time; the end of the code closes it. */
function answerInputRequests(execution: Execution, terminal: Terminal) {
  const ask = inputReader(terminal);
  let open: AbortController | undefined;
  const end = (): void => {
    open?.abort();
    open = undefined;
  };
  const answer = async (request: InputPrompt): Promise<void> => {
    end();
    open = new AbortController();
    const { signal } = open;
    const text = await ask(request, signal);
    if (signal.aborted) return;
    try {
      await execution.answer(text ?? END_OF_INPUT);
    } catch {
      // The code no longer waits; the end of the execution is reported elsewhere.
    }
  };
  const receive = (event: ExecutionEvent): void => {
    if (event.type === "input_request") void answer(event);
    // Other messages do not end the request: one thread may print while another waits for input.
    else if (event.type === "error" || event.type === "execute_reply") end();
  };
  return { receive, end };
}
