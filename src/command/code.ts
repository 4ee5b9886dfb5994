/** The code to run: from the command line, a file, or standard input. */
import { readFile } from "node:fs/promises";
import { CommandError } from "./exit.ts";
import { whyOf } from "./why.ts";

export interface Code {
  readonly text: string;
  /** Nobody can answer `input()` from there any more. */
  readonly isFromStdin: boolean;
}

/** `argument`, or `file`, or what is piped in. Throws `usage`. */
export async function readCode(
  argument: string | undefined,
  file: string | undefined,
): Promise<Code> {
  if (argument !== undefined && file !== undefined) {
    throw new CommandError("usage", "Give either code or a file, not both");
  }
  if (argument !== undefined && argument !== "-") {
    return { text: argument, isFromStdin: false };
  }
  if (file !== undefined && file !== "-") {
    return { text: await fileText(file), isFromStdin: false };
  }
  if (argument === undefined && file === undefined && process.stdin.isTTY) {
    throw new CommandError("usage", "There is no code to run", {
      hint: "Try: kallichore exec 'print(6 * 7)'\nOr, for more than one line: kallichore exec -f FILE",
    });
  }
  return { text: await stdinText(), isFromStdin: true };
}

async function fileText(path: string): Promise<string> {
  try {
    return text(await readFile(path));
  } catch (cause) {
    const why = whyOf(cause);
    throw new CommandError("usage", `${path} cannot be read: ${why}`, {
      cause,
    });
  }
}

async function stdinText(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return text(Buffer.concat(chunks));
}

/** Without the mark that some editors put first. */
function text(bytes: Buffer): string {
  return bytes.toString("utf8").replace(/^\uFEFF/, "");
}
