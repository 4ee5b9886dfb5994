/** The answers to the kernelspec operations. */
import type { contract } from "../../../contract/index.ts";
import type { AnswersTo } from "./implement.ts";

export const kernelspecs: AnswersTo<typeof contract.kernelspecs> = {
  list: ({ service }) => service.kernelspecs.list(),
  get: ({ input, service }) => service.kernelspecs.find(input.name),
};
