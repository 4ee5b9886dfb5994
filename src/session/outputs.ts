/**
 * What an execution has said, read off the journal, as a notebook would keep
 * it: nbformat's shapes, streams joined, clearings done, displays up to date.
 */
import { contents, type Output } from "../../contract/index.ts";
import { MessageEntry } from "./entry.ts";
import type { Reading } from "./journal.ts";

type Displayed = Extract<
  Output,
  { output_type: "display_data" | "execute_result" }
>;

/** Bytes of messages; what comes after is left out. */
const LIMIT = 64 * 1024 * 1024;

export class Outputs {
  list: Output[] = [];
  readonly gaps: { from: number; to: number }[] = [];
  readonly #displays = new Map<string, Displayed[]>();
  #clearsNext = false;
  #bytes = 0;
  #isClipped = false;

  /** Whether outputs past the limit were left out. */
  get isClipped(): boolean {
    return this.#isClipped;
  }

  /** Whether what comes later, from others, may still change what was shown. */
  get hasDisplays(): boolean {
    return this.#displays.size > 0;
  }

  /** Takes what a reading has to say of the execution `msg_id`. */
  take(reading: Reading, msg_id: string): void {
    if ("gap" in reading) {
      this.gaps.push({ ...reading.gap });
      return;
    }
    for (const entry of reading.entries) {
      if (!(entry instanceof MessageEntry)) continue;
      if (entry.msg_type === "update_display_data") this.#update(entry);
      else if (entry.parent_id === msg_id) this.#add(entry);
    }
  }

  #add(entry: MessageEntry): void {
    if (!SHOWN.has(entry.msg_type)) return;
    const content = contentIn(entry);
    if (entry.msg_type === "clear_output") {
      this.#clearsNext = content["wait"] === true;
      if (!this.#clearsNext) this.#clear();
      return;
    }
    const output = outputOf(entry.msg_type, content);
    if (output === undefined) return;
    if (this.#clearsNext) this.#clear();
    this.#bytes += entry.size;
    if (this.#bytes > LIMIT) {
      this.#isClipped = true;
      return;
    }
    const last = this.list.at(-1);
    if (
      output.output_type === "stream" &&
      last?.output_type === "stream" &&
      last.name === output.name
    ) {
      last.text += output.text;
      return;
    }
    this.list.push(output);
    const display_id = displayIdOf(content);
    const isDisplay =
      output.output_type === "display_data" ||
      output.output_type === "execute_result";
    if (display_id !== undefined && isDisplay) {
      const same = this.#displays.get(display_id) ?? [];
      this.#displays.set(display_id, [...same, output]);
    }
  }

  #clear(): void {
    this.list = [];
    this.#clearsNext = false;
    this.#bytes = 0;
    this.#isClipped = false;
    this.#displays.clear();
  }

  /** An update concerns every display of its id, whoever caused it. */
  #update(entry: MessageEntry): void {
    if (!this.hasDisplays) return;
    const content = contentIn(entry);
    const { data, metadata } = bundleOf(content);
    for (const output of this.#displays.get(displayIdOf(content) ?? "") ?? []) {
      Object.assign(output, { data, metadata });
    }
  }
}

const SHOWN = new Set([
  "stream",
  "display_data",
  "execute_result",
  "error",
  "clear_output",
]);

function outputOf(
  msg_type: string,
  content: Record<string, unknown>,
): Output | undefined {
  switch (msg_type) {
    case "stream": {
      const stream = contents.stream.safeParse(content);
      return stream.success
        ? {
            output_type: "stream",
            name: stream.data.name,
            text: stream.data.text,
          }
        : undefined;
    }
    case "display_data": {
      const { data, metadata } = bundleOf(content);
      return { output_type: "display_data", data, metadata };
    }
    case "execute_result": {
      const { data, metadata } = bundleOf(content);
      const count = content["execution_count"];
      const execution_count = typeof count === "number" ? count : null;
      return { output_type: "execute_result", data, metadata, execution_count };
    }
    case "error": {
      const error = contents.error.safeParse(content);
      if (!error.success) return undefined;
      const { ename, evalue, traceback } = error.data;
      return { output_type: "error", ename, evalue, traceback };
    }
    default:
      return undefined;
  }
}

function bundleOf(content: Record<string, unknown>) {
  const { data, metadata } = content as {
    data?: Record<string, unknown>;
    metadata?: Record<string, unknown>;
  };
  return { data: data ?? {}, metadata: metadata ?? {} };
}

function displayIdOf(content: Record<string, unknown>): string | undefined {
  const { display_id } = (content["transient"] ?? {}) as {
    display_id?: unknown;
  };
  return typeof display_id === "string" ? display_id : undefined;
}

/** What is no JSON says nothing that can be shown. */
function contentIn(entry: MessageEntry): Record<string, unknown> {
  try {
    return (entry.content ?? {}) as Record<string, unknown>;
  } catch {
    return {};
  }
}
