/**
 * Gives a kept session the state that follows from its journal: displays, comms,
 * executions, and the facts about its last kernel run. It takes over the newest
 * checkpoint that fits, and reads the entries after it; without one, the whole
 * journal.
 */
import type { OwnEvent } from "../../contract/index.ts";
import type { Journal } from "../journal/journal.ts";
import type { Entry } from "../journal/entry.ts";
import { decodeCheckpoint, type Derived } from "./checkpoint.ts";
import { noteComm } from "./comms.ts";
import { isDisplay, noteDisplay } from "./displays.ts";
import { type Facts, noFacts, noteFact } from "./facts.ts";
import type { SavedCheckpoint } from "./store.ts";

export interface Replayed {
  readonly facts: Facts;
  /** Bytes of the entries that were read. */
  readonly bytes: number;
}

export interface ReplayTarget extends Derived {
  readonly journal: Journal;
}

/** Restores up to number `last`. The entries after it are of this process. */
export async function restoreState(
  target: ReplayTarget,
  last: number,
  checkpoints: AsyncIterable<SavedCheckpoint> | undefined,
): Promise<Replayed> {
  for await (const saved of checkpoints ?? []) {
    const facts = takeOver(target, saved, last);
    if (facts === undefined) continue;
    return replay(target, { after: saved.seq, last }, facts);
  }
  return replay(target, { after: 0, last }, noFacts());
}

/** `undefined`, and nothing has changed, if the checkpoint does not fit: then the journal after it is not whole, or it has another layout, or requests are not known to it. */
function takeOver(
  { journal, displays, comms, requests }: ReplayTarget,
  saved: SavedCheckpoint,
  last: number,
): Facts | undefined {
  const { seq } = saved;
  if (seq > last || seq + 1 < journal.first) return undefined;
  const decoded = decodeCheckpoint(saved);
  if (decoded === undefined) return undefined;
  if (!requests.fits(decoded.requests, seq)) return undefined;
  displays.restore(...decoded.displays);
  comms.restore(...decoded.comms);
  requests.restoreProgress(decoded.requests, seq);
  return decoded.facts;
}

async function replay(
  { journal, displays, comms, requests }: ReplayTarget,
  { after, last }: { readonly after: number; readonly last: number },
  facts: Facts,
): Promise<Replayed> {
  let bytes = 0;
  const replayEvent = (seq: number, event: OwnEvent): void => {
    noteFact(facts, event);
    switch (event.kind) {
      case "exited":
        comms.clear();
        return;
      case "execution":
        requests.replayEvent(seq, event.execution_id, event.state);
        return;
      case "execution_requested":
        requests.replayEvent(seq, event.msg_id, undefined);
        return;
      case "refused":
        if (event.parent_id !== null) {
          requests.replayEvent(seq, event.parent_id, undefined);
        }
        return;
      default:
    }
  };
  const replayMessage = (entry: Entry): void => {
    const { msg_type, channel } = entry;
    if (isDisplay(msg_type)) noteDisplay(displays, entry);
    if (msg_type === "comm_open" || msg_type === "comm_close") {
      noteComm(comms, entry.message, "iopub");
    }
    const isIdle =
      channel === "iopub" &&
      msg_type === "status" &&
      entry.content?.["execution_state"] === "idle";
    requests.replay(entry, isIdle);
  };
  for (let seen = after; seen < last;) {
    const reading = await journal.read(seen);
    if (reading === undefined) break;
    if ("gap" in reading) {
      seen = reading.gap.to;
      continue;
    }
    bytes += reading.entries.size;
    for (const entry of reading.entries) {
      if (entry.seq > last) break;
      requests.replayComms(entry.seq);
      if (entry.isEvent) replayEvent(entry.seq, entry.event);
      else replayMessage(entry);
      seen = entry.seq;
    }
  }
  return { facts, bytes };
}
