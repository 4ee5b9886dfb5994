/** The matchers, and what they refuse. */
import { expect } from "vitest";
import { type KernelMatchers, matchers } from "kallichore/testing/matchers";

declare module "vitest" {
  interface Matchers<T> extends KernelMatchers<T> {}
}

expect.extend(matchers);
expect([]).toHaveStreamed("hi\n");
// @ts-expect-error -- text
expect([]).toHaveStreamed(1);
