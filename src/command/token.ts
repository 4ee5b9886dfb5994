/** Reads a person's token from a file. A token is never an argument, because all users of the machine can read arguments. */
import { readFileSync, statSync } from "node:fs";
import { CommandError } from "./exit.ts";
import { whyOf } from "./why.ts";

/** Characters. A shorter token can be guessed. */
const SHORTEST = 16;
const LONGEST = 4096;

/** Removes white space around the token. Throws `usage` if the file has no token. */
export function readToken(path: string): string {
  const hint = `To make a token: (umask 077; openssl rand -hex 32 > '${path}')`;
  let token: string;
  try {
    token = readFileSync(path, "utf8").trim();
  } catch (cause) {
    const why = whyOf(cause);
    throw new CommandError(
      "usage",
      `The token file ${path} cannot be read: ${why}`,
      { hint, cause },
    );
  }
  if (token.length < SHORTEST || token.length > LONGEST || /\s/.test(token)) {
    throw new CommandError(
      "usage",
      `${path} does not contain a token: one word of ${SHORTEST} to ${LONGEST} characters`,
      { hint },
    );
  }
  return token;
}

/** Whether other users may read the file. */
export function isPublic(path: string): boolean {
  if (process.platform === "win32") return false;
  return (statSync(path).mode & 0o044) !== 0;
}
