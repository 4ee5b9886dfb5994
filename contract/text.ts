/** Checks for text that the operating system or a URL must accept: arguments, variables, paths and ids in a URL. */
import * as z from "zod";

/** Written as an escape, so that no source file contains the character itself. */
const NO_NUL = new RegExp("^[^\\u0000]*$");
const VARIABLE = new RegExp("^[^=\\u0000]+$");
/** URL parsers remove the segments `.` and `..`, even if they are escaped. */
const SEGMENT = new RegExp(
  "^([^.\\u0000]|\\.[^.\\u0000]|\\.\\.[^\\u0000])[^\\u0000]*$", // no look-ahead: not all regular-expression engines support it
);

/** An argument, a value or a path: the operating system cuts it at a NUL character. */
export const SystemText = z
  .string()
  .regex(
    NO_NUL,
    "has a NUL character, at which the operating system would cut it",
  );

export const VariableName = z
  .string()
  .regex(VARIABLE, "is empty, or has a `=` or a NUL character");

/** An id that a client chooses and that can be a segment of a REST path. */
export const Addressable = z
  .string()
  .regex(SEGMENT, "is empty, `.` or `..`, or has a NUL character")
  .refine((id) => !/\p{Surrogate}/u.test(id), {
    message: "is not Unicode: half of a surrogate pair is missing",
  });
