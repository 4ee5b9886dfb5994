/**
 * The one way from a journal to a client, in every protocol: read, encode, wait
 * for the client. A protocol is a codec; a connection is a sink.
 */
import type { Slab } from "../journal/slab.ts";
import type { SubscriptionItem } from "./answers/subscription.ts";

/** How a protocol spells what is told. */
export interface Codec {
  /** Calls `put` with the events that the protocol has a word for, as many as it likes at once, and with no pieces for one that it has none for. */
  encode(item: SubscriptionItem, put: Put): void;
}

/** Events as the protocol spells them, in pieces that follow each other. */
export type Put = (
  pieces: readonly Buffer[] | undefined,
  /** The number up to which the client has been told everything by them. */
  seq: number,
  /** Bytes of the entries. */
  size: number,
  /** Where pieces are views of it: it is pinned until they have been sent. */
  slab?: Slab,
) => void;

/** Where what is encoded goes. */
export interface Sink {
  /** `slab` stays pinned until the pieces are with the operating system. */
  add(pieces: readonly Buffer[], slab?: Slab): void;
  /** Sends what was added. */
  flush(): void;
  /** What `send` sends goes out in one go. */
  batch(send: () => void): void;
  /** Resolves with true once the client has taken enough of it; with false when it is gone. */
  drained(): Promise<boolean>;
}

/** Of a client that owns what it reads: how far it has been told, so that it can be asked how far it has read. */
export interface AcknowledgementTracker {
  sent(seq: number, size: number): void;
  requestAcknowledgement(): void;
}

export interface RelayOptions {
  readonly codec: Codec;
  readonly sink: Sink;
  readonly owner?: AcknowledgementTracker | undefined;
}

/** Resolves when there is no more to tell, or the client is gone. */
export async function relay(
  source: AsyncIterable<SubscriptionItem>,
  { codec, sink, owner }: RelayOptions,
): Promise<void> {
  for await (const item of paced(source, sink)) {
    sink.batch(() => {
      codec.encode(item, (pieces, seq, size, slab) => {
        if (pieces !== undefined) sink.add(pieces, slab);
        owner?.sent(seq, size);
      });
      sink.flush();
      if (!isUsageSample(item)) owner?.requestAcknowledgement();
    });
  }
}

/** What a kernel uses is told each second, and nobody minds to be told it twice: how far it was read is not asked for its sake. */
function isUsageSample({ reading }: SubscriptionItem): boolean {
  if (!("entries" in reading)) return false;
  const { slab, from, length } = reading.entries;
  return length === 1 && slab.typeOf(from) === "resource_usage";
}

/** What is told, as fast as the client takes it; ends when it is gone. Who reads this has sent what came before. */
export async function* paced(
  source: AsyncIterable<SubscriptionItem>,
  sink: Pick<Sink, "drained">,
): AsyncGenerator<SubscriptionItem, void> {
  if (!(await sink.drained())) return;
  for await (const item of source) {
    yield item;
    if (!(await sink.drained())) return;
  }
}
