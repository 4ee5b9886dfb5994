/**
 * Sends a journal to a client, in every protocol: read, encode, wait for the
 * client. A protocol is a codec; a connection is a sink.
 */
import type { PinnedMemory } from "../jupyter/record-memory.ts";
import type { SubscriptionItem } from "./answers/subscription.ts";

/** How a protocol encodes the items of a subscription. */
export interface Codec {
  /** Calls `put` with one or more events at a time; without pieces for an event that the protocol does not have. */
  encode(item: SubscriptionItem, put: Put): void;
}

/** Takes encoded events, in consecutive pieces. */
export type Put = (
  pieces: readonly Buffer[] | undefined,
  /** The number of the last event in the pieces. */
  seq: number,
  /** The size of the entries in bytes. */
  size: number,
  /** The memory of the pieces: it is pinned until they have been sent. */
  memory?: PinnedMemory,
) => void;

/** The destination of encoded events. */
export interface Sink {
  /** `memory` stays pinned until the operating system has the pieces. */
  add(pieces: readonly Buffer[], memory?: PinnedMemory): void;
  /** Sends what was added. */
  flush(): void;
  /** Everything that `send` sends goes out in one write. */
  batch(send: () => void): void;
  /** Resolves with true when the client has read enough; with false when it has left. */
  drained(): Promise<boolean>;
  /** False when the connection is closed, or is being closed: what is added then is dropped. */
  readonly isOpen: boolean;
}

/** Tracks what the owner of a channel has acknowledged. */
export interface AcknowledgementTracker {
  sent(seq: number, size: number): void;
  requestAcknowledgement(): void;
}

export interface RelayOptions {
  readonly codec: Codec;
  readonly sink: Sink;
  readonly owner?: AcknowledgementTracker | undefined;
}

/** Resolves when the source ends or the client has left. */
export async function relay(
  source: AsyncIterable<SubscriptionItem>,
  { codec, sink, owner }: RelayOptions,
): Promise<void> {
  for await (const item of paced(source, sink)) {
    sink.batch(() => {
      codec.encode(item, (pieces, seq, size, memory) => {
        if (pieces !== undefined) sink.add(pieces, memory);
        owner?.sent(seq, size);
      });
      sink.flush();
      if (!isUsageSample(item)) owner?.requestAcknowledgement();
    });
  }
}

/** Resource usage is sent each second, and may arrive twice without harm. So it alone needs no acknowledgement. */
function isUsageSample({ reading }: SubscriptionItem): boolean {
  if (!("entries" in reading)) return false;
  const { slab, from, length } = reading.entries;
  return length === 1 && slab.typeOf(from) === "resource_usage";
}

/** The items, as fast as the client reads them. Ends when the client has left. The caller has sent an item before it takes the next. */
export async function* paced(
  source: AsyncIterable<SubscriptionItem>,
  sink: Pick<Sink, "drained" | "isOpen">,
): AsyncGenerator<SubscriptionItem, void> {
  if (!(await sink.drained())) return;
  for await (const item of source) {
    // An item for a client that has left meanwhile is not sent: it must not count as sent.
    if (!sink.isOpen) return;
    yield item;
    if (!(await sink.drained())) return;
  }
}
