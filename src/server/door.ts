/** What the doors of a server are told about it. */
import type { Address } from "./bind.ts";
import type { GateOptions } from "./gate.ts";

export interface DoorOptions extends Omit<GateOptions, "isLocal"> {
  /** What is before the doors. */
  readonly transport: Address["transport"];
  /** Where the sockets of single sessions are made; private. */
  readonly socketDirectory: () => string;
}
