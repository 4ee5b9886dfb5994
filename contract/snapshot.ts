/** The state of a session at one position of its journal. */
import * as z from "zod";
import { Execution } from "./executions.ts";
import { ExecutionQueue } from "./execution-queue.ts";
import { JupyterEvent, MimeBundle } from "./messages.ts";
import { JournalId } from "./journal-id.ts";
import { SessionStatus } from "./status.ts";

export const OpenComm = z
  .object({
    comm_id: z.string(),
    target_name: z.string(),
    data: z.unknown().describe("The `data` of the `comm_open`"),
    metadata: z.record(z.string(), z.unknown()),
    buffers: z
      .array(z.string())
      .describe("The buffers of the `comm_open`, as base64"),
  })
  .meta({ id: "OpenComm" });

const ForgottenBytes = z
  .object({
    bytes: z.int().describe("The size of the dropped ones in all"),
    limit_bytes: z
      .int()
      .describe("The limit because of which they were dropped"),
  })
  .describe("Null if nothing was dropped")
  .meta({ id: "ForgottenBytes" });

/** The content of a display, by MIME type. */
export const Display = z
  .object({
    data: MimeBundle,
    metadata: z.record(z.string(), z.unknown()),
  })
  .meta({ id: "Display" });

export const Snapshot = z
  .object({
    seq: z
      .int()
      .describe(
        "The state is that after this number; follow the events after it",
      ),
    journal_id: JournalId,
    status: SessionStatus,
    kernel_info: z
      .record(z.string(), z.unknown())
      .describe(
        "The kernel info of the last kernel; empty before the first kernel has answered",
      ),
    working_directory: z.string(),
    execution: Execution.nullable().describe("The execution that runs"),
    input_request: JupyterEvent.nullable().describe(
      "The kernel's input request that no client has answered yet",
    ),
    queue: ExecutionQueue,
    displays: z
      .record(z.string(), Display)
      .describe("The current content of each `display_id`"),
    displays_dropped: z
      .int()
      .describe(
        "The number that was dropped because of the limit, the oldest first",
      ),
    displays_clipped: ForgottenBytes.nullable(),
    comms: z
      .array(OpenComm)
      .describe("In the order in which they were opened, by either side"),
    comms_dropped: z
      .int()
      .describe(
        "The number that was dropped because of the limit, the oldest first",
      ),
    comms_clipped: ForgottenBytes.nullable(),
  })
  .meta({ id: "Snapshot" });
export type Snapshot = z.infer<typeof Snapshot>;
