/**
 * The stream of a keeper over standard input and output, for a server on another
 * machine: whatever can start a program there and hand over its stdio (ssh,
 * docker exec) opens a stream. It passes bytes on and does not know the secret.
 */
import { connect, type Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import {
  keeperFileIn,
  mayRun,
  readKeeperFile,
  whyEnded,
} from "./keeper-file.ts";

/** How long the last bytes may wait for the reader of the output. */
const FLUSH_MS = 5_000;

/**
 * Resolves when either end has ended and all bytes from the keeper are written.
 * Rejects when no keeper runs, and when the stream breaks.
 */
export async function attachKeeper(
  stateDirectory: string,
  input: Readable = process.stdin,
  output: Writable = process.stdout,
): Promise<void> {
  const path = keeperFileIn(stateDirectory);
  const file = readKeeperFile(path);
  if (file === undefined) {
    throw new Error(
      `There is no keeper in ${stateDirectory}: ${path} is missing, or cannot be read`,
    );
  }
  if (!mayRun(file)) {
    throw new Error(
      `There is no keeper in ${stateDirectory}: ${whyEnded(file)}`,
    );
  }
  const keeper = connect({ path: file.socket, allowHalfOpen: true });
  try {
    await carried(keeper, input, output);
  } finally {
    input.destroy();
    keeper.destroy();
  }
  await flushed(output);
}

function carried(
  keeper: Socket,
  input: Readable,
  output: Writable,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let isConnected = false;
    keeper.once("connect", () => (isConnected = true));
    keeper.once("error", ({ code, message }: NodeJS.ErrnoException) => {
      if (input.readableEnded) return; // the keeper has closed its end
      const what = isConnected
        ? "The stream to the keeper was lost"
        : "The keeper cannot be connected to";
      reject(new Error(`${what}: ${code ?? message}`));
    });
    keeper.once("end", resolve);
    keeper.once("close", resolve);
    // The engine has gone: the keeper closes its end when it has read everything.
    input.once("error", () => keeper.end());
    output.once("error", resolve);
    input.pipe(keeper);
    keeper.pipe(output, { end: false });
  });
}

/** Resolves when everything is written, or cannot be. */
function flushed(output: Writable): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, FLUSH_MS);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    output.once("error", done);
    output.write("", done);
  });
}
