/**
 * A record as one line: `HH:MM:SS [LEVEL] message`, in UTC; debug and trace
 * with their target; what concerns a session begins with it.
 *
 * A record never makes two lines that could be taken for two records, whatever
 * a client or a kernel put into it: further lines are indented, control
 * characters are written out.
 */
import { concealed, isSecretField } from "./conceal.ts";

/** What is logged, before it is a line. */
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
  readonly stack?: string | undefined;
  readonly cause?: unknown;
}

const names = [
  { from: 50, name: "ERROR", color: "\u001b[31m" },
  { from: 40, name: "WARN", color: "\u001b[33m" },
  { from: 30, name: "INFO", color: "\u001b[34m" },
  { from: 20, name: "DEBUG", color: "\u001b[36m" },
  { from: 0, name: "TRACE", color: "\u001b[90m" },
] as const;

const COLOR_END = "\u001b[39m";

/** In the order in which lines begin with them; the rest is said behind the message. */
const OPENING = new Set([
  "time",
  "level",
  "msg",
  "target",
  "session",
  "client",
]);

/** Where a record comes from, in the names that `RUST_LOG` knows. */
export function targetOf({ target, session }: LogRecord): string {
  if (target !== undefined) return target;
  return session === undefined ? "kcserver::server" : "kcserver::session";
}

export interface LineOptions {
  readonly color?: boolean;
  readonly secrets?: Iterable<string>;
}

/** With its end. */
export function lineOf(
  record: LogRecord,
  { color = false, secrets = [] }: LineOptions = {},
): string {
  const time = new Date(record.time).toISOString().slice(11, 19);
  const level =
    names.find(({ from }) => record.level >= from) ?? names[names.length - 1];
  const name = level?.name ?? "TRACE";
  const shown = color ? `${level?.color ?? ""}${name}${COLOR_END}` : name;
  // There is one thread; Kallichore's readers are used to a number here.
  const source = record.level < 30 ? `(1) ${targetOf(record)}: ` : "";
  const text = concealed(`${subjectOf(record)}${bodyOf(record)}`, secrets);
  return `${time} [${shown}] ${source}${printable(text)}\n`;
}

function subjectOf({ session, client }: LogRecord): string {
  if (client !== undefined) return `[client ${client}] `;
  return session === undefined ? "" : `[session ${session}] `;
}

function bodyOf(record: LogRecord): string {
  const { err, level } = record;
  const fault = err === undefined ? "" : `: ${faultOf(err, level >= 50)}`;
  const fields = Object.entries(record)
    .filter(([name]) => !OPENING.has(name) && name !== "err")
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${valueOf(name, value)}`);
  return `${record.msg ?? ""}${fault}${fields.join("")}`;
}

/** With its causes. What is expected has a sentence; what is not is looked for by its stack. */
function faultOf(err: LoggedError, isUnexpected: boolean): string {
  const chain = [...causesOf(err)];
  return isUnexpected
    ? chain
        .map(({ stack, message }) => stack ?? message ?? "unknown")
        .join("\ncaused by: ")
    : chain.map(({ message }) => message ?? "unknown").join(": ");
}

/** The error first; each once, though they be in a circle. */
function causesOf(err: LoggedError): Set<LoggedError> {
  const chain = new Set([err]);
  for (const { cause } of chain) if (cause instanceof Error) chain.add(cause);
  return chain;
}

/** A line is written whatever the value is. */
function valueOf(name: string, value: unknown): string {
  if (isSecretField(name)) return "[hidden]";
  if (typeof value === "string") return value;
  try {
    return JSON.stringify(value);
  } catch {
    return String(value); // a circle, or a number that JSON does not have
  }
}

/** Nothing that moves a cursor, rings a bell or begins a line of its own. */
function printable(text: string): string {
  return text
    .trimEnd()
    .replace(/\r?\n/g, "\n    ")
    .replace(
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g,
      (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`,
    );
}
