/** A subscription as server-sent events, for clients that cannot hold a WebSocket. */
import type { ServerResponse } from "node:http";
import type { Guard } from "../../../log/guard.ts";
import { eachEvent, type Told } from "../../answers/told.ts";
import { taken } from "../../patience.ts";
import { type Codec, type Piece, relay, type Sink } from "../../relay.ts";

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
    await relay(subscription, { codec, sink: sinkOf(res, patience_ms) });
  } finally {
    clearInterval(timer);
    res.end();
  }
}

const codec: Codec = {
  encode(told, put) {
    eachEvent(told, ({ id, json, seq, size }) =>
      put(eventPieces(id, json), seq, size),
    );
  },
};

/** A reader that takes nothing for `patience_ms` is cut off. */
function sinkOf(res: ServerResponse, patience_ms: number): Sink {
  const waiting = () => (res.destroyed ? undefined : res.writableLength);
  const outgoing = { waiting, stream: res, socket: res };
  const limit = Math.max(res.writableHighWaterMark, 1);
  return {
    add(pieces) {
      for (const piece of pieces) res.write(piece);
    },
    flush() {}, // nothing is held back
    together(send) {
      res.cork();
      send();
      res.uncork();
    },
    async drained() {
      if (!(await taken(outgoing, { limit, patience_ms }))) res.destroy();
      return !res.destroyed;
    },
  };
}

const DATA = Buffer.from("data: ");
const NEXT_LINE = Buffer.from("\ndata: ");
const END = Buffer.from("\n\n");

/** A line break within the JSON, where it means nothing, begins another `data:` line here. */
function eventPieces(id: string, json: readonly Buffer[]): Piece[] {
  const pieces: Piece[] = [`id: ${id}\n`, DATA];
  for (const piece of json) {
    let from = 0;
    for (
      let end = piece.indexOf("\n");
      end !== -1;
      end = piece.indexOf("\n", from)
    ) {
      pieces.push(piece.subarray(from, end), NEXT_LINE);
      from = end + 1;
    }
    pieces.push(from === 0 ? piece : piece.subarray(from));
  }
  pieces.push(END);
  return pieces;
}
