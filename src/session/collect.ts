/**
 * One execution from its request to its end, as a notebook would keep it: the
 * outputs of one request, read off the journal, in nbformat's shapes.
 */
import {
  contents,
  failure,
  type InputOf,
  type Output,
  type contract,
} from "../../contract/index.ts";
import type { Message } from "../jupyter/message.ts";
import { Deadline } from "../signals.ts";
import { MessageEntry } from "./entry.ts";
import type { Session } from "./session.ts";

export type Collected = InputOf<typeof contract.sessions.execute.output>;

/** How long the kernel may take to end what was interrupted. */
const INTERRUPTED_MS = 5_000;

/**
 * Sends `request` and waits for its reply and its idle. After `timeout_ms` what
 * runs is interrupted, and what was said until then is the answer.
 */
export async function collect(
  session: Session,
  request: Message,
  { timeout_ms, signal }: { timeout_ms: number; signal: AbortSignal },
): Promise<Collected> {
  const after = session.journal.last;
  const { msg_id } = request.header;
  session.send(request);
  const end = new AbortController();
  const outputs = new Outputs();
  const timer = setTimeout(() => {
    session.interrupt().catch(() => {}); // it ended meanwhile, or it cannot be: the answer says that time was up
    setTimeout(() => end.abort(), INTERRUPTED_MS).unref();
    outputs.isLate = true;
  }, timeout_ms);
  using ends = new Deadline([signal, end.signal, session.ended]);
  const heard = new Ending();
  try {
    for await (const reading of session.journal.follow(after, ends.signal)) {
      if ("gap" in reading) continue;
      for (const entry of reading.entries) {
        if (!(entry instanceof MessageEntry)) continue;
        outputs.update(entry);
        if (entry.parent_id !== msg_id) continue;
        heard.note(entry);
        outputs.add(entry);
      }
      if (heard.isOver) break;
    }
  } finally {
    clearTimeout(timer);
  }
  const { reply } = heard;
  if (reply["reason"] === "kernel_exited") {
    const why = String(reply["evalue"]);
    throw failure("kernel_exited", { session_id: session.id, why });
  }
  const count = reply["execution_count"];
  return {
    msg_id,
    status: outputs.isLate ? "timeout" : statusOf(reply),
    execution_count: typeof count === "number" ? count : null,
    outputs: outputs.list,
    timed_out: outputs.isLate,
  };
}

/** An execution is over when its reply and its idle have both been heard, in either order. */
class Ending {
  reply: Readonly<Record<string, unknown>> = {};
  #signs = new Set<"reply" | "idle">();

  note(entry: MessageEntry): void {
    if (entry.msg_type === "execute_reply") {
      this.reply = contentIn(entry);
      this.#signs.add("reply");
    } else if (entry.msg_type === "status") {
      if (contentIn(entry)["execution_state"] === "idle") {
        this.#signs.add("idle");
      }
    }
  }

  get isOver(): boolean {
    return this.#signs.size === 2;
  }
}

function statusOf(
  reply: Readonly<Record<string, unknown>>,
): "ok" | "error" | "aborted" {
  switch (reply["status"]) {
    case "ok":
      return "ok";
    case "error":
      return "error";
    default:
      return "aborted"; // IRkernel says `abort`
  }
}

type Displayed = Extract<
  Output,
  { output_type: "display_data" | "execute_result" }
>;

/** The outputs of one execution, in nbformat's shapes. */
class Outputs {
  list: Output[] = [];
  /** Whether time was up before the end. */
  isLate = false;
  readonly #displays = new Map<string, Displayed[]>();
  #clearsNext = false;

  add(entry: MessageEntry): void {
    const content = contentIn(entry);
    if (entry.msg_type === "clear_output") {
      this.#clearsNext = content["wait"] === true;
      if (!this.#clearsNext) this.list = [];
      return;
    }
    const output = outputOf(entry.msg_type, content);
    if (output === undefined) return;
    if (this.#clearsNext) {
      this.list = [];
      this.#clearsNext = false;
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

  /** An update concerns every display of its id, whoever caused it. */
  update(entry: MessageEntry): void {
    if (entry.msg_type !== "update_display_data") return;
    const content = contentIn(entry);
    const { data, metadata } = contents.update_display_data.parse(content);
    for (const output of this.#displays.get(displayIdOf(content) ?? "") ?? []) {
      Object.assign(output, { data, metadata });
    }
  }
}

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
