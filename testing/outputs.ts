/** The outputs of one request as a notebook keeps them, read off what a session said. */
import {
  type JupyterEvent,
  Output,
  type SessionEvent,
} from "../contract/index.ts";

export function isJupyter(event: SessionEvent): event is JupyterEvent {
  return event.kind === "jupyter";
}

/** Streams joined, displays as they were last updated, clearings done. */
export function outputsOf(
  events: readonly SessionEvent[],
  msg_id: string,
): Output[] {
  let outputs: Output[] = [];
  let clearsNext = false;
  const displays = new Map<string, Output[]>();
  for (const { header, parent_header, content } of events.filter(isJupyter)) {
    if (header.msg_type === "update_display_data") {
      const { data, metadata } = content;
      for (const shown of displays.get(displayIdOf(content)) ?? []) {
        Object.assign(shown, { data, metadata });
      }
    }
    if (parent_header?.msg_id !== msg_id) continue;
    if (header.msg_type === "clear_output") {
      clearsNext = content["wait"] === true;
      if (!clearsNext) outputs = [];
      continue;
    }
    const output = toOutput(header.msg_type, content);
    if (output === undefined) continue;
    if (clearsNext) outputs = [];
    clearsNext = false;
    const last = outputs.at(-1);
    if (
      output.output_type === "stream" &&
      last?.output_type === "stream" &&
      last.name === output.name
    ) {
      last.text += output.text;
      continue;
    }
    outputs.push(output);
    const id = displayIdOf(content);
    if (id !== "") displays.set(id, [...(displays.get(id) ?? []), output]);
  }
  return outputs;
}

function toOutput(
  msg_type: string,
  content: Readonly<Record<string, unknown>>,
): Output | undefined {
  const parsed = Output.safeParse({
    ...withoutTransient(content),
    output_type: msg_type,
  });
  return parsed.success ? parsed.data : undefined;
}

function displayIdOf(content: Readonly<Record<string, unknown>>): string {
  const { display_id = "" } = (content["transient"] ?? {}) as {
    display_id?: string;
  };
  return display_id;
}

/** It says how to find a display, which is no part of it. */
function withoutTransient(content: Readonly<Record<string, unknown>>) {
  return Object.fromEntries(
    Object.entries(content).filter(([name]) => name !== "transient"),
  );
}
