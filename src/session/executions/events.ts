/**
 * The events and messages of one execution in the journal: from its beginning,
 * or after a number, until it is over.
 */
import type { OwnEvent } from "../../../contract/index.ts";
import { Entry } from "../../journal/entry.ts";
import type { Slab } from "../../journal/slab.ts";
import { deadline } from "../../time/signals.ts";
import type { Execution } from "./execution.ts";
import type { Journal, Reading } from "../../journal/journal.ts";

export interface EventsOptions {
  /** The reader leaves when any of them aborts. */
  readonly signals: readonly AbortSignal[];
  /** The last number that the reader has seen. */
  readonly after?: number | undefined;
  /** Whether to include updates of its displays by other executions. */
  readonly withUpdates?: boolean;
}

const PARTIAL = { isPartial: true };

/** Ends after the last event of the execution, or when the reader leaves. Later output, for example of a thread, is left out. */
export async function* eventsOf(
  execution: Execution,
  journal: Journal,
  { signals, after = 0, withUpdates = false }: EventsOptions,
): AsyncGenerator<Reading, void> {
  const isSelected = (row: number, slab: Slab) =>
    slab.first + row <= (execution.endSeq ?? Infinity) &&
    (isAbout(row, slab, execution.id) || (withUpdates && isUpdate(row, slab)));
  let position = Math.max(after, execution.after);
  using left = deadline(signals);
  using end = deadline([left.signal, execution.over]);
  for await (const reading of journal.follow(position, end.signal, PARTIAL)) {
    position = endOf(reading);
    yield* selected(reading, isSelected);
  }
  if (left.signal.aborted) return;
  const last = execution.endSeq ?? position;
  for await (const reading of upTo(journal, last, position, left.signal)) {
    yield* selected(reading, isSelected);
  }
}

/** The entries of an execution so far, with later updates of its displays by other executions. */
export function pastOf(
  execution: Execution,
  journal: Journal,
  signal: AbortSignal,
): AsyncGenerator<Reading, void> {
  const { counts, isOver, lastSeq = execution.after } = execution;
  const hasDisplays =
    counts.has("display_data") || counts.has("execute_result");
  const last = isOver && !hasDisplays ? lastSeq : journal.last;
  return upTo(journal, last, execution.after, signal);
}

/** The journal after `after`, until number `last` has been read. */
async function* upTo(
  journal: Journal,
  last: number,
  after: number,
  signal: AbortSignal,
): AsyncGenerator<Reading, void> {
  if (after >= last) return;
  for await (const reading of journal.follow(after, signal, PARTIAL)) {
    yield reading;
    if (endOf(reading) >= last) return;
  }
}

function* selected(
  reading: Reading,
  isOf: (row: number, slab: Slab) => boolean,
): Generator<Reading, void> {
  if ("gap" in reading) {
    yield reading;
    return;
  }
  for (const entries of reading.entries.runs(isOf)) yield { entries };
}

function isAbout(row: number, slab: Slab, msg_id: string): boolean {
  if (!slab.isEvent(row)) return slab.parentOf(row) === msg_id;
  if (!EXECUTION_EVENTS.has(slab.typeOf(row))) return false;
  const { event } = new Entry(slab, row);
  switch (event.kind) {
    case "execution":
      return event.execution_id === msg_id;
    case "execution_requested":
      return event.msg_id === msg_id;
    case "refused":
      return event.parent_id === msg_id;
    default:
      return false;
  }
}

/** Events that may be about an execution. */
const EXECUTION_EVENTS: ReadonlySet<string> = new Set<OwnEvent["kind"]>([
  "execution",
  "execution_requested",
  "refused",
]);

function isUpdate(row: number, slab: Slab): boolean {
  return !slab.isEvent(row) && slab.typeOf(row) === "update_display_data";
}

function endOf(reading: Reading): number {
  return "gap" in reading ? reading.gap.to : reading.entries.last;
}
