/**
 * What a kept session needs to outlive the server: where its journal lies, and
 * what else is written down. `src/state` implements it with files.
 */
import type { Labels, SessionPolicy } from "../../contract/index.ts";
import type { Journal } from "../journal/journal.ts";
import type { FoundJournal } from "../journal/segment.ts";
import {
  bufferOf,
  type Channel,
  type Header,
  type Message,
  objectIn,
} from "../jupyter/message.ts";
import type { SessionSpec } from "./spec.ts";

/** The kernel run that the session had last. */
export interface SavedRun {
  /** Counts the session's runs, from 1. */
  readonly number: number;
  /** By which the keeper knows it. */
  readonly id: string;
  readonly origin: "start" | "adopt" | "autorestart";
  readonly started: string;
}

/** A document of Jupyter's clients that uses the session's kernel. */
export interface SavedDocument {
  readonly id: string;
  /** The client's path of the document; it need not exist on disk. */
  readonly path: string;
  readonly name: string;
  /** `notebook`, `console`, `file`, … */
  readonly type: string;
}

export interface SavedSession {
  readonly spec: SessionSpec;
  /** The environment variables whose values are not written down. */
  readonly missing_variables: readonly string[];
  readonly created: string;
  readonly labels: Labels;
  readonly policy: SessionPolicy;
  readonly working_directory: string;
  readonly run: SavedRun | null;
  /** Whether the run has not ended. */
  readonly isRunning: boolean;
  readonly desired: "stopped" | "running" | "restarted";
  /** When the last run ended, if it has. Earlier versions did not write it. */
  readonly ended?: string | undefined;
  /** When the last client left, if the last run has ended. */
  readonly detached?: string | undefined;
  readonly info: Readonly<Record<string, unknown>>;
  /** Absent: there is none. */
  readonly documents?: readonly SavedDocument[] | undefined;
}

/** A client's message as text; buffers as base64. */
export interface SavedMessage {
  readonly channel: Channel;
  readonly header: string;
  readonly parent_header: string;
  readonly metadata: string;
  readonly content: string;
  readonly buffers: readonly string[];
}

/** What happened to the clients' messages, in order. */
export type RequestRecord =
  | {
      /** A message was accepted: code, or a message that waits for the kernel, or one that opens or closes a comm. */
      readonly kind: "accepted";
      readonly message: SavedMessage;
      /** The journal's newest number at this time. */
      readonly after: number;
      readonly at: number;
      readonly deadline_ms?: number | undefined;
      /** It waits for a kernel. Earlier versions did not write it. */
      readonly waits?: boolean | undefined;
    }
  /** The message was not accepted after all. */
  | { readonly kind: "refused"; readonly id: string }
  /** A message that waited went to the kernel, or will not go there. */
  | { readonly kind: "sent"; readonly id: string }
  /** A client answered the input request `input` of the execution. The answer is written nowhere. */
  | { readonly kind: "answered"; readonly id: string; readonly input: string }
  /** The code went to the kernel. It counts if entry `seq` is in the journal. */
  | {
      readonly kind: "running";
      readonly id: string;
      readonly at: number;
      readonly seq: number;
    }
  /** The execution is over. It counts if entry `end` is in the journal. */
  | {
      readonly kind: "over";
      readonly id: string;
      readonly at: number;
      readonly state: "done" | "failed" | "aborted" | "interrupted";
      readonly reason?: string | undefined;
      readonly isLate: boolean;
      readonly started?: number | undefined;
      readonly first?: number | undefined;
      readonly last?: number | undefined;
      readonly end: number;
      readonly bytes: number;
      readonly counts: Readonly<Record<string, number>>;
      readonly reply: Readonly<Record<string, unknown>> | undefined;
    };

/** What readers without a position of their own have acknowledged: the owner of the channels, and Jupyter's clients. */
export interface ReaderPositions {
  /** What an earlier process wrote, by the name of the reader; the one that changed last is the last. */
  readonly found: ReadonlyMap<string, number>;
  /** Written when it returns; never throws. */
  keep(reader: string, position: number): void;
}

/** The positions of a session that ends with the server. */
export const notKept: ReaderPositions = { found: new Map(), keep: () => {} };

/** What follows from a session's journal up to entry `seq`: JSON that refers to bytes by their index. */
export interface SavedCheckpoint {
  readonly seq: number;
  readonly json: unknown;
  readonly blobs: readonly Uint8Array[];
}

export interface Checkpoints {
  /** Those that an earlier process wrote, newest first, without damaged ones. Its iteration never fails. */
  found(): AsyncIterable<SavedCheckpoint>;
  /** Resolves with its bytes when it is written: all of it, or nothing. Never rejects; resolves with `undefined` if it could not be written. */
  write(checkpoint: SavedCheckpoint): Promise<number | undefined>;
}

export interface SessionStore {
  /** The folder of the journal's segments. */
  readonly directory: string;
  readonly journal_id: string;
  readonly found: FoundJournal;
  /** Whether the journal was not written completely when the earlier process ended. `found` then ends with a gap. */
  readonly hasLost?: boolean | undefined;
  /** Appends the entries that follow on `found`, for a store that is not on disk. */
  readonly earlier?: ((journal: Journal) => void) | undefined;
  /** What an earlier process wrote. */
  readonly saved: SavedSession | undefined;
  readonly requests: readonly RequestRecord[];
  readonly positions: ReaderPositions;
  /** Absent: the next server reads the whole journal. */
  readonly checkpoints?: Checkpoints | undefined;
  /** Written when it returns. Never throws: a failure is logged, and the session goes on. */
  save(session: SavedSession): void;
  /** The same for a record. */
  record(record: RequestRecord): void;
  /** Bytes of all its files. Throws a system error. */
  readonly bytes: number;
  /** Bytes of all records. */
  readonly recordBytes: number;
  /** Replaces all records by these. */
  compact(records: readonly RequestRecord[]): void;
  /** Whether the disk takes the journal. If not, the next process gives it another id, because clients may know numbers that were not written. */
  durable(isDurable: boolean): void;
  /** Closes its files, which stay. */
  close(): void;
  /** Removes its files. */
  remove(): void;
}

export function savedMessage({
  channel,
  raw,
  buffers,
}: Pick<Message, "channel" | "raw" | "buffers">): SavedMessage {
  return {
    channel,
    header: text(raw.header),
    parent_header: text(raw.parent_header),
    metadata: text(raw.metadata),
    content: text(raw.content),
    buffers: buffers.map((bytes) => bufferOf(bytes).toString("base64")),
  };
}

export function restoredMessage(saved: SavedMessage): Message {
  const parent = objectIn(Buffer.from(saved.parent_header));
  return {
    channel: saved.channel,
    header: JSON.parse(saved.header) as Header,
    parent_header:
      typeof parent?.["msg_id"] === "string" ? (parent as Header) : undefined,
    raw: {
      header: Buffer.from(saved.header),
      parent_header: Buffer.from(saved.parent_header),
      metadata: Buffer.from(saved.metadata),
      content: Buffer.from(saved.content),
    },
    buffers: saved.buffers.map((bytes) => Buffer.from(bytes, "base64")),
  };
}

function text(bytes: Uint8Array): string {
  return bufferOf(bytes).toString();
}
