/**
 * What code puts out, from messages to what a notebook keeps (nbformat 4):
 * streams joined, `clear_output` heeded, displays as they were last updated.
 *
 * Kernels are sloppy: what their messages lack is empty here, and nothing that
 * they show is left out for it.
 */
import type { SessionEvent } from "./messages.ts";
import type { Output } from "./output.ts";

type Content = Readonly<Record<string, unknown>>;
type Displayed = Extract<
  Output,
  { output_type: "display_data" | "execute_result" }
>;

/** Bytes of messages, where outputs have to have an end. */
export const OUTPUTS_LIMIT = 64 * 1024 * 1024;

/** The outputs of one execution, message by message. */
export class Outputs {
  readonly #limit: number;
  #list: Output[] = [];
  readonly #displays = new Map<string, Displayed[]>();
  #clearsNext = false;
  #bytes = 0;
  #isClipped = false;

  /** `limit`: what comes after so many bytes is left out. */
  constructor(limit = Infinity) {
    this.#limit = limit;
  }

  get list(): Output[] {
    return this.#list;
  }

  /** Whether outputs past the limit were left out. */
  get isClipped(): boolean {
    return this.#isClipped;
  }

  /** Whether a message of that type has to be read at all. `isOwn`: the execution itself says it. */
  concerns(msg_type: string, isOwn: boolean): boolean {
    return msg_type === "update_display_data"
      ? this.#displays.size > 0 // an update concerns every display of its id, whoever says it
      : isOwn && SHOWN.has(msg_type);
  }

  /** Takes a message that `concerns` it, of so many bytes. */
  add(msg_type: string, content: Content, size: number): void {
    if (msg_type === "update_display_data") {
      this.#update(content);
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
    this.#bytes += size;
    if (this.#bytes > this.#limit) this.#isClipped = true;
    else this.#put(output, displayIdIn(content));
  }

  #put(output: Output, display_id: string | undefined): void {
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
    if (display_id === undefined || !isDisplayed(output)) return;
    const same = this.#displays.get(display_id);
    if (same === undefined) this.#displays.set(display_id, [output]);
    else same.push(output);
  }

  #update(content: Content): void {
    const { data, metadata } = bundleIn(content);
    for (const output of this.#displays.get(displayIdIn(content) ?? "") ?? []) {
      Object.assign(output, { data, metadata });
    }
  }

  #clear(): void {
    this.#list = [];
    this.#clearsNext = false;
    this.#bytes = 0;
    this.#isClipped = false;
    this.#displays.clear();
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

function recordIn(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null
    ? (value as Record<string, unknown>)
    : {};
}
