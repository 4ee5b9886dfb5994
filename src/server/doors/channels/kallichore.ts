/**
 * Encodes a session's events as Kallichore does: Jupyter messages as they are,
 * the supervisor's own events under `"kind":"kernel"` with one member each.
 *
 * Kallichore's own types read exactly one member beside `kind`, and fail on a
 * name that they do not know. So a client gets only what Kallichore sends,
 * unless it asks for more in the address (`?events=all`). Jupyter messages carry
 * `seq` in any case: their type ignores members that it does not know.
 */
import type { OwnEvent } from "../../../../contract/index.ts";
import { Entry } from "../../../journal/entry.ts";
import { textFrame } from "../../../jupyter/websocket-frame.ts";
import type { ChannelCodec } from "./channels.ts";

/** Only the events that Kallichore sends. */
const plain = codecOf({
  event: ({ event }) => toKallichoreEvent(event),
  gap: () => undefined,
});

/** All events, each with its number. */
const allEvents = codecOf({
  event: ({ event, seq }) => {
    const known = toKallichoreEvent(event);
    const isWhole = known !== undefined && event.kind !== "execution";
    return { ...known, ...(isWhole ? {} : toOtherEvent(event)), seq };
  },
  gap: (from, to) => ({ gap: { from, to }, seq: to }),
});

type Members = Readonly<Record<string, unknown>>;

/** An encoder returns `undefined` for an event that it leaves out. */
function codecOf(encoders: {
  readonly event: (entry: Entry) => Members | undefined;
  readonly gap: (from: number, to: number) => Members | undefined;
}): ChannelCodec {
  const framed = (members: Members | undefined) =>
    members === undefined ? undefined : [frame(members)];
  return {
    encode({ reading }, put) {
      if ("entries" in reading) {
        const { slab, from, to } = reading.entries;
        const putRun = (start: number, end: number) => {
          if (start === end) return;
          const records = slab.recordsOf(start, end);
          put([records], slab.first + end - 1, slab.sizeOf(start, end), slab);
        };
        let start = from;
        for (let row = from; row < to; row += 1) {
          if (!slab.isEvent(row)) continue;
          putRun(start, row);
          start = row + 1;
          const entry = new Entry(slab, row);
          put(framed(encoders.event(entry)), entry.seq, entry.size);
        }
        putRun(start, to);
      } else if ("gap" in reading) {
        const { from, to } = reading.gap;
        put(framed(encoders.gap(from, to)), to, 0);
      }
    },
    displaced: (reason) => [frame({ clientDisconnected: reason })],
  };
}

/** For a client that connected to this address: a path with its query. */
export function codecFor(address: string | undefined): ChannelCodec {
  const query = new URLSearchParams(address?.split("?", 2)[1]);
  return query.get("events") === "all" ? allEvents : plain;
}

/** `undefined`: Kallichore does not have this event. */
function toKallichoreEvent(
  event: OwnEvent,
): Record<string, unknown> | undefined {
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
    case "execution":
      return event.state === "queued"
        ? { executionQueued: event.execution_id }
        : undefined;
    case "execution_requested": {
      const { msg_id, code, requested_at, attribution } = event;
      const { code_length, code_is_clipped } = event;
      if (attribution.source !== "agent") return undefined; // the only source in Kallichore's type
      return {
        executionRequested: {
          msg_id,
          code,
          ...(code_is_clipped && { code_length, code_is_clipped }),
          requested_at,
          attribution,
        },
      };
    }
    case "handshake":
      return { handshakeCompleted: [event.session_id, event.connection] };
    default:
      return undefined;
  }
}

/** Another event of the supervisor in the same form: its kind is the member's name, the rest its value. */
function toOtherEvent({ kind, ...value }: OwnEvent): Record<string, unknown> {
  const name = kind.replace(/_([a-z])/g, (_, letter: string) =>
    letter.toUpperCase(),
  );
  return { [name]: value };
}

function frame(members: Members): Buffer {
  return textFrame(JSON.stringify({ kind: "kernel", ...members }));
}
