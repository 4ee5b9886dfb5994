/**
 * A short history of a session: the last executions that went to a kernel, with
 * the beginning and the end of their outputs. It is made from messages as they
 * pass, independently of the journal, and takes about 20 KiB for each execution
 * at most. A message that cannot be read adds nothing.
 */
import type { ExecutionHistoryEntry } from "../../contract/index.ts";
import { membersOf } from "../jupyter/json-members.ts";
import { bufferOf, type Message } from "../jupyter/message.ts";
import {
  type Burst,
  contentIn,
  NO_TEXT,
  outputTextIn,
  textLengthIn,
  UNKNOWN_TEXT,
} from "../jupyter/record.ts";
import { isDisplay } from "./displays.ts";
import { attributionOf } from "./attribution.ts";
import { type ClippedParts, ClippedText } from "./clipped-text.ts";
import type { Entry } from "../journal/entry.ts";

/** Executions. */
const LIMIT = 100;
/** The limit for the code, for the output, and for the error, in bytes. */
const TEXT_LIMIT = 4096;
const NAME_LIMIT = 256;
/** A stream's content, in bytes. */
const SMALL_STREAM = 1024;
/** A traceback that is larger as JSON is left out. */
const TRACEBACK_LIMIT = 1024 * 1024; // bytes

export class History implements Iterable<ExecutionHistoryEntry> {
  /** By the `msg_id` of the request, in the order in which they were sent. */
  readonly #runs = new Map<string, HistoryRun>();

  /** Oldest first. */
  *[Symbol.iterator](): Generator<ExecutionHistoryEntry> {
    for (const run of this.#runs.values()) yield entryOf(run);
  }

  /** The last `count`, oldest first. */
  last(count: number): ExecutionHistoryEntry[] {
    return [...this.#runs.values()].slice(-count).map(entryOf);
  }

  /** The ids of the executions. */
  get ids(): Iterable<string> {
    return this.#runs.keys();
  }

  /** From these, `restore` makes the same history again. By the ids of the executions. */
  get parts(): ReadonlyMap<string, HistoryParts> {
    return new Map([...this.#runs].map(([id, run]) => [id, partsOf(run)]));
  }

  /** Takes over the history of an earlier process. Executions that are not in it were sent later. */
  restore(parts: ReadonlyMap<string, HistoryParts>): void {
    const later = [...this.#runs].filter(([id]) => !parts.has(id));
    this.#runs.clear();
    for (const [id, each] of parts) this.#runs.set(id, restoredRun(each));
    for (const [id, run] of later) this.#add(id, run);
  }

  /** client → kernel. `at`: milliseconds since 1970. */
  sent(request: Message, at = Date.now()): void {
    const content = members(request.raw.content);
    if (isSilent(content)) return;
    this.#add(request.header.msg_id, runOf(request, content, at));
  }

  /** The same for the requests that an earlier process sent, in this order. */
  sentBefore(
    requests: readonly {
      readonly message: Message;
      readonly running: { readonly at: number };
    }[],
  ): void {
    const last: (typeof requests)[number][] = [];
    for (const request of requests.toReversed()) {
      if (last.length === LIMIT) break;
      const { content } = request.message.raw;
      if (!isSilent(members(content))) last.unshift(request);
    }
    for (const { message, running } of last) this.sent(message, running.at);
  }

  /** kernel → client */
  received(entry: Entry, content = entry.raw.content): void {
    const { msg_type, parent_id } = entry;
    if (parent_id === undefined || !RECORDED_TYPES.has(msg_type)) return;
    const run = this.#runs.get(parent_id);
    if (run !== undefined) addMessage(run, msg_type, content);
  }

  /** The same for many messages. */
  receivedBurst(burst: Burst): void {
    if (!RECORDED_TYPES.has(burst.msg_type)) return;
    const run = this.#runs.get(burst.parent_id);
    if (run !== undefined) addBurst(run, burst);
  }

  #add(id: string, run: HistoryRun): void {
    this.#runs.set(id, run);
    const [oldest] = this.#runs.keys();
    if (this.#runs.size > LIMIT && oldest !== undefined) {
      this.#runs.delete(oldest);
    }
  }
}

const RECORDED_TYPES: ReadonlySet<string> = new Set([
  "stream",
  "display_data",
  "execute_result",
  "error",
  "execute_reply",
]);

function isSilent(content: ReadonlyMap<string, Buffer>): boolean {
  return content.get("silent")?.toString() === "true";
}

type Failure = NonNullable<ExecutionHistoryEntry["error"]>;

interface HistoryRun {
  readonly input: ClippedText;
  readonly output: ClippedText;
  readonly source: ClippedText | undefined;
  readonly agent: ClippedText | undefined;
  readonly timestamp: number;
  error: Failure | undefined;
  /** Whether a part of the error was left out. */
  isErrorCut: boolean;
}

/** A run whose texts do not change. */
export type HistoryParts = Readonly<
  Pick<HistoryRun, "timestamp" | "error" | "isErrorCut"> & {
    [name in "input" | "output"]: ClippedParts;
  } & { [name in "source" | "agent"]: ClippedParts | undefined }
>;

function partsOf(run: HistoryRun): HistoryParts {
  return {
    ...run,
    input: run.input.parts,
    output: run.output.parts,
    source: run.source?.parts,
    agent: run.agent?.parts,
  };
}

function restoredRun(parts: HistoryParts): HistoryRun {
  const text = (limit: number, saved: ClippedParts): ClippedText => {
    const clipped = new ClippedText(limit);
    clipped.restore(saved);
    return clipped;
  };
  const { input, output, source, agent } = parts;
  return {
    ...parts,
    input: text(TEXT_LIMIT, input),
    output: text(TEXT_LIMIT, output),
    source: source && text(NAME_LIMIT, source),
    agent: agent && text(NAME_LIMIT, agent),
  };
}

function runOf(
  request: Message,
  content: ReadonlyMap<string, Buffer>,
  timestamp: number,
): HistoryRun {
  const { source, agent_name } = attributionOf(request) ?? {};
  const input = new ClippedText(TEXT_LIMIT);
  addString(input, content.get("code"));
  return {
    input,
    output: new ClippedText(TEXT_LIMIT),
    source: nameText(source),
    agent: nameText(agent_name),
    timestamp,
    error: undefined,
    isErrorCut: false,
  };
}

function entryOf(run: HistoryRun): ExecutionHistoryEntry {
  const { input, output, source, agent, timestamp, error } = run;
  const texts = [input, output, source, agent];
  return {
    input: input.toString(),
    output: output.toString(),
    ...(error !== undefined && { error }),
    timestamp,
    ...(source !== undefined && { source: source.toString() }),
    ...(agent !== undefined && { agent: agent.toString() }),
    truncated: run.isErrorCut || texts.some((text) => text?.isClipped === true),
  };
}

function addMessage(
  run: HistoryRun,
  msg_type: string,
  bytes: Uint8Array,
): void {
  if (msg_type === "stream" && bytes.length <= SMALL_STREAM) {
    const text = streamTextIn(bytes);
    if (text !== undefined) run.output.add(text);
    return;
  }
  const content = members(bytes);
  switch (msg_type) {
    case "stream":
      addString(run.output, content.get("text"));
      return;
    case "display_data":
    case "execute_result":
      addDisplay(run, content.get("data"));
      return;
    case "error":
      setError(run, content);
      return;
    default:
      if (run.error !== undefined) return;
      if (content.get("status")?.toString() === '"error"') {
        setError(run, content);
      }
  }
}

/** Decodes only the beginning and the end of a flood. */
function addBurst(run: HistoryRun, burst: Burst): void {
  const { count } = burst;
  let index = 0;
  for (; index < count && !run.output.isClipped; index += 1) {
    addMessageOf(run, burst, index);
  }
  let end = count;
  for (let kept = 0; end > index && kept < TEXT_LIMIT / 2;) {
    end -= 1;
    kept += Math.max(0, textLengthIn(burst, end));
  }
  let omitted = 0;
  for (; index < end; index += 1) {
    const length = textLengthIn(burst, index);
    if (length === UNKNOWN_TEXT) addMessageOf(run, burst, index);
    else omitted += Math.max(0, length);
  }
  run.output.leaveOut(omitted);
  for (; index < count; index += 1) addMessageOf(run, burst, index);
}

function addMessageOf(run: HistoryRun, burst: Burst, index: number): void {
  const { msg_type } = burst;
  const length = textLengthIn(burst, index);
  if (length === NO_TEXT) return;
  if (length === UNKNOWN_TEXT) {
    addMessage(run, msg_type, contentIn(burst, index));
    return;
  }
  const lineEnd = isDisplay(msg_type) ? "\n" : "";
  const text = outputTextIn(burst, index);
  if (text !== undefined) run.output.addJsonOf(text, length - lineEnd.length);
  run.output.add(lineEnd);
}

function addDisplay({ output }: HistoryRun, data: Buffer | undefined): void {
  const bundle = data === undefined ? NONE : members(data);
  if (bundle.size === 0) return;
  const text = bundle.get("text/plain");
  if (text === undefined) {
    output.add(`[${[...bundle.keys()].join(", ")}]`);
  } else addString(output, text);
  output.add("\n");
}

function setError(run: HistoryRun, content: ReadonlyMap<string, Buffer>): void {
  const name = new ClippedText(NAME_LIMIT);
  addString(name, content.get("ename"));
  const message = new ClippedText(TEXT_LIMIT / 2);
  addString(message, content.get("evalue"));
  const lines = linesIn(content.get("traceback"));
  run.error = {
    name: name.toString(),
    message: message.toString(),
    traceback: [],
  };
  const used = Buffer.byteLength(run.error.name + run.error.message);
  run.error.traceback = lastOf(lines ?? [], TEXT_LIMIT - used);
  run.isErrorCut =
    name.isClipped ||
    message.isClipped ||
    run.error.traceback.length !== lines?.length;
}

/** The last whole lines that fit into so many bytes. */
function lastOf(lines: readonly string[], bytes: number): string[] {
  let room = bytes;
  const first = lines.findLastIndex((line) => {
    room -= Buffer.byteLength(line);
    return room < 0;
  });
  return lines.slice(first + 1);
}

/** The `text` of a stream. Parsing all of a small content is the fastest way. */
function streamTextIn(content: Uint8Array): string | undefined {
  try {
    const value: unknown = JSON.parse(content.toString());
    const { text } = (value ?? {}) as { text?: unknown };
    return typeof text === "string" ? text : undefined;
  } catch {
    return undefined; // not JSON
  }
}

const NONE: ReadonlyMap<string, Buffer> = new Map();

function nameText(text: string | undefined): ClippedText | undefined {
  if (text === undefined) return undefined;
  const clipped = new ClippedText(NAME_LIMIT);
  clipped.add(text);
  return clipped;
}

/** An empty map if the JSON is not an object. */
function members(bytes: Uint8Array): ReadonlyMap<string, Buffer> {
  try {
    return membersOf(bufferOf(bytes));
  } catch {
    return NONE;
  }
}

/** Adds nothing if the JSON is not a string. */
function addString(text: ClippedText, json: Buffer | undefined): void {
  if (json?.[0] !== QUOTE) return;
  try {
    text.addJson(json);
  } catch {
    // not JSON
  }
}

const QUOTE = 0x22;

/** The strings in a JSON list; `undefined` if the list is too large. */
function linesIn(json: Buffer | undefined): string[] | undefined {
  if (json === undefined) return [];
  if (json.length > TRACEBACK_LIMIT) return undefined;
  try {
    const value: unknown = JSON.parse(json.toString());
    return Array.isArray(value)
      ? value.filter((line) => typeof line === "string")
      : [];
  } catch {
    return []; // not JSON
  }
}
