/**
 * A question of the benches, and the comparison of its candidates.
 *
 * A question makes candidates. In each round, each candidate runs once, one after
 * the other, so that a busy moment of the machine affects all of them. The first
 * round warms up and is not measured. A candidate returns one or more figures.
 */
import { Missing } from "./kernel.ts";
import type { Options } from "./options.ts";

export interface Question {
  /** The question that the figures answer. */
  readonly asks: string;
  readonly run: (bench: Bench) => Promise<void>;
}

/** The figures of one run, by name. */
export type Figures = Readonly<Record<string, number>>;

export interface Candidate {
  readonly name: string;
  readonly run: () => Promise<Figures>;
}

/** All samples of one figure of one candidate. */
export interface Series {
  readonly question: string;
  readonly case: string;
  readonly candidate: string;
  readonly figure: string;
  /** The median over the rounds of this sample divided by that of the first candidate. */
  readonly ratio: number;
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly samples: readonly number[];
}

export class Bench {
  readonly options: Options;
  readonly results: Series[] = [];
  readonly #question: string;
  readonly #report: (series: readonly Series[]) => void;

  constructor(
    question: string,
    options: Options,
    report: (series: readonly Series[]) => void,
  ) {
    this.#question = question;
    this.options = options;
    this.#report = report;
  }

  /** Runs the candidates in each round, and reports. The others are compared with the first one. */
  async compare(
    name: string,
    candidates: readonly Candidate[],
    {
      warmUp = 1,
      rounds = this.options.rounds,
    }: { readonly warmUp?: number; readonly rounds?: number } = {},
  ): Promise<void> {
    const { cases, only } = this.options;
    if (cases.length > 0 && !cases.some((part) => name.includes(part))) return;
    const selected = candidates.filter(
      (candidate) =>
        only.length === 0 || only.some((part) => candidate.name.includes(part)),
    );
    const all = selected.map((): Figures[] => []);
    for (let round = -warmUp; round < rounds; round += 1) {
      for (const [index, candidate] of selected.entries()) {
        const figures = await candidate.run().catch((cause: unknown) => {
          if (cause instanceof Missing) throw cause;
          throw new Error(`${candidate.name}: ${String(cause)}`, { cause });
        });
        if (round >= 0) all[index]?.push(figures);
      }
    }
    const series = selected.flatMap((candidate, index) =>
      Object.keys(all[index]?.[0] ?? {}).map((figure) => {
        const samples = (all[index] ?? []).map((each) => each[figure] ?? NaN);
        const base = (all[0] ?? []).map((each) => each[figure] ?? NaN);
        return {
          question: this.#question,
          case: name,
          candidate: candidate.name,
          figure,
          ratio: median(samples.map((value, i) => value / (base[i] ?? NaN))),
          median: median(samples),
          least: Math.min(...samples),
          most: Math.max(...samples),
          samples,
        };
      }),
    );
    this.results.push(...series);
    this.#report(series);
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const high = sorted.length >> 1;
  const low = sorted.length % 2 === 0 ? high - 1 : high;
  return ((sorted[low] ?? NaN) + (sorted[high] ?? NaN)) / 2;
}
