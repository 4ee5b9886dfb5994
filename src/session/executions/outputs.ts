/** What an execution has said, read off the journal as a notebook would keep it, and what of that is no longer kept. */
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
  /** What was left out for the limit; `null` when nothing was. */
  readonly clipped: Clipped | null;
  /** What the kernel sent and could not be accepted. */
  readonly refused: Refused[];
}

/** What concerns nobody's outputs stays unparsed. */
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
        ? displayIn(Buffer.from(raw.content)) // a copy: what is kept of it outlasts its slab
        : entry.content;
      outputs.add(msg_type, content, size);
    }
  }
  const { list, clipped } = outputs;
  const is_clipped = clipped !== null;
  return { outputs: list, gaps, is_clipped, clipped, refused };
}
