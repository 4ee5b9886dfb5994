/**
 * Matchers for vitest and jest, over the plain functions.
 *
 *     import { expect } from "vitest";
 *     import { matchers } from "kallichore/testing/matchers";
 *     expect.extend(matchers);
 */
import type { Output, SessionEvent } from "../contract/index.ts";
import { type Transcript, words } from "./transcript.ts";

type Said = Pick<Transcript, "events"> | readonly SessionEvent[];

interface Verdict {
  readonly pass: boolean;
  readonly message: () => string;
}

export const matchers = {
  /** These words were said in this order, whatever stands between. */
  toHaveSaid(said: Said, ...expected: readonly string[]): Verdict {
    const heard = words(eventsOf(said));
    let at = 0;
    for (const word of heard) if (word === expected[at]) at += 1;
    return {
      pass: at === expected.length,
      message: () =>
        `expected ${expected.join(", ")} in this order; heard ${heard.join(", ")}`,
    };
  },

  /** The text of all streams of that name together. */
  toHaveStreamed(
    outputs: readonly Output[],
    text: string,
    name: "stdout" | "stderr" = "stdout",
  ): Verdict {
    const streamed = outputs
      .flatMap((output) =>
        output.output_type === "stream" && output.name === name
          ? [output.text]
          : [],
      )
      .join("");
    return {
      pass: streamed === text,
      message: () =>
        `expected ${JSON.stringify(text)} on ${name}; it was ${JSON.stringify(streamed)}`,
    };
  },

  /** Among the outputs is an error of that name. */
  toHaveRaised(outputs: readonly Output[], ename: string): Verdict {
    const raised = outputs.flatMap((output) =>
      output.output_type === "error" ? [output["ename"]] : [],
    );
    return {
      pass: raised.includes(ename),
      message: () =>
        `expected ${ename} to be raised; it was ${raised.join(", ") || "nothing"}`,
    };
  },
};

/** For vitest: `declare module "vitest" { interface Matchers<T> extends KernelMatchers<T> {} }`. */
export interface KernelMatchers<R = unknown> {
  toHaveSaid(...expected: readonly string[]): R;
  toHaveStreamed(text: string, name?: "stdout" | "stderr"): R;
  toHaveRaised(ename: string): R;
}

function eventsOf(said: Said): readonly SessionEvent[] {
  return "events" in said ? said.events : said;
}
