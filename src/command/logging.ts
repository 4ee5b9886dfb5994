/** Where the server's log goes: a file, else stderr; sentences on a terminal, JSON everywhere else. */
import { once } from "node:events";
import { pino } from "pino";
import type { LogLevel } from "../../contract/index.ts";
import type { Log } from "../log.ts";
import { CommandError } from "./exit.ts";
import type { Sink } from "./terminal.ts";

export interface Logging extends Disposable {
  readonly log: Log;
}

/** Rejects with `usage` where the file cannot be written. Dispose of it last: it writes what waits. */
export async function openLog(
  level: LogLevel,
  file: string | undefined,
  err: Sink,
): Promise<Logging> {
  if (file === undefined && err.isTerminal) {
    const log = pino(
      { level, base: null },
      { write: (line) => void sentence(err, line) },
    );
    return { log, [Symbol.dispose]: () => {} };
  }
  const destination = pino.destination({
    dest: file ?? 2,
    sync: false,
    mkdir: true,
    mode: 0o600,
  });
  if (file !== undefined) await opened(destination, file);
  destination.on("error", () => {}); // a full disk, a reader that left: no reason to end kernels
  return {
    log: pino({ level, base: null }, destination),
    [Symbol.dispose]() {
      try {
        destination.flushSync();
      } catch {
        return; // as above
      }
    },
  };
}

async function opened(
  destination: ReturnType<typeof pino.destination>,
  file: string,
): Promise<void> {
  try {
    await once(destination, "ready");
  } catch (cause) {
    const { code = "?" } = cause as NodeJS.ErrnoException;
    throw new CommandError(
      "usage",
      `The log file ${file} cannot be written: ${code}`,
      { cause },
    );
  }
}

interface Line {
  readonly level: number;
  readonly time: number;
  readonly msg?: string;
  readonly err?: { readonly message?: string };
  readonly [key: string]: unknown;
}

async function sentence(err: Sink, json: string): Promise<void> {
  const line = JSON.parse(json) as Line;
  const { level, time, msg = "", err: error, ...rest } = line;
  const clock = new Date(time).toTimeString().slice(0, 8);
  const more = Object.entries(rest)
    .filter(([key]) => key !== "pid" && key !== "hostname") // the person knows
    .map(
      ([key, value]) =>
        `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`,
    );
  const why = error?.message === undefined ? [] : [error.message];
  const { dim, yellow, red } = err.colors;
  const paint =
    level >= 50 ? red : level >= 40 ? yellow : (text: string) => text;
  const text = [paint(msg), ...why, dim(more.join(" "))].join("  ");
  await err.line(`${dim(clock)} ${text}`);
}
