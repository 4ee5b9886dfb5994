/**
 * Where a reader of a journal is: in which journal, and after which number of
 * it. A session that was made anew has another journal, whose numbers begin
 * again; so the number alone is not a place.
 */
/** As a reader that comes back says it. */
export const POSITION = /^(?:([\w-]{1,64}):)?(\d{1,16})$/;

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
