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

/** A comment now and then, so that proxies and readers know that somebody is there. */
const KEEP_ALIVE_MS = 15_000;

/**
 * One event for each entry, with its position as `id:`. Ends when the client
 * leaves, or takes nothing for `timeout_ms`; waits while it is slow.
 */
export async function streamEvents(
  res: ServerResponse,
  subscription: AsyncIterable<SubscriptionItem>,
  timeout_ms: number,
  guard: Pick<Guard, "around">,
): Promise<void> {
  res.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-store, no-transform", // who compresses would keep events back
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
    const { slab, last, size } = entries;
    const before = [`id: ${idPrefixOf(item)}`, "\ndata: "];
    put(encodeEntries(entries, { before, after: "\n\n" }), last, size, slab);
  },
};

/** A reader that takes nothing for `timeout_ms` is cut off. */
function sinkOf(res: ServerResponse, timeout_ms: number): Sink {
  return {
    add(pieces, slab) {
      slab?.pin();
      const last = pieces.length - 1;
      for (const [index, piece] of pieces.entries()) {
        if (index < last) res.write(piece);
        else res.write(piece, () => slab?.unpin());
      }
    },
    flush() {}, // nothing is held back
    batch(send) {
      res.cork();
      send();
      res.uncork();
    },
    drained: () => drained(res, timeout_ms),
  };
}
