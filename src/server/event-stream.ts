/** A subscription as server-sent events, for clients that cannot hold a WebSocket. */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { TrackedEnvelope } from "@trpc/server";

/** A comment now and then, so that proxies and readers know that somebody is there. */
const KEEP_ALIVE_MS = 15_000;

/** Each event is one `data:` line, with its number as `id:`. Ends when the client leaves. */
export async function streamEvents(
  res: ServerResponse,
  events: AsyncIterable<TrackedEnvelope<unknown>>,
): Promise<void> {
  res.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
  });
  res.write(": listening\n\n");
  const timer = setInterval(() => res.write(": still here\n\n"), KEEP_ALIVE_MS);
  try {
    for await (const [id, event] of events) {
      const goesOn = res.write(`id: ${id}\ndata: ${JSON.stringify(event)}\n\n`);
      if (!goesOn && !res.destroyed) {
        await Promise.race([once(res, "drain"), once(res, "close")]);
      }
      if (res.destroyed) return;
    }
  } finally {
    clearInterval(timer);
    res.end();
  }
}
