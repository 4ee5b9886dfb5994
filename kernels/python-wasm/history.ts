/** What was executed in this process, for `history_request`. The oldest go first. */
import type { Content } from "../io.ts";

interface HistoryLine {
  readonly number: number;
  readonly input: string;
  output: string | null;
}

const LIMIT = 10_000; // lines
const SESSION = 1;

export class History {
  readonly #lines: HistoryLine[] = [];

  /** Returns what to call with the text of the result, if one comes. */
  add(number: number, input: string): (output: string) => void {
    const line: HistoryLine = { number, input, output: null };
    this.#lines.push(line);
    if (this.#lines.length > LIMIT) this.#lines.shift();
    return (output) => (line.output = output);
  }

  /** The content of the reply. */
  answer(request: Content): Content {
    const lines = this.#wanted(request);
    const withOutput = request["output"] === true;
    return {
      history: lines.map(({ number, input, output }) => [
        SESSION,
        number,
        withOutput ? [input, output] : input,
      ]),
    };
  }

  #wanted(request: Content): readonly HistoryLine[] {
    switch (request["hist_access_type"]) {
      case "tail":
        return lastOf(this.#lines, request["n"]);
      case "search":
        return lastOf(this.#search(request), request["n"]);
      case "range":
        return this.#range(request);
      default:
        return [];
    }
  }

  #search({ pattern, unique }: Content): readonly HistoryLine[] {
    const glob = toRegExp(typeof pattern === "string" ? pattern : "*");
    const found = this.#lines.filter(({ input }) => glob.test(input));
    if (unique !== true) return found;
    const latest = new Map(found.map((line) => [line.input, line]));
    return found.filter((line) => latest.get(line.input) === line);
  }

  /** Session 0 is the present one, which is all that we have. */
  #range({ session = 0, start = 0, stop }: Content): readonly HistoryLine[] {
    if (session !== 0 && session !== SESSION) return [];
    const end = typeof stop === "number" ? stop : Infinity;
    return this.#lines.filter(
      ({ number }) => number >= Number(start) && number < end,
    );
  }
}

function lastOf(
  lines: readonly HistoryLine[],
  n: unknown,
): readonly HistoryLine[] {
  return typeof n === "number" && n > 0 ? lines.slice(-n) : lines;
}

/** `*` and `?`, as in file names. */
function toRegExp(glob: string): RegExp {
  const source = glob
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`, "s");
}
