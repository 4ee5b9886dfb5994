/** What code said, as a notebook keeps it. */
import * as z from "zod";
import { Refused } from "./messages.ts";

export const StreamOutput = z
  .looseObject({
    output_type: z.literal("stream"),
    name: z.enum(["stdout", "stderr"]),
    text: z.string(),
  })
  .meta({ id: "StreamOutput" });

export const DisplayDataOutput = z
  .looseObject({
    output_type: z.literal("display_data"),
    data: z.record(z.string(), z.unknown()),
    metadata: z.record(z.string(), z.unknown()),
  })
  .meta({ id: "DisplayDataOutput" });

export const ExecuteResultOutput = z
  .looseObject({
    output_type: z.literal("execute_result"),
    data: z.record(z.string(), z.unknown()),
    metadata: z.record(z.string(), z.unknown()),
    execution_count: z.int().nullable(),
  })
  .meta({ id: "ExecuteResultOutput" });

export const ErrorOutput = z
  .looseObject({
    output_type: z.literal("error"),
    ename: z.string(),
    evalue: z.string(),
    traceback: z.array(z.string()),
  })
  .meta({ id: "ErrorOutput" });

/** Outputs as a notebook keeps them (nbformat 4). */
export const Output = z
  .discriminatedUnion("output_type", [
    StreamOutput,
    DisplayDataOutput,
    ExecuteResultOutput,
    ErrorOutput,
  ])
  .meta({ id: "Output" });
export type Output = z.infer<typeof Output>;

/** What was left out of an execution's outputs because they are larger than the limit. */
export const Clipped = z
  .object({
    outputs: z.int().describe("How many were left out, or shortened"),
    bytes: z.int().describe("What is missing of them"),
    limit_bytes: z
      .int()
      .describe(
        "The limit: of streams and displays together, and again of results and errors; the last of these is kept however large it is",
      ),
  })
  .meta({ id: "Clipped" });
export type Clipped = z.infer<typeof Clipped>;

/** What an answer with outputs says of what is missing. */
export const missing = {
  gaps: z
    .array(z.object({ from: z.int(), to: z.int() }).meta({ id: "Gap" }))
    .describe(
      "Parts of the journal that are no longer kept, and outputs that could not be accepted",
    ),
  is_clipped: z
    .boolean()
    .describe("Whether outputs past the limit were left out"),
  clipped: Clipped.nullable().describe(
    "What was left out for the limit; null when nothing was",
  ),
  refused: z
    .array(Refused)
    .describe(
      "What the kernel sent of it and the server could not accept: it is not among the outputs, or was the reply",
    ),
};
