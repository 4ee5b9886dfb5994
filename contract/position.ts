/**
 * The position of a reader: a journal, and a number in it. A session that is
 * deleted and created again has a new journal, whose numbers begin again at 1.
 * So a number alone does not identify a position.
 */
/** A position as a reader sends it when it resumes. */
export const POSITION = /^(?:([\w-]{1,64}):)?(\d{1,16})$/;

export interface Position {
  /** Absent: the present journal. */
  readonly journal_id: string | undefined;
  readonly seq: number;
}

/** Throws a `TypeError` if `text` is not a position. */
export function toPosition(text: string): Position {
  const [, journal_id, seq] = POSITION.exec(text) ?? [];
  if (seq === undefined) {
    throw new TypeError(
      "A position is `<journal_id>:<seq>`, or the number alone",
    );
  }
  return { journal_id, seq: Number(seq) };
}

/** A position as text: `<journal_id>:<seq>`. */
export function fromPosition({ journal_id, seq }: Position): string {
  return journal_id === undefined ? String(seq) : `${journal_id}:${seq}`;
}
