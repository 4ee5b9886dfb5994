/**
 * The log. All parts of the server use it. A line never contains a key, a token
 * (not even a wrong one), the value of an environment variable, or a user's code.
 *
 * Writing a line never waits, and never fails: see `log/log-sink.ts`.
 */
import { pino } from "pino";
import { type Filter, filterAt } from "./filter.ts";
import { lineOf, type LogRecord, targetOf } from "./line.ts";
import { LogSink } from "./log-sink.ts";

/** The part of a pino logger that the server uses: a message, with or without bindings. */
export interface Log {
  trace: LogLine;
  debug: LogLine;
  info: LogLine;
  warn: LogLine;
  error: LogLine;
  fatal: LogLine;
  /** Returns a log that adds these bindings to each line. */
  child(bindings: Readonly<Record<string, unknown>>): Log;
}

interface LogLine {
  (bindings: object, message: string): void;
  (message: string): void;
}

/** The default of a program that embeds the server. */
export function silentLog(): Log {
  return pino({ level: "silent" });
}

export interface LogBookOptions {
  readonly filter?: Filter;
  /** A file for the log, in addition to the standard streams; it is emptied. */
  readonly file?: string | undefined;
  /** Whether the file goes on with what is in it. */
  readonly isContinued?: boolean | undefined;
  readonly color?: boolean;
  /** Writes all lines to standard error, if standard output has another use. */
  readonly onStderr?: boolean;
}

/** How long writing the last lines may take. */
const FLUSH_TIMEOUT_MS = 500;

/** A command's log: it writes lines to the terminal, and to a file if one is given. */
export class LogBook implements AsyncDisposable, Disposable {
  readonly log: Log;
  /** May be replaced at any time; this also affects existing child logs. */
  filter: Filter;
  readonly #stdout: LogSink;
  readonly #stderr: LogSink;
  readonly #file: LogSink | undefined;
  readonly #mayColor: boolean;
  readonly #secrets = new Set<string>();

  /** Throws the system's error if the file cannot be written. */
  constructor(options: LogBookOptions = {}) {
    const { filter, file, isContinued, color, onStderr } = options;
    this.filter = filter ?? filterAt("info");
    this.#file =
      file === undefined ? undefined : LogSink.file(file, { isContinued });
    this.#stdout = LogSink.stdout();
    this.#stderr = LogSink.stderr(this.#stdout);
    if (onStderr === true) this.#stdout = this.#stderr;
    this.#mayColor = color ?? !process.env["NO_COLOR"];
    const isEnabled = (level: number) => level >= this.filter.least;
    this.log = pino(
      {
        base: null,
        // A child log keeps the level of its creation. So all records pass here, and the filter decides.
        level: "trace",
        hooks: {
          logMethod(args, method, level) {
            if (isEnabled(level)) method.apply(this, args);
          },
        },
      },
      { write: (text) => this.#record(JSON.parse(text) as LogRecord) },
    );
  }

  /** Replaces this word in all lines. A very short word is ignored, because it would occur in other words. */
  conceal(secret: string): void {
    if (secret.length >= 6) this.#secrets.add(secret);
  }

  /** Writes a line for the person at the terminal. It is not logged, and no secret in it is replaced. */
  print(line: string): void {
    this.#stdout.write(`${line}\n`);
  }

  /** Resolves when the last lines are written, or after a timeout. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#sinks.map((sink) => sink.flushed(FLUSH_TIMEOUT_MS)),
    );
    this[Symbol.dispose]();
  }

  /** Closes at once, for a process that cannot wait. */
  [Symbol.dispose](): void {
    for (const sink of this.#sinks) sink[Symbol.dispose]();
  }

  get #sinks(): readonly LogSink[] {
    const all = [this.#stdout, this.#stderr, this.#file];
    return [...new Set(all)].filter((sink) => sink !== undefined);
  }

  #record(record: LogRecord): void {
    if (!this.filter.passes(record.level, targetOf(record))) return;
    const secrets = this.#secrets;
    const plain = lineOf(record, { secrets });
    const terminal = record.level >= 50 ? this.#stderr : this.#stdout;
    terminal.write(
      terminal.isTerminal && this.#mayColor
        ? lineOf(record, { secrets, color: true })
        : plain,
    );
    this.#file?.write(plain);
  }
}
