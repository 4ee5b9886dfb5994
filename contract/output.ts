/** The outputs of code in the notebook format, and the report of missing outputs. */
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

/** An output in the notebook format (nbformat 4). */
export const Output = z
  .discriminatedUnion("output_type", [
    StreamOutput,
    DisplayDataOutput,
    ExecuteResultOutput,
    ErrorOutput,
  ])
  .meta({ id: "Output" });
export type Output = z.infer<typeof Output>;

/** The outputs that were left out or shortened because they exceed the limit. */
export const Clipped = z
  .object({
    outputs: z
      .int()
      .describe("The number of outputs that were left out or shortened"),
    bytes: z.int().describe("The bytes that are missing"),
    limit_bytes: z
      .int()
      .describe(
        "The limit. It applies to streams and displays together, and once more to results and errors together. The last result or error is kept whatever its size",
      ),
  })
  .meta({ id: "Clipped" });
export type Clipped = z.infer<typeof Clipped>;

/** The fields that report missing outputs in an answer. */
export const MissingOutputs = {
  gaps: z
    .array(z.object({ from: z.int(), to: z.int() }).meta({ id: "Gap" }))
    .describe(
      "Parts of the journal that are no longer kept, and outputs that the server could not accept",
    ),
  is_clipped: z
    .boolean()
    .describe("Whether outputs over the limit were left out"),
  clipped: Clipped.nullable().describe(
    "The outputs that were left out because of the limit; null if there are none",
  ),
  refused: z
    .array(Refused)
    .describe(
      "The messages of the execution that the server could not accept: outputs that are missing above, or the reply",
    ),
};
