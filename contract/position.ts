/**
 * Where a reader of a journal is: in which journal, and after which number of
 * it. A session that was made anew has another journal, whose numbers begin
 * again; so the number alone is not a place.
 */
import * as z from "zod";

export const JournalId = z
  .string()
  .describe(
    "Which journal it is: another one for each session that is made, also under the same `session_id`",
  );

/** What a client may know of the session that it means. */
export const ExpectedJournal = z
  .string()
  .describe(
    "The session's `journal_id`, as the client knows it: refused where the session is a new one by now, so that what is said again after a lost connection is not said to another",
  );

/** As a reader that comes back says it. */
export const POSITION = /^(?:([\w-]{1,64}):)?(\d{1,16})$/;

export const LastEventId = z
  .string()
  .regex(POSITION, "is `<journal_id>:<seq>`, or the number alone")
  .describe(
    "The `id` of the last event that the reader has seen: `<journal_id>:<seq>`. A number alone is of the present journal. A reader that comes from another journal hears a `journal` event first, then this one from its beginning",
  );

export interface Position {
  /** Absent: the present one. */
  readonly journal_id: string | undefined;
  readonly seq: number;
}

/** Throws a `TypeError` for what is none. */
export function toPosition(text: string): Position {
  const [, journal_id, seq] = POSITION.exec(text) ?? [];
  if (seq === undefined) {
    throw new TypeError(
      "A position is `<journal_id>:<seq>`, or the number alone",
    );
  }
  return { journal_id, seq: Number(seq) };
}

export function fromPosition({ journal_id, seq }: Position): string {
  return journal_id === undefined ? String(seq) : `${journal_id}:${seq}`;
}
