/**
 * A filter of log lines, in the syntax of Rust programs
 * (`RUST_LOG`): `info`, `off`, `kcserver=debug`, `warn,kcserver::session=trace`.
 *
 * The longest target that a record's target begins with decides; a word without
 * a target is for all that nothing else decides.
 */

/** A record's weight, as pino counts it. */
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
  /** `""` is everything. */
  readonly target: string;
  /** The least weight that passes. */
  readonly least: number;
}

export interface Filter {
  /** The least weight that passes anywhere: what is lighter need not be looked at. */
  readonly least: number;
  /** The nearest single level, for callers that know only levels. */
  readonly level: Exclude<LevelName, "off">;
  passes(weight: number, target: string): boolean;
}

/** Everything from this level on, for every target. */
export function filterAt(word: LevelName): Filter {
  return filterBy([{ target: "", least: weights[word] }]);
}

function filterBy(directives: readonly Directive[]): Filter {
  const longestFirst = [...directives].sort(
    (a, b) => b.target.length - a.target.length,
  );
  const least = Math.min(...directives.map((directive) => directive.least));
  const words = ["trace", "debug", "info", "warn"] as const;
  return {
    least,
    level: words.find((word) => weights[word] >= least) ?? "error",
    passes(weight, target) {
      const directive = longestFirst.find((one) =>
        isWithin(target, one.target),
      );
      return directive !== undefined && weight >= directive.least;
    },
  };
}

export interface ParsedFilter {
  /** `undefined` when nothing in it was understood. */
  readonly filter: Filter | undefined;
  /** The parts that were not understood. */
  readonly faults: readonly string[];
}

export function parseFilter(text: string): ParsedFilter {
  // A `/` begins a pattern for the message, which we do not have.
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
    // A target alone: all of it. A lone word that is no target of anything is a mistake.
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

/** Everything we log has a target in `kcserver`. */
function isTarget(word: string): boolean {
  return /^kcserver(::\w+)*$/.test(word);
}

function isWithin(target: string, outer: string): boolean {
  return outer === "" || target === outer || target.startsWith(`${outer}::`);
}
