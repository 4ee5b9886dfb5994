/** The code that was executed in this process, for `history_request`. If there is too much, the oldest lines are dropped. */
import type { Content } from "../io.ts";

interface HistoryLine {
  readonly number: number;
  readonly input: string;
  output: string | null;
}

const LIMIT = 10_000; // lines
const SESSION = 1;

export interface LineHistory {
  /** Returns a function to call with the text of the result, if there is one. */
  add(number: number, input: string): (output: string) => void;
  /** The content of the reply. */
  answer(request: Content): Content;
}

export function lineHistory(): LineHistory {
  const lines: HistoryLine[] = [];
  return {
    add(number, input) {
      const line: HistoryLine = { number, input, output: null };
      lines.push(line);
      if (lines.length > LIMIT) lines.shift();
      return (output) => (line.output = output);
    },
    answer(request) {
      const withOutput = request["output"] === true;
      return {
        history: linesOf(lines, request).map(({ number, input, output }) => [
          SESSION,
          number,
          withOutput ? [input, output] : input,
        ]),
      };
    },
  };
}

function linesOf(
  lines: readonly HistoryLine[],
  request: Content,
): readonly HistoryLine[] {
  switch (request["hist_access_type"]) {
    case "tail":
      return lastOf(lines, request["n"]);
    case "search":
      return lastOf(found(lines, request), request["n"]);
    case "range":
      return inRange(lines, request);
    default:
      return [];
  }
}

function found(
  lines: readonly HistoryLine[],
  { pattern, unique }: Content,
): readonly HistoryLine[] {
  const glob = toRegExp(typeof pattern === "string" ? pattern : "*");
  const all = lines.filter(({ input }) => glob.test(input));
  if (unique !== true) return all;
  const latest = new Map(all.map((line) => [line.input, line]));
  return all.filter((line) => latest.get(line.input) === line);
}

/** Session 0 is the present session; the history has no other. */
function inRange(
  lines: readonly HistoryLine[],
  { session = 0, start = 0, stop }: Content,
): readonly HistoryLine[] {
  if (session !== 0 && session !== SESSION) return [];
  const end = typeof stop === "number" ? stop : Infinity;
  return lines.filter(({ number }) => number >= Number(start) && number < end);
}

function lastOf(
  lines: readonly HistoryLine[],
  n: unknown,
): readonly HistoryLine[] {
  return typeof n === "number" && n > 0 ? lines.slice(-n) : lines;
}

/** Supports `*` and `?`, as in file names. */
function toRegExp(glob: string): RegExp {
  const source = glob
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`, "s");
}
