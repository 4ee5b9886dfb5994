/** The state of a session at one position of its journal, for clients that connect late. */
import type { Snapshot as Wire } from "../contract/index.ts";
import { fromBase64 } from "./base64.ts";
import type { InputRequest } from "./execution-event.ts";
import { inputRequestOf, type ExecutionInfo, toInfo } from "./executions.ts";

type OpenComm = Omit<Wire["comms"][number], "buffers"> & {
  /** The buffers of its `comm_open`. */
  readonly buffers: readonly Uint8Array[];
};

export type Snapshot = Readonly<
  Omit<Wire, "execution" | "input_request" | "comms">
> & {
  /** The running execution. */
  readonly execution: ExecutionInfo | null;
  /** The open input request. */
  readonly input_request: InputRequest | null;
  /** The open comms, in the order in which they were opened. */
  readonly comms: readonly OpenComm[];
};

/** server → client */
export function toSnapshot(wire: Wire): Snapshot {
  const { execution, input_request, comms } = wire;
  return {
    ...wire,
    execution: execution === null ? null : toInfo(execution),
    input_request: inputRequestOf(input_request),
    comms: comms.map((comm) => ({
      ...comm,
      buffers: comm.buffers.map(fromBase64),
    })),
  };
}
