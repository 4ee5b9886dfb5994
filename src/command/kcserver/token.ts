/**
 * The token that clients must send: read from a file that is then deleted, or
 * chosen by the server, or none.
 */
import { open, rm } from "node:fs/promises";

/** Bytes; the same as Kallichore's limit. */
const LIMIT = 64;
/** Bytes that are read at most; there may be white space around the token. */
const READ_LIMIT = 4096;

export interface Token {
  /** `null`: the server needs no token. `undefined`: it chooses one. */
  readonly value: string | null | undefined;
  /** Deletes the file from which the token was read. Rejects with the system's error. */
  discard(): Promise<void>;
}

/** Rejects with a message for the person. It names the file and never shows its content. */
export async function tokenFrom(option: string | undefined): Promise<Token> {
  const discard = () => Promise.resolve();
  if (option === undefined) return { value: undefined, discard };
  if (option === "none") return { value: null, discard };
  return { value: await read(option), discard: () => rm(option) };
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
      `The token in ${path} is too long: the limit is ${LIMIT} bytes`,
    );
  }
  if (!/^[\x21-\x7e]+$/.test(text)) {
    throw new Error(
      `The token in ${path} cannot be sent in a header: use only printable ASCII without white space`,
    );
  }
  return text;
}

/** The first bytes of a file or a pipe. */
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
