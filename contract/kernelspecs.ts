/** The kernelspec operations: which kernels can be started here. */
import * as z from "zod";
import { query } from "./operation.ts";
import { Addressable } from "./text.ts";

export const Kernelspec = z
  .looseObject({
    name: z.string(),
    display_name: z.string(),
    language: z.string(),
    argv: z.array(z.string()),
    interrupt_mode: z.enum(["signal", "message"]),
    env: z.record(z.string(), z.string()),
    metadata: z.record(z.string(), z.unknown()),
    resource_dir: z.string().describe("The directory of the kernelspec"),
    resources: z
      .record(z.string(), z.string())
      .describe("Logos and scripts in its directory, file names by name"),
  })
  .meta({ id: "Kernelspec" });
export type Kernelspec = z.infer<typeof Kernelspec>;

export const kernelspecs = {
  list: query({
    route: "GET /kernelspecs",
    summary: "List kernelspecs",
    access: "observe",
    description: "Searches all of Jupyter's paths at each call.",
    input: z.void(),
    output: z
      .object({
        default: z
          .string()
          .nullable()
          .describe("The kernelspec that is used if a request names none"),
        kernelspecs: z.array(Kernelspec),
        problems: z
          .array(
            z
              .object({ path: z.string(), message: z.string() })
              .meta({ id: "KernelspecProblem" }),
          )
          .describe("Kernelspecs that cannot be used, and why"),
      })
      .meta({ id: "KernelspecList" }),
  }),

  get: query({
    route: "GET /kernelspecs/{name}",
    summary: "Describe a kernelspec",
    access: "observe",
    input: z.object({ name: Addressable }),
    output: Kernelspec,
    errors: ["kernelspec_not_found", "bad_kernelspec"],
  }),
};
