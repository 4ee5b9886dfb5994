/** What an execution has said, read off the journal as a notebook would keep it, and what of that is no longer kept. */
import {
  type Clipped,
  type Output,
  type OwnEvent,
  type Refused,
} from "../../../contract/index.ts";
import { Outputs, OUTPUTS_LIMIT } from "../../../outputs/outputs.ts";
import { displayIn, isDisplay } from "../displays.ts";
import { EventEntry } from "../../journal/entry.ts";
import type { Reading } from "../../journal/journal.ts";

export class OutputsSoFar {
  readonly gaps: { from: number; to: number }[] = [];
  readonly refused: Refused[] = [];
  readonly #execution_id: string;
  readonly #outputs = new Outputs(OUTPUTS_LIMIT);

  constructor(execution_id: string) {
    this.#execution_id = execution_id;
  }

  get list(): Output[] {
    return this.#outputs.list;
  }

  /** What was left out for the limit; `null` when nothing was. */
  get clipped(): Clipped | null {
    return this.#outputs.clipped;
  }

  /** What concerns nobody's outputs stays unparsed. */
  take(reading: Reading): void {
    if ("gap" in reading) {
      this.gaps.push({ ...reading.gap });
      return;
    }
    for (const entry of reading.entries) {
      if (entry instanceof EventEntry) {
        this.#note(entry.event);
        continue;
      }
      const { msg_type, parent_id, size } = entry;
      const isOwn = parent_id === this.#execution_id;
      if (!this.#outputs.concerns(msg_type, isOwn)) continue;
      const content = isDisplay(msg_type)
        ? displayIn(entry.raw.content)
        : entry.content;
      this.#outputs.add(msg_type, content, size);
    }
  }

  #note(event: OwnEvent): void {
    if (event.kind !== "refused") return;
    if (event.parent_id !== this.#execution_id) return;
    const { msg_type, reason, size } = event;
    this.refused.push({ msg_type, reason, size });
  }
}
