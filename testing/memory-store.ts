/** What a session writes down for the next server, in memory. */
import { type Journal, newJournalId } from "../src/journal/journal.ts";
import { type FoundJournal, NOTHING_FOUND } from "../src/journal/segment.ts";
import type {
  ReaderPositions,
  RequestRecord,
  SavedSession,
  SessionStore,
} from "../src/session/store.ts";

export class MemoryStore implements SessionStore {
  readonly directory = ""; // no journal in memory uses it
  readonly recordBytes = 0; // never so many that they are compacted
  readonly journal_id: string;
  readonly found: FoundJournal;
  readonly earlier: ((journal: Journal) => void) | undefined;
  readonly bytes = 0;
  readonly positions: ReaderPositions;
  #saved: SavedSession | undefined;
  #requests: readonly RequestRecord[];

  private constructor(
    id: string,
    found: FoundJournal,
    earlier?: (journal: Journal) => void,
    from?: MemoryStore,
  ) {
    this.journal_id = id;
    this.found = found;
    this.earlier = earlier;
    this.#saved = from?.saved;
    this.#requests = from?.requests ?? [];
    const positions = new Map(from?.positions.found);
    this.positions = {
      found: positions,
      keep(reader, position) {
        positions.delete(reader);
        positions.set(reader, position);
      },
    };
  }

  static new(): MemoryStore {
    return new MemoryStore(newJournalId(), NOTHING_FOUND);
  }

  /** For the same session in the next server. The entries up to number `forgotten` do not exist any more. */
  next(journal: Journal, forgotten: number): MemoryStore {
    const { id, last, mark } = journal;
    const gone = Math.min(forgotten, last);
    const found = { ...NOTHING_FOUND, last: gone, mark };
    return new MemoryStore(
      id,
      found,
      (target) => copyEntries(journal, gone, target),
      this,
    );
  }

  get saved(): SavedSession | undefined {
    return this.#saved;
  }
  get requests(): readonly RequestRecord[] {
    return this.#requests;
  }

  save(session: SavedSession): void {
    this.#saved = session;
  }
  record(record: RequestRecord): void {
    this.#requests = [...this.#requests, record];
  }
  compact(records: readonly RequestRecord[]): void {
    this.#requests = records;
  }
  durable(): void {}
  close(): void {}
  remove(): void {}
}

/** Copies the entries after number `after`, which get the same numbers. */
function copyEntries(from: Journal, after: number, to: Journal): void {
  for (let seen = after; ;) {
    const reading = from.read(seen);
    if (reading === undefined || reading instanceof Promise) return;
    if ("gap" in reading) {
      seen = reading.gap.to;
      continue;
    }
    for (const entry of reading.entries) {
      if (entry.isEvent) to.appendEvent(entry.event);
      else to.append(entry.message);
      seen = entry.seq;
    }
  }
}
