/**
 * What a subscription tells, and under which id: the position that a reader
 * that comes back begins after. It names the journal, so that a reader of
 * another one is told that it is another one, instead of being left to wait
 * for numbers that this one has not come to.
 */
import { failure, fromPosition, toPosition } from "../../../contract/index.ts";
import type { Reading } from "../../journal/journal.ts";
import type { Session } from "../../session/session.ts";

export interface Told {
  /** Absent where it is of no journal, as what a mock makes up. */
  readonly journal_id: string | undefined;
  /** `previous`: the reader comes from that journal. */
  readonly reading: Reading | { readonly previous: string };
}

/** Goes on after `lastEventId`; from the beginning, and after saying so, where that is of another journal. */
export async function* told(
  id: string,
  lastEventId: string | null | undefined,
  read: (after: number) => AsyncIterable<Reading>,
): AsyncGenerator<Told, void> {
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

/** Calls `tell` with each event as JSON, in pieces that follow each other. */
export function eachEvent(
  { journal_id, reading }: Told,
  tell: (event: ToldEvent) => void,
): void {
  const idOf = (seq: number) => fromPosition({ journal_id, seq });
  if ("entries" in reading) {
    for (const { seq, size, json } of reading.entries) {
      tell({ id: idOf(seq), seq, size, json });
    }
    return;
  }
  const event = eventOf(reading, journal_id);
  const { seq } = event;
  const json = [Buffer.from(JSON.stringify(event))];
  tell({ id: idOf(seq), seq, size: 0, json });
}

export interface ToldEvent {
  /** The position of a reader that has heard it. */
  readonly id: string;
  readonly seq: number;
  /** Bytes of the entry. */
  readonly size: number;
  /** In pieces that follow each other. */
  readonly json: readonly Buffer[];
}

function eventOf(
  reading: Exclude<Told["reading"], { readonly entries: unknown }>,
  journal_id: string | undefined,
) {
  if ("gap" in reading) {
    const { from, to } = reading.gap;
    return { kind: "gap", seq: to, from, to };
  }
  const previous_journal_id = reading.previous;
  return { kind: "journal", seq: 0, journal_id, previous_journal_id };
}
