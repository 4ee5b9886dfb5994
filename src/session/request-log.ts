/**
 * The clients' messages of a kept session, written down so that they outlive the
 * server: code from its acceptance to its end, messages that wait for a kernel,
 * and messages with which a client opens or closes a comm. Answers to input
 * requests are written nowhere.
 *
 * The journal decides: what a record says about an entry counts only if the
 * journal has the entry.
 */
import type { Header, Message } from "../jupyter/message.ts";
import type { Execution, EndReason } from "./executions/execution.ts";
import {
  type RequestRecord,
  restoredMessage,
  type SavedMessage,
  savedMessage,
  type SessionStore,
} from "./store.ts";

/** The records are written anew, without those of executions that are no longer kept, when they have this size: the next server reads all of them before it answers; */
const COMPACT_SIZE = 1024 * 1024; // bytes
/** and again when they have grown by this factor. */
const COMPACT_FACTOR = 2;

type Store = Pick<SessionStore, "record" | "recordBytes" | "compact">;
type Accepted = Extract<RequestRecord, { kind: "accepted" }>;
type Running = Extract<RequestRecord, { kind: "running" }>;
type Over = Extract<RequestRecord, { kind: "over" }>;

/** What is known of a message that an earlier process accepted. */
export interface RestoredRequest {
  readonly message: Message;
  readonly accepted: Accepted;
  readonly running: Running | undefined;
  readonly over: Over | undefined;
  /** The input requests that were answered. */
  readonly answered: ReadonlySet<string>;
  /** Whether it went to the kernel, or never will. */
  readonly isSent: boolean;
}

export class RequestLog {
  readonly #store: Store | undefined;
  /** Messages of clients that opened or closed a comm, for the next compaction. */
  #comms: Accepted[] = [];
  #compactAt = COMPACT_SIZE;

  /** Without a store nothing is written. */
  constructor(store: Store | undefined) {
    this.#store = store;
  }

  accepted(
    message: Message,
    after: number,
    execution: Pick<Execution, "queuedAt" | "deadline_ms"> | undefined,
    waits: boolean,
  ): void {
    if (this.#store === undefined) return;
    const { queuedAt = new Date(), deadline_ms } = execution ?? {};
    const accepted = {
      kind: "accepted",
      message: savedMessage(message),
      after,
      at: queuedAt.getTime(),
      ...(deadline_ms !== undefined && { deadline_ms }),
      ...(waits && { waits }),
    } as const;
    if (isComm(message)) this.#comms.push(accepted);
    this.#store.record(accepted);
  }

  /** The ids of the messages of clients that opened or closed a comm when the journal's newest number was `after`, or later. */
  commsSince(after: number): string[] {
    return this.#comms.flatMap((comm) =>
      comm.after >= after ? idOf(comm.message) : [],
    );
  }

  refused(id: string): void {
    this.#store?.record({ kind: "refused", id });
  }

  sent(id: string): void {
    this.#store?.record({ kind: "sent", id });
  }

  running({ id, startedAt = new Date(), sentSeq = 0 }: Execution): void {
    const at = startedAt.getTime();
    this.#store?.record({ kind: "running", id, at, seq: sentSeq });
  }

  answered(id: string, input: string): void {
    this.#store?.record({ kind: "answered", id, input });
  }

  over(execution: Execution): void {
    this.#store?.record(overRecord(execution));
  }

  /** Writes the records anew if there are many. `waiting`: the messages that wait for a kernel. `isOpen`: whether the comm that this message opened is open. */
  compactIfLarge(
    executions: Iterable<Execution>,
    waiting: readonly Message[],
    isOpen: (message: Message) => boolean,
  ): void {
    const store = this.#store;
    if (store === undefined || store.recordBytes < this.#compactAt) return;
    this.#comms = this.#comms.filter(({ message }) =>
      isOpen(restoredMessage(message)),
    );
    const records: RequestRecord[] = [...this.#comms];
    for (const execution of executions) records.push(...recordsOf(execution));
    for (const message of waiting) {
      if (message.header.msg_type === "execute_request") continue; // an execution
      const saved = savedMessage(message);
      const accepted = { kind: "accepted", message: saved } as const;
      records.push({ ...accepted, after: 0, at: 0, waits: true });
    }
    store.compact(records);
    this.#compactAt = Math.max(
      COMPACT_SIZE,
      store.recordBytes * COMPACT_FACTOR,
    );
  }

  /** What the records of an earlier process say, in the order of acceptance. `last`: the newest number of the journal. */
  restored(records: readonly RequestRecord[], last: number): RestoredRequest[] {
    const found = new Map<
      string,
      RestoredRequest & {
        running?: Running | undefined;
        over?: Over | undefined;
        isSent: boolean;
        answered: Set<string>;
      }
    >();
    for (const record of records) {
      if (record.kind === "accepted") {
        const message = restoredMessage(record.message);
        if (isComm(message)) this.#comms.push(record);
        found.set(message.header.msg_id, {
          message,
          accepted: record,
          running: undefined,
          over: undefined,
          answered: new Set(),
          isSent: false,
        });
        continue;
      }
      const request = found.get(record.id);
      if (request === undefined) continue;
      switch (record.kind) {
        case "refused":
          found.delete(record.id);
          break;
        case "sent":
          request.isSent = true;
          break;
        case "answered":
          request.answered.add(record.input);
          break;
        case "running":
          if (record.seq <= last) request.running = record;
          break;
        case "over":
          if (record.end <= last) request.over = record;
      }
    }
    return [...found.values()];
  }
}

/** Messages with which a client opens or closes a comm. */
export function isComm({ header: { msg_type } }: Message): boolean {
  return msg_type === "comm_open" || msg_type === "comm_close";
}

function idOf({ header }: SavedMessage): string {
  return (JSON.parse(header) as Header).msg_id;
}

function recordsOf(execution: Execution): RequestRecord[] {
  const { request, after, deadline_ms, queuedAt, startedAt, sentSeq } =
    execution;
  const records: RequestRecord[] = [
    {
      kind: "accepted",
      message: savedMessage(request),
      after,
      at: queuedAt.getTime(),
      deadline_ms,
    },
  ];
  const { id, input, isOver } = execution;
  if (startedAt !== undefined) {
    const at = startedAt.getTime();
    records.push({ kind: "running", id, at, seq: sentSeq ?? after });
  }
  for (const answered of execution.answeredInputs) {
    if (answered !== input?.msg_id) {
      records.push({ kind: "answered", id, input: answered });
    }
  }
  if (isOver) records.push(overRecord(execution));
  return records;
}

function overRecord(execution: Execution): Over {
  const { id, state, reason, isLate, startedAt, endedAt } = execution;
  return {
    kind: "over",
    id,
    at: (endedAt ?? new Date()).getTime(),
    state: state as Over["state"],
    reason,
    isLate,
    started: startedAt?.getTime(),
    first: execution.firstSeq,
    last: execution.lastSeq,
    end: execution.endSeq ?? 0,
    bytes: execution.outputBytes,
    counts: Object.fromEntries(execution.counts),
    reply: execution.reply,
  };
}

/** Gives an execution the state that its records have. */
export function restoreExecution(
  execution: Execution,
  { running, over }: RestoredRequest,
): void {
  if (running !== undefined) {
    execution.startedAt = new Date(running.at);
    execution.sentSeq = running.seq;
  }
  if (over === undefined) return;
  execution.firstSeq = over.first;
  execution.lastSeq = over.last;
  execution.outputBytes = over.bytes;
  execution.reply = over.reply;
  execution.isLate = over.isLate;
  for (const [type, count] of Object.entries(over.counts)) {
    execution.counts.set(type, count);
  }
  execution.restoreEnd({
    state: over.state,
    reason: over.reason as EndReason | undefined,
    at: new Date(over.at),
    seq: over.end,
  });
}
