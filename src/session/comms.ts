/** The open comms between a session's kernel and its clients. Either side can open one. They end with the kernel. */
import type { Message } from "../jupyter/message.ts";
import { asWritten, membersAsWritten, membersIn } from "../jupyter/raw-json.ts";
import { BoundedMap } from "./bounded-map.ts";

/** The limit of all open comms together, and of one message's data. */
const LIMIT = 16 * 1024 * 1024; // bytes

export interface OpenComm {
  readonly comm_id: string;
  readonly target_name: string;
  readonly data: unknown;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly buffers: readonly Buffer[];
  /** Bytes, roughly. */
  readonly size: number;
}

/** Keyed by `comm_id`. */
export type OpenComms = BoundedMap<OpenComm>;

export function noComms(): OpenComms {
  return new BoundedMap(LIMIT);
}

/** Notes a message that opens or closes a comm. `from`: the channel of the sender; the kernel uses iopub, clients use shell. */
export function noteComm(
  comms: OpenComms,
  { channel, header: { msg_type }, raw, buffers }: Message,
  from: "iopub" | "shell",
): void {
  if (channel !== from) return;
  if (msg_type !== "comm_open" && msg_type !== "comm_close") return;
  const comm = toComm({ raw, buffers });
  if (comm === undefined) return;
  if (msg_type === "comm_open") comms.set(comm.comm_id, comm);
  else comms.delete(comm.comm_id);
}

/** Whether the comm that a message names is open. */
export function isOpen(
  comms: OpenComms,
  { content }: Pick<Message["raw"], "content">,
): boolean {
  const comm_id = stringIn(membersIn(content).get("comm_id"));
  return comm_id !== undefined && comms.has(comm_id);
}

/** `undefined` if the message has no comm id. Data and metadata keep the kernel's bytes. */
function toComm({
  raw,
  buffers,
}: Pick<Message, "raw" | "buffers">): OpenComm | undefined {
  const members = membersIn(raw.content);
  const data = copied(members.get("data"));
  const comm_id = stringIn(members.get("comm_id"));
  if (comm_id === undefined) return undefined;
  return {
    comm_id,
    target_name: stringIn(members.get("target_name")) ?? "",
    data: (data && asWritten(data)) ?? {},
    metadata: membersAsWritten(copied(raw.metadata)),
    buffers: buffers.flatMap((buffer) => copied(buffer) ?? []),
    size: buffers.reduce(
      (size, buffer) => size + buffer.length,
      200 + raw.content.length + raw.metadata.length,
    ),
  };
}

/** A copy, because frames are views of a read buffer. `undefined` if it is too large. */
function copied(json: Uint8Array | undefined): Buffer | undefined {
  return json === undefined || json.length > LIMIT
    ? undefined
    : Buffer.from(json);
}

function stringIn(json: Uint8Array | undefined): string | undefined {
  const value = json && asWritten(json);
  return typeof value === "string" ? value : undefined;
}
