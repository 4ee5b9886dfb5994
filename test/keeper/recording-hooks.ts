/** Hooks of a run that record each call with copies of its bytes. */
import type { Hooks } from "../../src/kernel/kernel.ts";

/** The name of a hook, and what it was called with. */
export type Call = readonly [name: string, ...unknown[]];

export interface RecordingHooks {
  readonly hooks: Hooks;
  /** All calls but `noted`. */
  readonly calls: Call[];
  /** The numbers that `noted` was called with. */
  readonly noted: number[];
}

export function recordingHooks(
  caughtUp: () => Promise<unknown> | undefined = () => undefined,
): RecordingHooks {
  const calls: Call[] = [];
  const noted: number[] = [];
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");
  const hooks: Hooks = {
    launched: ({ kill, ...facts }) =>
      calls.push(["launched", facts, kill !== undefined]),
    state: (state) => calls.push(["state", state]),
    message: ({ channel, header, parent_header, raw, buffers, record }) =>
      calls.push([
        "message",
        channel,
        header,
        parent_header,
        [raw.header, raw.parent_header, raw.metadata, raw.content].map(text),
        buffers.map(text),
        // A record with buffers is made again from the frames.
        buffers.length > 0 || record === undefined ? undefined : text(record),
      ]),
    burst: ({ msg_type, parent_id, count, records, rows }) =>
      calls.push([
        "burst",
        msg_type,
        parent_id,
        count,
        text(records),
        [...rows],
      ]),
    refused: ({ parent, ...refusal }) =>
      calls.push([
        "refused",
        refusal,
        parent?.header,
        parent && text(parent.raw.header),
      ]),
    tooLarge: (channel, size) => calls.push(["tooLarge", channel, size]),
    caughtUp,
    output: (stream, line) => calls.push(["output", stream, line]),
    registered: (connection) => calls.push(["registered", connection]),
    heartbeat: (beats) => calls.push(["heartbeat", beats]),
    exited: (exit) => calls.push(["exited", exit]),
    noted: (number) => noted.push(number),
    lost: (from, to) => calls.push(["lost", from, to]),
  };
  return { hooks, calls, noted };
}
