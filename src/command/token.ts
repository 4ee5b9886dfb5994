/** Tokens that people bring: in a file, never as an argument, where everybody on the machine could read it. */
import { readFileSync, statSync } from "node:fs";
import { CommandError } from "./exit.ts";
import { whyOf } from "./why.ts";

/** Shorter ones can be guessed. */
const SHORTEST = 16;
const LONGEST = 4096;

/** Throws `usage` where the file holds none. White space around it does not count. */
export function readToken(path: string): string {
  const hint = `Make one with: (umask 077; openssl rand -hex 32 > '${path}')`;
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
      `What ${path} holds is no token: one word of at least ${SHORTEST} characters`,
      { hint },
    );
  }
  return token;
}

/** Whether others than its owner may read it. */
export function isPublic(path: string): boolean {
  if (process.platform === "win32") return false;
  return (statSync(path).mode & 0o044) !== 0;
}
