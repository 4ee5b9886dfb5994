/**
 * What code puts out, from messages to what a notebook keeps (nbformat 4):
 * streams joined, `clear_output` heeded, displays as they were last updated.
 *
 * Kernels are sloppy: what their messages lack is empty here, and nothing that
 * they show is left out for it.
 */
import { truncate } from "../contract/truncate.ts";
import type { SessionEvent } from "../contract/messages.ts";
import type { Clipped, Output } from "../contract/output.ts";

type Content = Readonly<Record<string, unknown>>;
type Displayed = Extract<
  Output,
  { output_type: "display_data" | "execute_result" }
>;

/** Bytes of messages, where outputs have to have an end. */
export const OUTPUTS_LIMIT = 64 * 1024 * 1024;

/**
 * The outputs of one execution, message by message.
 *
 * Past the limit the rest is left out, and counted; of a stream, what still
 * fits is kept. Results and errors have a limit of their own, of the same size,
 * so that a flood of text cannot displace them; past that the oldest go, and
 * the last one is kept however large it is.
 */
export class Outputs {
  readonly #limit: number;
  #list: Output[] = [];
  readonly #displays = new Map<string, Displayed[]>();
  /** Bytes of what is kept, by output. */
  readonly #sizes = new Map<Output, number>();
  #clearsNext = false;
  /** Bytes of streams and displays. */
  #bytes = 0;
  #isFull = false;
  /** Results and errors, oldest first, and their bytes. */
  #ends: Output[] = [];
  #endBytes = 0;
  #missing = 0;
  #missingBytes = 0;
  #hasError = false;
  /** A reply that tells of an error: kernels may do so there alone. It may come before the error itself, which then counts. */
  #replied: Content | undefined;

  /** `limit` is in bytes. */
  constructor(limit = Infinity) {
    this.#limit = limit;
  }

  get list(): Output[] {
    const reply = this.#replied;
    if (reply === undefined || this.#hasError) return this.#list;
    return [...this.#list, { output_type: "error", ...errorIn(reply) }];
  }

  /** Whether something was left out for the limit. */
  get isClipped(): boolean {
    return this.#missing > 0;
  }

  /** What was left out for the limit; `null` when nothing was. */
  get clipped(): Clipped | null {
    if (!this.isClipped) return null;
    return {
      outputs: this.#missing,
      bytes: this.#missingBytes,
      limit_bytes: this.#limit,
    };
  }

  /** Whether a message of that type has to be read at all. `isOwn`: the execution itself says it. */
  concerns(msg_type: string, isOwn: boolean): boolean {
    return msg_type === "update_display_data"
      ? this.#displays.size > 0 // an update concerns every display of its id, whoever says it
      : isOwn && SHOWN.has(msg_type);
  }

  /** Takes a message that `concerns` it, of so many bytes. Its content may be anything. */
  add(msg_type: string, said: unknown, size: number): void {
    const content = recordIn(said);
    if (msg_type === "execute_reply") {
      if (content["status"] === "error") this.#replied = content;
      return;
    }
    if (msg_type === "update_display_data") {
      this.#update(content, size);
      return;
    }
    if (msg_type === "clear_output") {
      this.#clearsNext = content["wait"] === true;
      if (!this.#clearsNext) this.#clear();
      return;
    }
    const output = toOutput(msg_type, content);
    if (output === undefined) return;
    if (this.#clearsNext) this.#clear();
    if (output.output_type === "error") this.#hasError = true;
    if (isEnd(output)) this.#putEnd(output, size, displayIdIn(content));
    else this.#putWithin(output, size, displayIdIn(content));
  }

  /** A stream or a display, as far as there is room. */
  #putWithin(
    output: Output,
    size: number,
    display_id: string | undefined,
  ): void {
    const room = this.#isFull ? 0 : this.#limit - this.#bytes;
    if (size <= room) {
      this.#bytes += size;
      this.#put(output, size, display_id);
      return;
    }
    this.#isFull = true; // what comes after is left out too, so that what is kept has no holes
    this.#miss(size - room);
    if (output.output_type !== "stream" || room <= 0) {
      this.#missingBytes += room;
      return;
    }
    this.#bytes += room;
    const text = truncate(
      output.text,
      Math.floor((output.text.length * room) / size),
    );
    this.#put({ ...output, text }, room, undefined);
  }

  #putEnd(output: Output, size: number, display_id: string | undefined): void {
    this.#endBytes += size;
    this.#ends.push(output);
    this.#put(output, size, display_id);
    while (this.#endBytes > this.#limit && this.#ends.length > 1) {
      const oldest = this.#ends.shift();
      if (oldest === undefined) return;
      const bytes = this.#sizes.get(oldest) ?? 0;
      this.#endBytes -= bytes;
      this.#miss(bytes);
      this.#sizes.delete(oldest);
      this.#list = this.#list.filter((kept) => kept !== oldest);
    }
  }

  #put(output: Output, size: number, display_id: string | undefined): void {
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
    if (display_id === undefined || !isDisplayed(output)) return;
    const same = this.#displays.get(display_id);
    if (same === undefined) this.#displays.set(display_id, [output]);
    else same.push(output);
  }

  /** An update for which there is no room leaves the displays as they are. */
  #update(content: Content, size: number): void {
    const displays = (
      this.#displays.get(displayIdIn(content) ?? "") ?? []
    ).filter((output) => this.#sizes.has(output));
    const { data, metadata } = bundleIn(content);
    for (const output of displays) {
      const before = this.#sizes.get(output) ?? 0;
      const isOfEnds = isEnd(output);
      const after = (isOfEnds ? this.#endBytes : this.#bytes) - before + size;
      if (after > this.#limit && size > before) {
        this.#miss(size);
        continue;
      }
      if (isOfEnds) this.#endBytes = after;
      else this.#bytes = after;
      this.#sizes.set(output, size);
      Object.assign(output, { data, metadata });
    }
  }

  #miss(bytes: number): void {
    this.#missing += 1;
    this.#missingBytes += bytes;
  }

  #clear(): void {
    this.#list = [];
    this.#clearsNext = false;
    this.#displays.clear();
    this.#sizes.clear();
    this.#bytes = 0;
    this.#isFull = false;
    this.#ends = [];
    this.#endBytes = 0;
    this.#missing = 0;
    this.#missingBytes = 0;
  }
}

/** The outputs of the request `msg_id`, read off what a session said. */
export function outputsOf(
  events: Iterable<SessionEvent>,
  msg_id: string,
): Output[] {
  const outputs = new Outputs();
  for (const event of events) {
    if (event.kind !== "jupyter") continue;
    const { header, parent_header, content } = event;
    const isOwn = parent_header?.msg_id === msg_id;
    if (outputs.concerns(header.msg_type, isOwn)) {
      outputs.add(header.msg_type, content, 0);
    }
  }
  return outputs.list;
}

const SHOWN = new Set([
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

/** What the code came to. */
function isEnd({ output_type }: Output): boolean {
  return output_type === "execute_result" || output_type === "error";
}

function isDisplayed(output: Output): output is Displayed {
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

/** By which a display can be updated. */
export function displayIdIn({ transient }: Content): string | undefined {
  const { display_id } = recordIn(transient);
  return typeof display_id === "string" ? display_id : undefined;
}

export function textIn(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** An object's members; empty for anything else, such as the `[]` that some languages write for an empty map. */
export function recordIn(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}
