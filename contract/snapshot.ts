/** What is true of a session at one number of its journal. */
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
    data: z.unknown().describe("As in the `comm_open`"),
    metadata: z.record(z.string(), z.unknown()),
    buffers: z.array(z.string()).describe("Of the `comm_open`, as base64"),
  })
  .meta({ id: "OpenComm" });

const ForgottenBytes = z
  .object({
    bytes: z.int().describe("What the forgotten ones came to"),
    limit_bytes: z.int().describe("The limit for which they were forgotten"),
  })
  .describe("Null when nothing was forgotten")
  .meta({ id: "ForgottenBytes" });

/** What a display shows, by MIME type. */
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
      .describe("All of this is true after that number; follow from there"),
    journal_id: JournalId,
    status: SessionStatus,
    kernel_info: z
      .record(z.string(), z.unknown())
      .describe("The last kernel's; empty before the first answered"),
    working_directory: z.string(),
    execution: Execution.nullable().describe("What runs"),
    input_request: JupyterEvent.nullable().describe(
      "What the kernel asks and nobody has answered, as it was asked",
    ),
    queue: ExecutionQueue,
    displays: z
      .record(z.string(), Display)
      .describe("What each `display_id` shows now"),
    displays_dropped: z
      .int()
      .describe("How many were forgotten for their bytes, the oldest first"),
    displays_clipped: ForgottenBytes.nullable(),
    comms: z
      .array(OpenComm)
      .describe("In the order in which they were opened, by either side"),
    comms_dropped: z
      .int()
      .describe("How many were forgotten for their bytes, the oldest first"),
    comms_clipped: ForgottenBytes.nullable(),
  })
  .meta({ id: "Snapshot" });
export type Snapshot = z.infer<typeof Snapshot>;
