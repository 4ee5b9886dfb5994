/**
 * What a subscription tells, and under which id: the position that a reader
 * that comes back begins after. It names the journal, so that a reader of
 * another one is told that it is another one, instead of being left to wait
 * for numbers that this one has not come to.
 */
import { failure, toPosition } from "../../../contract/index.ts";
import { Entries } from "../../journal/entries.ts";
import { Entry } from "../../journal/entry.ts";
import type { Reading } from "../../journal/journal.ts";
import type { Session } from "../../session/session.ts";

export interface SubscriptionItem {
  /** Absent where it is of no journal, as what a mock makes up. */
  readonly journal_id: string | undefined;
  /** `previous`: the reader comes from that journal. */
  readonly reading: Reading | { readonly previous: string };
}

/** Goes on after `lastEventId`; from the beginning, and after saying so, where that is of another journal. */
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

/** Throws `session_replaced` where the client means a session that was there before. */
export function assertJournal(
  { id: session_id, journal }: Session,
  journal_id: string | undefined,
): void {
  if (journal_id === undefined || journal_id === journal.id) return;
  const why = "what was said was meant for the one before, and is not done";
  throw failure("session_replaced", { session_id, why });
}

/** What is told as entries: what is no entry (a gap, another journal) as one that is in no journal. */
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
