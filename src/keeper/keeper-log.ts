/** The log of a keeper: a private file, which is moved aside once it is large. */
import { renameSync } from "node:fs";
import { lineOf } from "../log/line.ts";
import type { Log } from "../log/log.ts";
import { LogSink } from "../log/log-sink.ts";

/** Characters. */
const LIMIT = 10 * 1024 * 1024;
const FLUSH_TIMEOUT_MS = 500;

const LEVELS = {
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  fatal: 60,
} as const;

export interface KeeperLog {
  readonly log: Log;
  /** Resolves when the last lines are written. */
  flushed(): Promise<void>;
}

/** Lines of `least` and above; the file of an earlier keeper is moved aside. */
export function keeperLog(
  path: string,
  least: keyof typeof LEVELS = "info",
): KeeperLog {
  let written = 0;
  const opened = (): LogSink => {
    try {
      renameSync(path, `${path}.1`);
    } catch {
      // There is none.
    }
    written = 0;
    return LogSink.file(path);
  };
  let sink = opened();
  const write = (line: string): void => {
    if (written > LIMIT) {
      sink[Symbol.dispose]();
      sink = opened();
    }
    written += line.length;
    sink.write(line);
  };
  const logOf = (bound: object): Log => {
    const at =
      (level: number) =>
      (first: object | string, msg?: string): void => {
        if (level < LEVELS[least]) return;
        const time = Date.now();
        const { err, ...bindings } =
          typeof first === "string" ? {} : (first as { err?: unknown });
        const fault = err instanceof Error ? err : undefined;
        const day = new Date(time).toISOString().slice(0, 10);
        const record = {
          ...bound,
          ...bindings,
          ...(fault && {
            err: {
              message: fault.message,
              ...(fault.stack !== undefined && { stack: fault.stack }),
            },
          }),
          time,
          level,
          msg: typeof first === "string" ? first : (msg ?? ""),
        };
        write(`${day} ${lineOf(record)}`);
      };
    return {
      trace: at(LEVELS.trace),
      debug: at(LEVELS.debug),
      info: at(LEVELS.info),
      warn: at(LEVELS.warn),
      error: at(LEVELS.error),
      fatal: at(LEVELS.fatal),
      child: (bindings) => logOf({ ...bound, ...bindings }),
    };
  };
  return {
    log: logOf({}),
    async flushed() {
      await sink.flushed(FLUSH_TIMEOUT_MS);
      sink[Symbol.dispose]();
    },
  };
}
