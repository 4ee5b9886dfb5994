/** A short history of a session's executions, for clients that show it and agents that read it. */
import * as z from "zod";

export const ExecutionHistoryEntry = z
  .object({
    input: z.string().describe("The code"),
    output: z
      .string()
      .describe(
        "Its output, in order: the text of streams; for a display or a result its `text/plain`, or its MIME types in brackets, and a newline",
      ),
    error: z
      .object({
        name: z.string(),
        message: z.string(),
        traceback: z
          .array(z.string())
          .describe("The last items of the traceback that fit whole"),
      })
      .describe("The error, if the execution failed")
      .meta({ id: "ExecutionHistoryError" })
      .optional(),
    timestamp: z
      .int()
      .describe(
        "When the code was sent to the kernel, in milliseconds since 1970-01-01",
      ),
    source: z
      .string()
      .optional()
      .describe("`attribution.source` of the request's metadata"),
    agent: z
      .string()
      .optional()
      .describe("`attribution.agent_name` of the request's metadata"),
    truncated: z
      .boolean()
      .describe(
        "Whether anything was cut: `input`, `output` and `error` hold at most 4 KiB each",
      ),
  })
  .meta({ id: "ExecutionHistoryEntry" });
export type ExecutionHistoryEntry = z.infer<typeof ExecutionHistoryEntry>;

export const historyExample = [
  {
    input: "6 * 7",
    output: "42\n",
    timestamp: 1_796_000_000_000,
    source: "agent",
    agent: "Claude",
    truncated: false,
  },
];
