/** A subscription as server-sent events, for clients that cannot hold a WebSocket. */
import type { ServerResponse } from "node:http";
import { taken } from "../../patience.ts";
import { eachEvent, type Told } from "../../answers/told.ts";

/** A comment now and then, so that proxies and readers know that somebody is there. */
const KEEP_ALIVE_MS = 15_000;

/**
 * One event for each entry, with its position as `id:`. Ends when the client
 * leaves, or takes nothing for `patience_ms`; waits while it is slow.
 */
export async function streamEvents(
  res: ServerResponse,
  subscription: AsyncIterable<Told>,
  patience_ms: number,
): Promise<void> {
  res.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-store, no-transform", // who compresses would keep events back
    "x-accel-buffering": "no",
  });
  res.write(": listening\n\n");
  const timer = setInterval(() => {
    if (!res.writableNeedDrain) res.write(": still here\n\n");
  }, KEEP_ALIVE_MS);
  try {
    for await (const told of subscription) {
      res.cork();
      eachEvent(told, (id, json) => sendEvent(res, id, json));
      res.uncork();
      await drained(res, patience_ms);
      if (res.destroyed) return;
    }
  } finally {
    clearInterval(timer);
    res.end();
  }
}

const DATA = Buffer.from("data: ");
const NEXT_LINE = Buffer.from("\ndata: ");
const END = Buffer.from("\n\n");

/** A line break within the JSON, where it means nothing, begins another `data:` line here. */
function sendEvent(
  res: ServerResponse,
  id: string,
  pieces: readonly Buffer[],
): void {
  res.write(`id: ${id}\n`);
  res.write(DATA);
  for (const piece of pieces) {
    let from = 0;
    for (
      let end = piece.indexOf("\n");
      end !== -1;
      end = piece.indexOf("\n", from)
    ) {
      res.write(piece.subarray(from, end));
      res.write(NEXT_LINE);
      from = end + 1;
    }
    res.write(from === 0 ? piece : piece.subarray(from));
  }
  res.write(END);
}

/** A reader that takes nothing for `patience_ms` is cut off. */
async function drained(
  res: ServerResponse,
  patience_ms: number,
): Promise<void> {
  const waiting = () => (res.destroyed ? undefined : res.writableLength);
  const outgoing = { waiting, stream: res, socket: res };
  const limit = Math.max(res.writableHighWaterMark, 1);
  if (!(await taken(outgoing, { limit, patience_ms }))) res.destroy();
}
