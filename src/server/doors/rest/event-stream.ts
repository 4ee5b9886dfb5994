/** A subscription as server-sent events, for clients that cannot hold a WebSocket. */
import type { ServerResponse } from "node:http";
import type { Guard } from "../../../log/guard.ts";
import {
  entriesOf,
  type SubscriptionItem,
} from "../../answers/subscription.ts";
import { drained } from "../../drained.ts";
import { type Codec, relay, type Sink } from "../../relay.ts";
import { idPrefixOf, encodeEntries } from "../../encode-entries.ts";

/** The interval of comments that show proxies and readers that the connection is alive. */
const KEEP_ALIVE_MS = 15_000;

/**
 * Sends one event for each entry, with its position as `id:`. Waits while the
 * client is slow. Ends when it leaves, or reads nothing for `timeout_ms`.
 */
export async function streamEvents(
  res: ServerResponse,
  subscription: AsyncIterable<SubscriptionItem>,
  timeout_ms: number,
  guard: Pick<Guard, "around">,
): Promise<void> {
  res.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-store, no-transform", // a proxy that compresses would hold events back
    "x-accel-buffering": "no",
  });
  res.write(": listening\n\n");
  const keepAlive = guard.around("an event stream", () => {
    if (!res.writableNeedDrain) res.write(": still here\n\n");
  });
  const timer = setInterval(keepAlive, KEEP_ALIVE_MS);
  try {
    await relay(subscription, { codec, sink: sinkOf(res, timeout_ms) });
  } finally {
    clearInterval(timer);
    res.end();
  }
}

const codec: Codec = {
  encode(item, put) {
    const entries = entriesOf(item);
    const { last, size } = entries;
    const before = [`id: ${idPrefixOf(item)}`, "\ndata: "];
    const wrapping = { before, after: "\n\n" };
    const { pieces, memory } = encodeEntries(entries, wrapping);
    put(pieces, last, size, memory);
  },
};

/** A reader that reads nothing for `timeout_ms` is disconnected. */
function sinkOf(res: ServerResponse, timeout_ms: number): Sink {
  return {
    add(pieces, memory) {
      memory?.pin();
      const last = pieces.length - 1;
      for (const [index, piece] of pieces.entries()) {
        if (index < last) res.write(piece);
        else res.write(piece, () => memory?.unpin());
      }
    },
    flush() {}, // nothing is buffered here
    batch(send) {
      res.cork();
      send();
      res.uncork();
    },
    drained: () => drained(res, timeout_ms),
    get isOpen() {
      return !res.destroyed;
    },
  };
}
