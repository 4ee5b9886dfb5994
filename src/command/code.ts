/** The code to run: from the command line, a file, or standard input. */
import { readFile } from "node:fs/promises";
import { CommandError } from "./exit.ts";
import { whyOf } from "./why.ts";

export interface CodeInput {
  readonly text: string;
  /** Standard input has been read to its end, so it cannot answer `input()`. */
  readonly isFromStdin: boolean;
}

/** Reads `argument`, or `file`, or standard input. Throws `usage`. */
export async function readCode(
  argument: string | undefined,
  file: string | undefined,
): Promise<CodeInput> {
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
    throw new CommandError("usage", "No code was given", {
      hint: "For example: kallichore exec 'print(6 * 7)'\nTo run a file: kallichore exec -f FILE",
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

/** Decodes UTF-8 without the byte order mark that some editors write. */
function text(bytes: Buffer): string {
  return bytes.toString("utf8").replace(/^\uFEFF/, "");
}
