/** How a journal is named, and a place in it, where they travel. */
import * as z from "zod";
import { POSITION } from "./position.ts";

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

export const LastEventId = z
  .string()
  .regex(POSITION, "is `<journal_id>:<seq>`, or the number alone")
  .describe(
    "The `id` of the last event that the reader has seen: `<journal_id>:<seq>`. A number alone is of the present journal. A reader that comes from another journal hears a `journal` event first, then this one from its beginning",
  );
