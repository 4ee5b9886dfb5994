/**
 * A filter of log lines, in the syntax of Rust programs
 * (`RUST_LOG`): `info`, `off`, `kcserver=debug`, `warn,kcserver::session=trace`.
 *
 * For each record, the longest matching target decides. A level without a target
 * applies to all other records.
 */

/** Pino's numbers for levels. */
const weights = {
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  off: Infinity,
} as const;

export type LevelName = keyof typeof weights;

interface Directive {
  /** `""`: all targets. */
  readonly target: string;
  /** The least weight that passes. */
  readonly least: number;
}

export interface Filter {
  /** The least weight that passes for any target. Lighter records never pass. */
  readonly least: number;
  /** The nearest single level, for callers that support only levels. */
  readonly level: Exclude<LevelName, "off">;
  passes(weight: number, target: string): boolean;
}

/** Passes this level and the more severe ones, for every target. */
export function filterAt(level: LevelName): Filter {
  return filterBy([{ target: "", least: weights[level] }]);
}

function filterBy(directives: readonly Directive[]): Filter {
  const longestFirst = [...directives].sort(
    (a, b) => b.target.length - a.target.length,
  );
  const least = Math.min(...directives.map((directive) => directive.least));
  const levels = ["trace", "debug", "info", "warn"] as const;
  return {
    least,
    level: levels.find((level) => weights[level] >= least) ?? "error",
    passes(weight, target) {
      const directive = longestFirst.find((one) =>
        isWithin(target, one.target),
      );
      return directive !== undefined && weight >= directive.least;
    },
  };
}

export interface ParsedFilter {
  /** `undefined` if the text has no valid part. */
  readonly filter: Filter | undefined;
  /** The parts that are not valid. */
  readonly faults: readonly string[];
}

export function parseFilter(text: string): ParsedFilter {
  // In Rust, a `/` begins a pattern for the message. That is not supported here.
  const [directivesText = "", ...pattern] = text.split("/");
  const faults = pattern.length > 0 ? [`/${pattern.join("/")}`] : [];
  const directives: Directive[] = [];
  for (const part of directivesText.split(",").map((one) => one.trim())) {
    if (part === "") continue;
    const directive = directiveOf(part);
    if (directive === undefined) faults.push(part);
    else directives.push(directive);
  }
  const filter = directives.length === 0 ? undefined : filterBy(directives);
  return { filter, faults };
}

function directiveOf(part: string): Directive | undefined {
  const [left = "", right, more] = part.split("=").map((one) => one.trim());
  if (more !== undefined) return undefined;
  if (right === undefined) {
    const least = weightOf(left);
    if (least !== undefined) return { target: "", least };
    // A target without a level passes all its records. Another single word is a mistake.
    return isTarget(left) ? { target: left, least: weights.trace } : undefined;
  }
  const least = right === "" ? weights.trace : weightOf(right);
  if (least === undefined || left === "" || /[^\w:-]/.test(left)) {
    return undefined;
  }
  return { target: left, least };
}

function weightOf(word: string): number | undefined {
  const known = word.toLowerCase();
  return Object.hasOwn(weights, known)
    ? weights[known as LevelName]
    : undefined;
}

/** Whether the word is a target. All targets of this server are within `kcserver`. */
function isTarget(word: string): boolean {
  return /^kcserver(::\w+)*$/.test(word);
}

function isWithin(target: string, outer: string): boolean {
  return outer === "" || target === outer || target.startsWith(`${outer}::`);
}
