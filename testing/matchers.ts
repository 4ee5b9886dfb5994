/**
 * Matchers for vitest and jest, based on the plain functions.
 *
 *     import { expect } from "vitest";
 *     import { matchers } from "kallichore/testing/matchers";
 *     expect.extend(matchers);
 *
 * @module kallichore/testing/matchers
 */
import type { Output, SessionEvent } from "../contract/index.ts";
import { type Transcript, eventNames } from "./transcript.ts";

type EventSource = Pick<Transcript, "events"> | readonly SessionEvent[];

interface MatcherResult {
  readonly pass: boolean;
  readonly message: () => string;
}

export const matchers = {
  /** Passes if events with these names occur in this order; others may occur between them. */
  toHaveReceivedInOrder(
    source: EventSource,
    ...expected: readonly string[]
  ): MatcherResult {
    const received = eventNames(eventsOf(source));
    let at = 0;
    for (const name of received) if (name === expected[at]) at += 1;
    return {
      pass: at === expected.length,
      message: () =>
        `expected ${expected.join(", ")} in this order; received ${received.join(", ")}`,
    };
  },

  /** Passes if the text of all streams of this name together equals `text`. */
  toHaveStreamed(
    outputs: readonly Output[],
    text: string,
    name: "stdout" | "stderr" = "stdout",
  ): MatcherResult {
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

  /** Passes if the outputs contain an error with this name. */
  toHaveRaised(outputs: readonly Output[], ename: string): MatcherResult {
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
  toHaveReceivedInOrder(...expected: readonly string[]): R;
  toHaveStreamed(text: string, name?: "stdout" | "stderr"): R;
  toHaveRaised(ename: string): R;
}

function eventsOf(source: EventSource): readonly SessionEvent[] {
  return "events" in source ? source.events : source;
}
