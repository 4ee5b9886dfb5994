/**
 * Kallichore's spelling of a session's events: Jupyter messages as they are,
 * the supervisor's own under `"kind":"kernel"` with one key each. Every frame
 * carries its number as `seq`, which clients of old ignore.
 */
import type { OwnEvent } from "../../contract/index.ts";
import { type Entry, MessageEntry } from "../session/entry.ts";
import type { Codec } from "./channels.ts";

export const kallichore: Codec = {
  encode: (entry: Entry) =>
    entry instanceof MessageEntry
      ? entry.json
      : [frame(spelled(entry.event), entry.seq)],
  gap: (from, to) => [frame({ gap: { from, to } }, to)],
  displaced: (reason) => [frame({ clientDisconnected: reason })],
};

function spelled(event: OwnEvent): Record<string, unknown> {
  switch (event.kind) {
    case "status":
      return { status: { status: event.status, reason: event.reason } };
    case "exited":
      return { exited: event.exit_code };
    case "output":
      return { output: [event.stream, event.text] };
    case "resource_usage":
      return { resourceUsage: event.usage };
    case "working_directory":
      return { workingDirChanged: event.path };
    case "execution_queued":
      return { executionQueued: event.msg_id };
    case "handshake":
      return { handshakeCompleted: [event.session_id, event.connection] };
  }
}

function frame(event: Record<string, unknown>, seq?: number): string {
  return JSON.stringify({ kind: "kernel", ...event, seq });
}
