/**
 * Reads a recorded session: the messages of its kernel, one JSON object per
 * line. It can be read during the replay, so that a recording may be larger
 * than memory.
 */
import type { SessionEvent } from "../contract/index.ts";
import { FORMAT, VERSION } from "./record.ts";

export interface Recording {
  readonly kernel_info: Readonly<Record<string, unknown>>;
  /** The recorded events, from the beginning at each call. */
  readonly events: () => Iterable<SessionEvent> | AsyncIterable<SessionEvent>;
}

/** Reads all lines that `record` wrote. Throws a `SyntaxError` that names the line if a line is not valid. */
export function readRecording(ndjson: string | Iterable<string>): Recording {
  const lines = typeof ndjson === "string" ? ndjson.split("\n") : [...ndjson];
  const kernel_info = headOf(lines[0] ?? "");
  const events = lines
    .slice(1)
    .flatMap((line, index) =>
      line.trim() === "" ? [] : [parsed(line, index + 2)],
    );
  return { kernel_info, events: () => events };
}

/**
 * Reads the head of a recording. Each replay reads the rest, as far as it gets.
 * `text` returns the recording from the beginning, in pieces of any size:
 * `() => createReadStream(path, "utf8")`. Rejects with a `SyntaxError`.
 */
export async function openRecording(
  text: () => Iterable<string> | AsyncIterable<string>,
): Promise<Recording> {
  let head = "";
  for await (const line of linesOf(text())) {
    head = line;
    break;
  }
  async function* events(): AsyncGenerator<SessionEvent, void> {
    let number = 0;
    for await (const line of linesOf(text())) {
      number += 1;
      if (number > 1 && line.trim() !== "") yield parsed(line, number);
    }
  }
  return { kernel_info: headOf(head), events };
}

async function* linesOf(
  pieces: Iterable<string> | AsyncIterable<string>,
): AsyncGenerator<string, void> {
  let open: string[] = [];
  for await (const piece of pieces) {
    const [first = "", ...others] = piece.split("\n");
    open.push(first);
    const last = others.pop();
    if (last === undefined) continue;
    yield open.join("");
    yield* others;
    open = [last];
  }
  yield open.join("");
}

function headOf(line: string): Recording["kernel_info"] {
  const head = parsed(line, 1) as unknown as Readonly<Record<string, unknown>>;
  if (head["format"] !== FORMAT) {
    throw new SyntaxError("Line 1: this file is not a Kallichore recording");
  }
  if (head["version"] !== VERSION) {
    throw new SyntaxError(
      `Line 1: the recording has version ${String(head["version"])}; only version ${VERSION} can be read`,
    );
  }
  return (head["kernel_info"] ?? {}) as Recording["kernel_info"];
}

function parsed(line: string, number: number): SessionEvent {
  try {
    return JSON.parse(line) as SessionEvent;
  } catch (cause) {
    throw new SyntaxError(`Line ${number} is not JSON`, { cause });
  }
}
