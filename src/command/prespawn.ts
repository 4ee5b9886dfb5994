/** The value of `--prespawn`: how many warm kernels each kernelspec has. */
import { InvalidArgumentError } from "commander";
import type { Prespawn } from "../kernel/warm.ts";

/** The most warm kernels of one entry. */
const MOST = 100;

/** `python3=2`, or `python3=2:/the/directory`. May be given again; in the environment, with commas. */
export function prespawn(
  text: string,
  before: readonly Prespawn[],
): readonly Prespawn[] {
  return [...before, ...text.split(",").filter(Boolean).map(one)];
}

function one(text: string): Prespawn {
  const [, kernel_name = "", digits = "", working_directory] =
    /^([^=:]+)=(\d{1,3})(?::(.+))?$/.exec(text.trim()) ?? [];
  const count = Number(digits);
  if (kernel_name === "" || count > MOST) {
    throw new InvalidArgumentError(
      `It is a kernelspec and a number up to ${MOST}, such as python3=2, and the directory if it is not the server's: python3=2:/home/ann.`,
    );
  }
  return {
    kernel_name,
    count,
    ...(working_directory !== undefined && { working_directory }),
  };
}

/** The option's value for the directory of connection files: `none` is none. */
export function runtimeDirectoryIn(
  value: string | undefined,
): string | null | undefined {
  return value === "none" ? null : value;
}
