/** Text that has to fit where the system takes it: as an argument, a variable, a path or a name in an address. */
import * as z from "zod";

/** Spelled out, so that no source file holds the character itself. */
const NO_NUL = new RegExp("^[^\\u0000]*$");
const VARIABLE = new RegExp("^[^=\\u0000]+$");
/** An address drops the segments `.` and `..`, however they are escaped. */
const SEGMENT = new RegExp(
  "^([^.\\u0000]|\\.[^.\\u0000]|\\.\\.[^\\u0000])[^\\u0000]*$", // no look-ahead, which not all readers of patterns know
);

/** An argument, a value or a path: the system ends it at a NUL character. */
export const SystemText = z
  .string()
  .regex(NO_NUL, "has a NUL character, at which the system would end it");

export const VariableName = z
  .string()
  .regex(VARIABLE, "is empty, or has a `=` or a NUL character");

/** An id that a client chooses, and by which REST can address what it names. */
export const Addressable = z
  .string()
  .regex(SEGMENT, "is empty, `.` or `..`, or has a NUL character")
  .refine((id) => !/\p{Surrogate}/u.test(id), {
    message: "is not Unicode: half of a surrogate pair is missing",
  });
