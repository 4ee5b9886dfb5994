/** The id of a journal, and a position in it, as they travel. */
import * as z from "zod";
import { POSITION } from "./position.ts";

export const JournalId = z
  .string()
  .describe(
    "The id of the session's journal. Each new session has a new journal, even under the same `session_id`",
  );

/** The journal that the client expects the session to have. */
export const ExpectedJournal = z
  .string()
  .describe(
    "The session's `journal_id`, as the client knows it. The request is refused if a new session has taken this id, so that a request that is repeated after a lost connection does not reach another session",
  );

export const LastEventId = z
  .string()
  .regex(POSITION, "is not `<journal_id>:<seq>` or a number alone")
  .describe(
    "The `id` of the last event that the reader has seen: `<journal_id>:<seq>`. A number alone refers to the present journal. A reader that names another journal receives a `journal` event first, then the present journal from its beginning",
  );
