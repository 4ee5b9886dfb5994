/** What goes wrong, as every door answers it. */
import * as z from "zod";

/** What every failed operation answers, in every door. */
export const ErrorBody = z
  .looseObject({
    code: z
      .string()
      .describe("Stable: `KS-n` as Kallichore numbers it, or a word of ours"),
    message: z.string().describe("For people: what was wrong and what to do"),
    details: z
      .string()
      .optional()
      .describe("More, such as the context of a start"),
    reason: z
      .string()
      .optional()
      .describe("The name of the failure, to switch on"),
  })
  .meta({ id: "Error" });
export type ErrorBody = z.infer<typeof ErrorBody>;

/** What a failed start or restart answers. */
export const StartupErrorBody = z
  .looseObject({
    exit_code: z
      .int()
      .optional()
      .describe(
        "How the process ended; -1 for a signal, 130 when it ran but could not be reached",
      ),
    output: z
      .string()
      .optional()
      .describe("What the process printed, standard output and error together"),
    error: ErrorBody,
  })
  .meta({ id: "StartupError" });
export type StartupErrorBody = z.infer<typeof StartupErrorBody>;
