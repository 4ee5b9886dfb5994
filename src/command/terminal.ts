/**
 * The output of a command, to a terminal or a pipe: text, colours if the terminal
 * has them, and the signal that the reader has left, which may happen at any time.
 *
 * A write waits for the reader, so no output piles up here. Writes to pipes do not
 * block the process: with a slow reader, Ctrl-C and a kernel in this process are
 * still handled.
 */
import { once } from "node:events";
import { stripVTControlCharacters } from "node:util";
import pc from "picocolors";
import { untilAborted } from "../time/signals.ts";

export type Colors = ReturnType<typeof pc.createColors>;

export type Terminal = ReturnType<typeof openTerminal>;

export function openTerminal() {
  const gone = new AbortController();
  const out = outputStream(process.stdout, gone);
  const err = outputStream(process.stderr, gone);
  return {
    out,
    err,
    /** Aborts when the reader of the output has left. */
    gone: gone.signal,
    /** Writes one line of JSON. */
    json: (value: unknown): Promise<void> => out.line(JSON.stringify(value)),
    flush: async (): Promise<void> => {
      await Promise.all([out.flush(), err.flush()]);
    },
  };
}

export type OutputStream = ReturnType<typeof outputStream>;

/** Standard output or standard error. */
function outputStream(stream: NodeJS.WriteStream, gone: AbortController) {
  const { signal } = gone;
  const isTerminal = stream.isTTY;
  const colors = pc.createColors(isTerminal && allowsColors(process.env));
  unblock(stream);
  stream.on("error", (error: NodeJS.ErrnoException) => {
    // Any error (the reader left, the disk is full, the terminal hung up) means that nothing more can be written.
    gone.abort(error);
  });
  /** Resolves when there is room for more. */
  const write = async (text: string | Uint8Array): Promise<void> => {
    if (signal.aborted || text.length === 0) return;
    if (stream.write(text)) return;
    try {
      await once(stream, "drain", { signal });
    } catch {
      return; // the reader has left; `gone` has aborted
    }
  };
  return {
    isTerminal,
    colors,
    get columns(): number {
      return stream.columns || 80;
    },
    write,
    line: (text = ""): Promise<void> => write(`${text}\n`),
    /** Removes escape sequences if the stream has no colours. */
    styled: (text: string): string =>
      colors.isColorSupported ? text : stripVTControlCharacters(text),
    /** Resolves when all written text has left the process, or the reader has left. */
    flush: async (): Promise<void> => {
      if (signal.aborted || stream.writableLength === 0) return;
      const left = new Promise<void>((resolve) =>
        stream.write("", () => resolve()),
      );
      await Promise.race([left, untilAborted(signal)]);
    },
  };
}

/** https://no-color.org; terminals without colours are called `dumb`. */
function allowsColors({ NO_COLOR, TERM }: NodeJS.ProcessEnv): boolean {
  return (NO_COLOR ?? "") === "" && TERM !== "dumb";
}

/** On POSIX, Node writes to pipes in blocking mode. The stream's internal handle, if it has one, can change that. */
function unblock(stream: NodeJS.WriteStream): void {
  if (stream.isTTY) return;
  const { _handle: handle } = stream as unknown as {
    _handle?: { setBlocking?: (blocking: boolean) => void } | null;
  };
  handle?.setBlocking?.(false);
}
