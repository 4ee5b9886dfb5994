/**
 * A checkpoint: the state of a session that follows from its journal up to one
 * entry. With it, the next server reads only the entries after it. It has nothing
 * that the journal and the record of the requests do not have.
 *
 * It is JSON that refers to bytes by their index, because long texts are not
 * copied. `src/state/checkpoint-file.ts` writes it; if the layout changes, the
 * version there changes too.
 */
import { Entry } from "../journal/entry.ts";
import { asWritten, RawJson } from "../jupyter/raw-json.ts";
import type { BoundedMap, Dropped } from "./bounded-map.ts";
import type { ClippedParts } from "./clipped-text.ts";
import type { OpenComm, OpenComms } from "./comms.ts";
import type { Displays, ShownDisplay } from "./displays.ts";
import type { Progress } from "./executions/execution.ts";
import type { Facts } from "./facts.ts";
import type { HistoryParts } from "./history.ts";
import type { Requests, RequestsProgress } from "./requests.ts";
import {
  restoredMessage,
  type SavedCheckpoint,
  type SavedMessage,
  savedMessage,
} from "./store.ts";

/** The parts of a session that follow from its journal. */
export interface Derived {
  readonly displays: Displays;
  readonly comms: OpenComms;
  readonly requests: Requests;
}

interface Layout {
  readonly facts: Partial<Facts>;
  readonly displays: PackedMap<readonly [content: number, size: number]>;
  readonly comms: PackedMap<PackedComm>;
  readonly noted_comms: readonly string[];
  readonly waiting_comms: readonly string[];
  readonly executions: readonly PackedExecution[];
  readonly history: PackedHistory;
}

interface PackedMap<V> {
  readonly values: readonly (readonly [key: string, value: V])[];
  readonly dropped: readonly [count: number, bytes: number];
}

/** A value, or the index of its bytes. */
type PackedJson = { readonly value: unknown } | { readonly raw: number };

interface PackedComm {
  readonly target_name: string;
  readonly data: PackedJson;
  readonly metadata: readonly (readonly [name: string, value: PackedJson])[];
  readonly buffers: readonly number[];
  readonly size: number;
}

interface PackedExecution {
  readonly id: string;
  readonly first?: number | undefined;
  readonly last?: number | undefined;
  readonly bytes: number;
  readonly counts: readonly (readonly [type: string, count: number])[];
  readonly state?: Progress["publishedState"];
  readonly input?: { readonly seq: number; readonly message: SavedMessage };
}

/** The indexes of the first and the last bytes, and the bytes of the whole text. */
type PackedText = readonly [start: number, end: number, length: number];

type PackedHistory = readonly {
  readonly id: string;
  readonly at: number;
  readonly input: PackedText;
  readonly output: PackedText;
  readonly source?: PackedText | undefined;
  readonly agent?: PackedText | undefined;
  readonly error?: HistoryParts["error"];
  readonly cut: boolean;
}[];

/** The state up to entry `seq`, which must be the newest. `undefined` while an execution is about to end: that state lasts for seconds at most. */
export function takeCheckpoint(
  seq: number,
  facts: Facts,
  { displays, comms, requests }: Derived,
): SavedCheckpoint | undefined {
  const { progress } = requests;
  if (progress === undefined) return undefined;
  const blobs: Uint8Array[] = [];
  const add = (bytes: Uint8Array): number => blobs.push(bytes) - 1;
  const layout: Layout = {
    facts: { ...facts },
    displays: packedMap(displays, ({ content, size }) => [add(content), size]),
    comms: packedMap(comms, (comm) => packedComm(comm, add)),
    noted_comms: progress.notedComms,
    waiting_comms: progress.waitingComms,
    executions: [...progress.executions].map(packedExecution),
    history: packedHistory(progress.history, add),
  };
  return { seq, json: layout, blobs };
}

export interface DecodedCheckpoint {
  readonly facts: Facts;
  readonly displays: RestoredMap<ShownDisplay>;
  readonly comms: RestoredMap<OpenComm>;
  readonly requests: RequestsProgress;
}

type RestoredMap<V> = [
  values: readonly (readonly [string, V])[],
  dropped: Omit<Dropped, "limit_bytes">,
];

/** `undefined` if it has another layout. */
export function decodeCheckpoint({
  json,
  blobs,
}: SavedCheckpoint): DecodedCheckpoint | undefined {
  const blob = (index: number): Buffer => copyOf(blobs[index]);
  try {
    const layout = json as Layout;
    const { status, state, exit, usage } = layout.facts;
    return {
      facts: { status, state, exit, usage },
      displays: restoredMap(layout.displays, ([content, size]) => ({
        content: blob(content),
        size,
      })),
      comms: restoredMap(layout.comms, (comm, comm_id) =>
        restoredComm(comm_id, comm, blob),
      ),
      requests: {
        notedComms: layout.noted_comms,
        waitingComms: layout.waiting_comms,
        executions: new Map(layout.executions.map(restoredExecution)),
        history: restoredHistory(layout.history, blob),
      },
    };
  } catch {
    return undefined;
  }
}

function packedMap<V extends { readonly size: number }, P>(
  map: BoundedMap<V>,
  pack: (value: V) => P,
): PackedMap<P> {
  const { count, bytes } = map.dropped;
  const values = [...map.entries()].map(
    ([key, value]) => [key, pack(value)] as const,
  );
  return { values, dropped: [count, bytes] };
}

function restoredMap<V, P>(
  { values, dropped: [count, bytes] }: PackedMap<P>,
  unpack: (packed: P, key: string) => V,
): RestoredMap<V> {
  const all = values.map(([key, value]) => [key, unpack(value, key)] as const);
  return [all, { count, bytes }];
}

function packedComm(
  { target_name, data, metadata, buffers, size }: OpenComm,
  add: (bytes: Uint8Array) => number,
): PackedComm {
  const packed = (value: unknown): PackedJson =>
    value instanceof RawJson ? { raw: add(value.bytes) } : { value };
  return {
    target_name,
    data: packed(data),
    metadata: Object.entries(metadata).map(([name, value]) => [
      name,
      packed(value),
    ]),
    buffers: buffers.map(add),
    size,
  };
}

function restoredComm(
  comm_id: string,
  { target_name, data, metadata, buffers, size }: PackedComm,
  blob: (index: number) => Buffer,
): OpenComm {
  const unpacked = (json: PackedJson): unknown =>
    "raw" in json ? asWritten(blob(json.raw)) : json.value;
  return {
    comm_id,
    target_name,
    data: unpacked(data),
    metadata: Object.fromEntries(
      metadata.map(([name, value]) => [name, unpacked(value)]),
    ),
    buffers: buffers.map(blob),
    size,
  };
}

function packedExecution([id, progress]: readonly [
  string,
  Progress,
]): PackedExecution {
  const { firstSeq, lastSeq, outputBytes, counts, input } = progress;
  return {
    id,
    first: firstSeq,
    last: lastSeq,
    bytes: outputBytes,
    counts: [...counts],
    state: progress.publishedState,
    ...(input !== undefined && {
      input: { seq: input.seq, message: savedMessage(input.message) },
    }),
  };
}

function restoredExecution({
  id,
  first,
  last,
  bytes,
  counts,
  state,
  input,
}: PackedExecution): [string, Progress] {
  return [
    id,
    {
      firstSeq: first,
      lastSeq: last,
      outputBytes: bytes,
      counts: new Map(counts),
      publishedState: state,
      input: input && Entry.of(input.seq, restoredMessage(input.message)),
    },
  ];
}

function packedHistory(
  history: ReadonlyMap<string, HistoryParts>,
  add: (bytes: Uint8Array) => number,
): PackedHistory {
  const text = ({ start, end, length }: ClippedParts): PackedText => [
    add(start),
    add(end),
    length,
  ];
  return [...history].map(([id, each]) => ({
    id,
    at: each.timestamp,
    input: text(each.input),
    output: text(each.output),
    source: each.source && text(each.source),
    agent: each.agent && text(each.agent),
    error: each.error,
    cut: each.isErrorCut,
  }));
}

function restoredHistory(
  history: PackedHistory,
  blob: (index: number) => Buffer,
): ReadonlyMap<string, HistoryParts> {
  const text = ([start, end, length]: PackedText): ClippedParts => ({
    start: blob(start),
    end: blob(end),
    length,
  });
  return new Map(
    history.map(({ id, at, input, output, source, agent, error, cut }) => [
      id,
      {
        timestamp: at,
        input: text(input),
        output: text(output),
        source: source && text(source),
        agent: agent && text(agent),
        error,
        isErrorCut: cut,
      },
    ]),
  );
}

/** A copy in memory of its own, which can be freed before the rest of the checkpoint. */
function copyOf(bytes: Uint8Array | undefined): Buffer {
  if (bytes === undefined) throw new RangeError("There are no such bytes");
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}
