/**
 * The items of a subscription, and their ids. An id is the position after which
 * a reader that reconnects begins. It names the journal, so that a reader of
 * another journal gets an event that says so, instead of waiting for numbers
 * that this journal has not reached.
 */
import { failure, toPosition } from "../../../contract/index.ts";
import { Entries } from "../../journal/entries.ts";
import { Entry } from "../../journal/entry.ts";
import type { Reading } from "../../journal/journal.ts";
import type { Session } from "../../session/session.ts";

export interface SubscriptionItem {
  /** `undefined`: the item is from no journal, such as an item of a mock. */
  readonly journal_id: string | undefined;
  /** `previous`: the journal that the reader has read before. */
  readonly reading: Reading | { readonly previous: string };
}

/** Continues after `lastEventId`. If that is from another journal, an item says so, and the reader begins at the beginning. */
export async function* subscribe(
  id: string,
  lastEventId: string | null | undefined,
  read: (after: number) => AsyncIterable<Reading>,
): AsyncGenerator<SubscriptionItem, void> {
  const { journal_id = id, seq } = toPosition(lastEventId ?? "0");
  const isAnother = journal_id !== id;
  if (isAnother) yield { journal_id: id, reading: { previous: journal_id } };
  for await (const reading of read(isAnother ? 0 : seq)) {
    yield { journal_id: id, reading };
  }
}

/** The items of a journal's readings. `missed` is called for each gap. */
export async function* itemsOf(
  journal_id: string,
  readings: AsyncIterable<Reading>,
  missed: (gap: { readonly from: number; readonly to: number }) => void,
): AsyncGenerator<SubscriptionItem, void> {
  for await (const reading of readings) {
    if ("gap" in reading) missed(reading.gap);
    yield { journal_id, reading };
  }
}

/** Throws `session_replaced` if the request is for an earlier session of the same id. */
export function assertJournal(
  { id: session_id, journal }: Session,
  journal_id: string | undefined,
): void {
  if (journal_id === undefined || journal_id === journal.id) return;
  const why = "the request was for the earlier session and has no effect";
  throw failure("session_replaced", { session_id, why });
}

/** The item as entries. A gap or a change of journal becomes an entry that is in no journal. */
export function entriesOf({ journal_id, reading }: SubscriptionItem): Entries {
  if ("entries" in reading) return reading.entries;
  const event = eventOf(reading, journal_id);
  const json = Buffer.from(JSON.stringify(event));
  return Entries.of(Entry.ofEncodedEvent(event.seq, event.kind, json));
}

function eventOf(
  reading: Exclude<SubscriptionItem["reading"], { readonly entries: unknown }>,
  journal_id: string | undefined,
) {
  if ("gap" in reading) {
    const { from, to } = reading.gap;
    return { kind: "gap", seq: to, from, to };
  }
  const previous_journal_id = reading.previous;
  return { kind: "journal", seq: 0, journal_id, previous_journal_id };
}
