/**
 * What clients must hold: read from a file that is then gone, or made up, or
 * nothing at all where that was asked for.
 */
import { randomBytes } from "node:crypto";
import { open, rm } from "node:fs/promises";

/** Bytes, as Kallichore has it. */
const LIMIT = 64;
/** Bytes that are read at most; there may be blanks around the token. */
const READ_LIMIT = 4096;

export interface Token {
  /** `null`: whoever reaches us may come in. */
  readonly value: string | null;
  /** Nobody but us knows it. */
  readonly isRandom: boolean;
  /** Deletes the file that it was read from. Rejects with the system's error. */
  discard(): Promise<void>;
}

/** Rejects with a sentence for the person. Names the file, never what is in it. */
export async function tokenFrom(option: string | undefined): Promise<Token> {
  const discard = () => Promise.resolve();
  if (option === undefined) {
    const value = randomBytes(32).toString("hex");
    return { value, isRandom: true, discard };
  }
  if (option === "none") return { value: null, isRandom: false, discard };
  return {
    value: await read(option),
    isRandom: false,
    discard: () => rm(option),
  };
}

async function read(path: string): Promise<string> {
  let text: string;
  try {
    const bytes = await firstBytes(path);
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes).trim();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`The token file ${path} cannot be read: ${why}`, { cause });
  }
  if (text === "") throw new Error(`The token file ${path} is empty`);
  if (Buffer.byteLength(text) > LIMIT) {
    throw new Error(
      `The token in ${path} is too long: it may have ${LIMIT} bytes`,
    );
  }
  if (!/^[\x21-\x7e]+$/.test(text)) {
    throw new Error(
      `The token in ${path} cannot be sent in a header: it must be printable ASCII without blanks`,
    );
  }
  return text;
}

/** As many as are looked at; from a pipe, too. */
async function firstBytes(path: string): Promise<Buffer> {
  await using file = await open(path, "r");
  const bytes = Buffer.alloc(READ_LIMIT);
  let length = 0;
  while (length < READ_LIMIT) {
    const { bytesRead } = await file.read(bytes, length, READ_LIMIT - length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return bytes.subarray(0, length);
}
