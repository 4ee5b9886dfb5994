/** The answer to the question which kernels can be adopted. */
import type { contract } from "../../../contract/index.ts";
import type { AnswersTo } from "./implement.ts";

export const external_kernels: AnswersTo<typeof contract.external_kernels> = {
  async list({ service: { connectionFiles: files } }) {
    const kernels = (await files?.external()) ?? [];
    return {
      directory: files?.directory ?? null,
      kernels: kernels.map(({ modified, ...kernel }) => ({
        ...kernel,
        modified: modified.toISOString(),
      })),
    };
  },
};
