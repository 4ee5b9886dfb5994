/** The outputs of an execution, read from the journal, in the form that a notebook keeps. */
import {
  type Clipped,
  type Output,
  type Refused,
} from "../../../contract/index.ts";
import { Outputs, OUTPUTS_LIMIT } from "../../../outputs/outputs.ts";
import { displayIn, isDisplay } from "../displays.ts";
import type { Reading } from "../../journal/journal.ts";

export interface ReadOutputs {
  readonly outputs: Output[];
  /** Parts of the journal that were no longer kept when they were to be read. */
  readonly gaps: { from: number; to: number }[];
  readonly is_clipped: boolean;
  /** The part that was left out for the limit; `null` if nothing was. */
  readonly clipped: Clipped | null;
  /** Messages of the kernel that were refused. */
  readonly refused: Refused[];
}

/** Messages that do not change outputs are not parsed. */
export async function outputsIn(
  readings: AsyncIterable<Reading>,
  execution_id: string,
): Promise<ReadOutputs> {
  const outputs = new Outputs(OUTPUTS_LIMIT);
  const gaps: ReadOutputs["gaps"] = [];
  const refused: Refused[] = [];
  for await (const reading of readings) {
    if ("gap" in reading) {
      gaps.push({ ...reading.gap });
      continue;
    }
    for (const entry of reading.entries) {
      if (entry.isEvent) {
        const { event } = entry;
        if (event.kind !== "refused" || event.parent_id !== execution_id)
          continue;
        const { msg_type, reason, size } = event;
        refused.push({ msg_type, reason, size });
        continue;
      }
      const { msg_type, parent_id, size, raw } = entry;
      if (!outputs.isRelevant(msg_type, parent_id === execution_id)) continue;
      const content = isDisplay(msg_type)
        ? displayIn(Buffer.from(raw.content)) // a copy, because outputs outlive the slab
        : entry.content;
      outputs.add(msg_type, content, size);
    }
  }
  const { list, clipped } = outputs;
  const is_clipped = clipped !== null;
  return { outputs: list, gaps, is_clipped, clipped, refused };
}
