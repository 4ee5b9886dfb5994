/** What code said, as a notebook keeps it. */
import * as z from "zod";

/** Outputs as a notebook keeps them (nbformat 4). */
export const Output = z
  .discriminatedUnion("output_type", [
    z.looseObject({
      output_type: z.literal("stream"),
      name: z.enum(["stdout", "stderr"]),
      text: z.string(),
    }),
    z.looseObject({
      output_type: z.literal("display_data"),
      data: z.record(z.string(), z.unknown()),
      metadata: z.record(z.string(), z.unknown()),
    }),
    z.looseObject({
      output_type: z.literal("execute_result"),
      data: z.record(z.string(), z.unknown()),
      metadata: z.record(z.string(), z.unknown()),
      execution_count: z.int().nullable(),
    }),
    z.looseObject({
      output_type: z.literal("error"),
      ename: z.string(),
      evalue: z.string(),
      traceback: z.array(z.string()),
    }),
  ])
  .meta({ id: "Output" });
export type Output = z.infer<typeof Output>;
