/**
 * One line per decision; usable from every room. What a line may never hold:
 * a key, a token (not even a wrong one), an environment value, a user's code.
 *
 * Writing a line never waits, and never fails: see `log/log-sink.ts`.
 */
import { pino } from "pino";
import { type Filter, filterAt } from "./filter.ts";
import { lineOf, type LogRecord, targetOf } from "./line.ts";
import { LogSink } from "./log-sink.ts";

/** As much of a logger of pino's as is used here: with what, and which words; or the words alone. */
export interface Log {
  trace: LogLine;
  debug: LogLine;
  info: LogLine;
  warn: LogLine;
  error: LogLine;
  fatal: LogLine;
  /** The same, with something that each of its lines holds. */
  child(bindings: Readonly<Record<string, unknown>>): Log;
}

interface LogLine {
  (bindings: object, message: string): void;
  (message: string): void;
}

/** For those who embed the server and do not listen to it. */
export function silentLog(): Log {
  return pino({ level: "silent" });
}

export interface LogBookOptions {
  readonly filter?: Filter;
  /** In addition to the standard streams; emptied. */
  readonly file?: string | undefined;
  readonly color?: boolean;
  /** Everything to standard error: standard output has another use. */
  readonly onStderr?: boolean;
}

/** How long last lines may take. */
const FLUSH_TIMEOUT_MS = 500;

/** A command's log: lines for the terminal, and for a file where one is named. */
export class LogBook implements AsyncDisposable, Disposable {
  readonly log: Log;
  /** Can be exchanged at any time, and holds for loggers that were made before. */
  filter: Filter;
  readonly #stdout: LogSink;
  readonly #stderr: LogSink;
  readonly #file: LogSink | undefined;
  readonly #mayColor: boolean;
  readonly #secrets = new Set<string>();

  /** Throws the system's error when the file cannot be written. */
  constructor({ filter, file, color, onStderr }: LogBookOptions = {}) {
    this.filter = filter ?? filterAt("info");
    this.#file = file === undefined ? undefined : LogSink.file(file);
    this.#stdout = LogSink.stdout();
    this.#stderr = LogSink.stderr(this.#stdout);
    if (onStderr === true) this.#stdout = this.#stderr;
    this.#mayColor = color ?? !process.env["NO_COLOR"];
    const isEnabled = (level: number) => level >= this.filter.least;
    this.log = pino(
      {
        base: null,
        // A child keeps the level it was born with; so all pass here, and the filter decides.
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

  /** A word that is struck out wherever it appears. Not one so short that it would hide others. */
  conceal(secret: string): void {
    if (secret.length >= 6) this.#secrets.add(secret);
  }

  /** For the person at the terminal, not for the log: nothing is struck out. */
  print(line: string): void {
    this.#stdout.write(`${line}\n`);
  }

  /** Resolves when the last lines are written, or time is up. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#sinks.map((sink) => sink.flushed(FLUSH_TIMEOUT_MS)),
    );
    this[Symbol.dispose]();
  }

  /** At once, for a way out that cannot wait. */
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
