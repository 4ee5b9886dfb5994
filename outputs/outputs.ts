/**
 * Converts kernel messages into notebook outputs (nbformat 4): it joins
 * streams, applies `clear_output` and keeps the last update of each display.
 *
 * Kernels omit fields. A missing field is empty here, and the output is kept.
 */
import { truncate } from "../contract/truncate.ts";
import type { SessionEvent } from "../contract/messages.ts";
import type { Clipped, Output } from "../contract/output.ts";

type Content = Readonly<Record<string, unknown>>;
type DisplayOutput = Extract<
  Output,
  { output_type: "display_data" | "execute_result" }
>;

/** Bytes of messages that the outputs of one execution may have, for callers that need a limit. */
export const OUTPUTS_LIMIT = 64 * 1024 * 1024;

/**
 * Collects the outputs of one execution, message by message.
 *
 * Outputs over the limit are left out and counted. The part of a stream that
 * still fits is kept. Results and errors have a separate limit of the same
 * size, so that a flood of text cannot displace them. Over that limit the oldest
 * are dropped; the last one is kept whatever its size.
 */
export class Outputs {
  readonly #limit: number;
  #list: Output[] = [];
  readonly #displays = new Map<string, DisplayOutput[]>();
  /** The size in bytes of each output that is kept. */
  readonly #sizes = new Map<Output, number>();
  #clearsOnNextOutput = false;
  /** Bytes of all streams and displays. */
  #bytes = 0;
  #isFull = false;
  /** Results and errors, oldest first. */
  #results: Output[] = [];
  #resultBytes = 0;
  #missingOutputs = 0;
  #missingBytes = 0;
  #hasError = false;
  /** A reply with an error: some kernels report an error only there. The reply may arrive before the `error` message, which then takes its place. */
  #errorReply: Content | undefined;

  /** `limit` is in bytes. */
  constructor(limit = Infinity) {
    this.#limit = limit;
  }

  get list(): Output[] {
    const reply = this.#errorReply;
    if (reply === undefined || this.#hasError) return this.#list;
    return [...this.#list, { output_type: "error", ...errorIn(reply) }];
  }

  /** Whether outputs were left out because of the limit. */
  get isClipped(): boolean {
    return this.#missingOutputs > 0;
  }

  /** What was left out because of the limit; `null` if nothing was. */
  get clipped(): Clipped | null {
    if (!this.isClipped) return null;
    return {
      outputs: this.#missingOutputs,
      bytes: this.#missingBytes,
      limit_bytes: this.#limit,
    };
  }

  /** Whether a message of this type can change the outputs. `isOwn`: the message belongs to the execution. */
  isRelevant(msg_type: string, isOwn: boolean): boolean {
    return msg_type === "update_display_data"
      ? this.#displays.size > 0 // an update changes every display with its id, whichever execution sends it
      : isOwn && OUTPUT_TYPES.has(msg_type);
  }

  /** Adds a message for which `concerns` is true. `size` is in bytes. The content may have any shape. */
  add(msg_type: string, value: unknown, size: number): void {
    const content = recordIn(value);
    if (msg_type === "execute_reply") {
      if (content["status"] === "error") this.#errorReply = content;
      return;
    }
    if (msg_type === "update_display_data") {
      this.#update(content, size);
      return;
    }
    if (msg_type === "clear_output") {
      this.#clearsOnNextOutput = content["wait"] === true;
      if (!this.#clearsOnNextOutput) this.#clear();
      return;
    }
    const output = toOutput(msg_type, content);
    if (output === undefined) return;
    if (this.#clearsOnNextOutput) this.#clear();
    if (output.output_type === "error") this.#hasError = true;
    if (isResult(output)) this.#addResult(output, size, displayIdIn(content));
    else this.#addOutput(output, size, displayIdIn(content));
  }

  /** Adds a stream or a display as far as it fits. */
  #addOutput(
    output: Output,
    size: number,
    display_id: string | undefined,
  ): void {
    const room = this.#isFull ? 0 : this.#limit - this.#bytes;
    if (size <= room) {
      this.#bytes += size;
      this.#append(output, size, display_id);
      return;
    }
    this.#isFull = true; // later outputs are left out too, so that the kept ones have no gaps between them
    this.#countMissing(size - room);
    if (output.output_type !== "stream" || room <= 0) {
      this.#missingBytes += room;
      return;
    }
    this.#bytes += room;
    const text = truncate(
      output.text,
      Math.floor((output.text.length * room) / size),
    );
    this.#append({ ...output, text }, room, undefined);
  }

  #addResult(
    output: Output,
    size: number,
    display_id: string | undefined,
  ): void {
    this.#resultBytes += size;
    this.#results.push(output);
    this.#append(output, size, display_id);
    while (this.#resultBytes > this.#limit && this.#results.length > 1) {
      const oldest = this.#results.shift();
      if (oldest === undefined) return;
      const bytes = this.#sizes.get(oldest) ?? 0;
      this.#resultBytes -= bytes;
      this.#countMissing(bytes);
      this.#sizes.delete(oldest);
      this.#list = this.#list.filter((kept) => kept !== oldest);
    }
  }

  #append(output: Output, size: number, display_id: string | undefined): void {
    const last = this.#list.at(-1);
    if (
      output.output_type === "stream" &&
      last?.output_type === "stream" &&
      last.name === output.name
    ) {
      last.text += output.text;
      return;
    }
    this.#list.push(output);
    this.#sizes.set(output, size);
    if (display_id === undefined || !isDisplay(output)) return;
    const same = this.#displays.get(display_id);
    if (same === undefined) this.#displays.set(display_id, [output]);
    else same.push(output);
  }

  /** An update that does not fit leaves the displays unchanged. */
  #update(content: Content, size: number): void {
    const displays = (
      this.#displays.get(displayIdIn(content) ?? "") ?? []
    ).filter((output) => this.#sizes.has(output));
    const { data, metadata } = bundleIn(content);
    for (const output of displays) {
      const before = this.#sizes.get(output) ?? 0;
      const isInResults = isResult(output);
      const after =
        (isInResults ? this.#resultBytes : this.#bytes) - before + size;
      if (after > this.#limit && size > before) {
        this.#countMissing(size);
        continue;
      }
      if (isInResults) this.#resultBytes = after;
      else this.#bytes = after;
      this.#sizes.set(output, size);
      Object.assign(output, { data, metadata });
    }
  }

  #countMissing(bytes: number): void {
    this.#missingOutputs += 1;
    this.#missingBytes += bytes;
  }

  #clear(): void {
    this.#list = [];
    this.#clearsOnNextOutput = false;
    this.#displays.clear();
    this.#sizes.clear();
    this.#bytes = 0;
    this.#isFull = false;
    this.#results = [];
    this.#resultBytes = 0;
    this.#missingOutputs = 0;
    this.#missingBytes = 0;
  }
}

/** The outputs of the request `msg_id`, collected from a session's events. */
export function outputsOf(
  events: Iterable<SessionEvent>,
  msg_id: string,
): Output[] {
  const outputs = new Outputs();
  for (const event of events) {
    if (event.kind !== "jupyter") continue;
    const { header, parent_header, content } = event;
    const isOwn = parent_header?.msg_id === msg_id;
    if (outputs.isRelevant(header.msg_type, isOwn)) {
      outputs.add(header.msg_type, content, 0);
    }
  }
  return outputs.list;
}

const OUTPUT_TYPES = new Set([
  "stream",
  "display_data",
  "execute_result",
  "error",
  "clear_output",
  "execute_reply",
]);

function toOutput(msg_type: string, content: Content): Output | undefined {
  switch (msg_type) {
    case "stream":
      return { output_type: msg_type, ...streamIn(content) };
    case "display_data":
      return { output_type: msg_type, ...bundleIn(content) };
    case "execute_result": {
      const execution_count = countIn(content);
      return { output_type: msg_type, ...bundleIn(content), execution_count };
    }
    case "error":
      return { output_type: msg_type, ...errorIn(content) };
    default:
      return undefined;
  }
}

/** Whether the output is the result or the error of the code. */
function isResult({ output_type }: Output): boolean {
  return output_type === "execute_result" || output_type === "error";
}

function isDisplay(output: Output): output is DisplayOutput {
  return (
    output.output_type === "display_data" ||
    output.output_type === "execute_result"
  );
}

export function streamIn(content: Content): {
  name: "stdout" | "stderr";
  text: string;
} {
  const name = content["name"] === "stderr" ? "stderr" : "stdout";
  return { name, text: textIn(content["text"]) };
}

export function bundleIn({ data, metadata }: Content): {
  data: Record<string, unknown>;
  metadata: Record<string, unknown>;
} {
  return { data: recordIn(data), metadata: recordIn(metadata) };
}

export function errorIn({ ename, evalue, traceback }: Content): {
  ename: string;
  evalue: string;
  traceback: string[];
} {
  const lines = Array.isArray(traceback) ? traceback.map(textIn) : [];
  return { ename: textIn(ename), evalue: textIn(evalue), traceback: lines };
}

export function countIn({ execution_count }: Content): number | null {
  return typeof execution_count === "number" ? execution_count : null;
}

/** The id by which a display can be updated. */
export function displayIdIn({ transient }: Content): string | undefined {
  const { display_id } = recordIn(transient);
  return typeof display_id === "string" ? display_id : undefined;
}

export function textIn(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** The value if it is an object, else an empty object. Some languages write `[]` for an empty map. */
export function recordIn(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}
