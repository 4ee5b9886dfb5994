/**
 * What each `display_id` shows now. Only messages that can carry one are looked
 * at, and only those that do are read: a flood passes unparsed.
 */
import { membersOf } from "../jupyter/json-members.ts";
import { bufferOf, EMPTY_OBJECT, objectIn } from "../jupyter/message.ts";
import { BoundedMap, type Dropped } from "./bounded-map.ts";
import type { MessageEntry } from "./entry.ts";

const LIMIT = 8 * 1024 * 1024; // bytes

export class Displays {
  readonly #shown = new BoundedMap<MessageEntry>(LIMIT);

  /** What was forgotten for the limit. */
  get dropped(): Dropped {
    return this.#shown.dropped;
  }

  heard(entry: MessageEntry): void {
    if (!SHOWS.has(entry.msg_type)) return;
    const content = bufferOf(entry.raw.content);
    if (!content.includes(DISPLAY_ID)) return;
    const display_id = displayIdIn(content);
    if (display_id !== undefined) this.#shown.set(display_id, entry);
  }

  *[Symbol.iterator](): Generator<
    readonly [
      display_id: string,
      content: { readonly data?: unknown; readonly metadata?: unknown },
    ]
  > {
    for (const [display_id, entry] of this.#shown.entries()) {
      yield [display_id, entry.content ?? {}];
    }
  }
}

const SHOWS = new Set([
  "display_data",
  "update_display_data",
  "execute_result",
]);
const DISPLAY_ID = Buffer.from('"display_id"');

function displayIdIn(content: Buffer): string | undefined {
  const { display_id } = objectIn(transientIn(content)) ?? {};
  return typeof display_id === "string" ? display_id : undefined;
}

/** Nothing where the content is no object. */
function transientIn(content: Buffer): Uint8Array {
  try {
    return membersOf(content).get("transient") ?? EMPTY_OBJECT;
  } catch {
    return EMPTY_OBJECT;
  }
}
