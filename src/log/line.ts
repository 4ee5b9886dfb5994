/**
 * Formats a log record as one line: `HH:MM:SS [LEVEL] message`, in UTC. Debug and
 * trace records show their target; a record about a session begins with its id.
 *
 * No text of a client or a kernel can make a record look like two records:
 * further lines are indented, and control characters are escaped.
 */
import { concealed, isSecretField } from "./conceal.ts";

/** A parsed record of pino. */
export interface LogRecord {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly level: number;
  readonly msg?: string;
  readonly target?: string;
  readonly session?: string;
  readonly client?: string;
  readonly err?: LoggedError;
  readonly [field: string]: unknown;
}

interface LoggedError {
  readonly message?: string;
  readonly stack?: string;
}

const names = [
  { from: 50, name: "ERROR", color: "\u001b[31m" },
  { from: 40, name: "WARN", color: "\u001b[33m" },
  { from: 30, name: "INFO", color: "\u001b[34m" },
  { from: 20, name: "DEBUG", color: "\u001b[36m" },
  { from: 0, name: "TRACE", color: "\u001b[90m" },
] as const;

const COLOR_END = "\u001b[39m";

/** The fields at the beginning of a line. All other fields follow the message. */
const LEADING_FIELDS = new Set([
  "time",
  "level",
  "msg",
  "target",
  "session",
  "client",
]);

/** The origin of a record, with the names that `RUST_LOG` uses. */
export function targetOf({ target, session }: LogRecord): string {
  if (target !== undefined) return target;
  return session === undefined ? "kcserver::server" : "kcserver::session";
}

export interface LineOptions {
  readonly color?: boolean;
  readonly secrets?: Iterable<string>;
}

/** The line, with its line end. */
export function lineOf(
  record: LogRecord,
  { color = false, secrets = [] }: LineOptions = {},
): string {
  const time = new Date(record.time).toISOString().slice(11, 19);
  const level =
    names.find(({ from }) => record.level >= from) ?? names[names.length - 1];
  const name = level?.name ?? "TRACE";
  const shown = color ? `${level?.color ?? ""}${name}${COLOR_END}` : name;
  // The number of the thread, as in Kallichore's log. This server has one thread.
  const source = record.level < 30 ? `(1) ${targetOf(record)}: ` : "";
  const text = concealed(`${subjectOf(record)}${bodyOf(record)}`, secrets);
  return `${time} [${shown}] ${source}${printable(text)}\n`;
}

function subjectOf({ session, client }: LogRecord): string {
  if (client !== undefined) return `[client ${client}] `;
  return session === undefined ? "" : `[session ${session}] `;
}

function bodyOf(record: LogRecord): string {
  const { err } = record;
  // A warning shows only the error's message; an error shows its stack, to find its cause.
  const fault =
    err === undefined
      ? ""
      : `: ${(record.level >= 50 ? err.stack : err.message) ?? err.message ?? "unknown"}`;
  const fields = Object.entries(record)
    .filter(([name]) => !LEADING_FIELDS.has(name) && name !== "err")
    .map(([name, value]) => ` ${name}=${valueOf(name, value)}`);
  return `${record.msg ?? ""}${fault}${fields.join("")}`;
}

function valueOf(name: string, value: unknown): string {
  if (isSecretField(name)) return "[hidden]";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Escapes characters that move the cursor, ring the bell or begin a new line. */
function printable(text: string): string {
  return text
    .trimEnd()
    .replace(/\r?\n/g, "\n    ")
    .replace(
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g,
      (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`,
    );
}
