/** The content of each `display_id`, within a number of bytes. */
import { expect, test } from "vitest";
import { Entry } from "../../src/journal/entry.ts";
import { compose } from "../../src/jupyter/message.ts";
import {
  noDisplays,
  noteDisplay,
  shownBy,
} from "../../src/session/displays.ts";

const MB = 1_000_000;

function shows(display_id: string, text: string): Entry {
  return Entry.of(
    1,
    compose({
      channel: "iopub",
      msg_type: "display_data",
      content: {
        data: { "text/plain": text },
        metadata: {},
        transient: { display_id },
      },
      session: "s",
      username: "kernel",
    }),
  );
}

test("a display larger than the limit is left out and counted, and no other is affected", () => {
  const displays = noDisplays();
  for (const id of ["a", "b"]) noteDisplay(displays, shows(id, `first ${id}`));
  noteDisplay(displays, shows("b", "x".repeat(9 * MB)));
  noteDisplay(displays, shows("c", "x".repeat(9 * MB)));
  noteDisplay(displays, shows("a", "second a"));
  const shown = [...displays.entries()].map(([id, each]) => [
    id,
    shownBy(each).data,
  ]);
  expect(shown).toEqual([["a", { "text/plain": "second a" }]]);
  expect(displays.dropped.count).toBe(2);
  expect(displays.dropped.bytes).toBeGreaterThan(18 * MB);
});
