/** The JSON bodies of errors, the same for every protocol that the server offers. */
import * as z from "zod";

/** The body of every failed operation, in every protocol. */
export const ErrorBody = z
  .looseObject({
    code: z
      .string()
      .describe(
        "Stable: `KS-n`, as Kallichore numbers its errors, or a word if Kallichore has no such error",
      ),
    message: z
      .string()
      .describe("For people: what was wrong, and what to do about it"),
    details: z
      .string()
      .optional()
      .describe("More about the failure, such as the context of a start"),
    reason: z
      .string()
      .optional()
      .describe("The name of the failure, for programs to switch on"),
  })
  .meta({ id: "Error" });
export type ErrorBody = z.infer<typeof ErrorBody>;

/** The body of a failed start or restart. */
export const StartupErrorBody = z
  .looseObject({
    exit_code: z
      .int()
      .optional()
      .describe(
        "The exit code of the process; -1 if a signal ended it, 130 if it ran but could not be reached",
      ),
    output: z
      .string()
      .optional()
      .describe(
        "What the process printed: standard output and standard error together",
      ),
    error: ErrorBody,
  })
  .meta({ id: "StartupError" });
export type StartupErrorBody = z.infer<typeof StartupErrorBody>;

/** What a failed operation of Jupyter's API answers. */
export const JupyterErrorBody = z
  .looseObject({
    message: z.string().describe("For people: what was wrong and what to do"),
    reason: z
      .string()
      .nullable()
      .describe("The name of the failure, to switch on"),
    traceback: z
      .string()
      .optional()
      .describe("Always empty; what clients show of a failure with status 500"),
  })
  .meta({ id: "JupyterError" });
export type JupyterErrorBody = z.infer<typeof JupyterErrorBody>;
