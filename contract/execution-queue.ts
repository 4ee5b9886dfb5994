/** The execute requests that wait in a session's queue, as clients see them. */
import * as z from "zod";
import { Channel, Header } from "./messages.ts";

/** A queued request with its whole header, so that a client can rebuild the state of its user interface. */
export const QueuedMessage = z
  .looseObject({
    channel: Channel,
    header: Header,
    parent_header: z.looseObject({}).nullable(),
    metadata: z.record(z.string(), z.unknown()),
    content: z.record(z.string(), z.unknown()),
    buffers: z.array(z.string()),
  })
  .meta({ id: "QueuedMessage" });

export const ExecutionQueue = z
  .object({
    active: QueuedMessage.optional(),
    length: z.int().describe("The number of requests that wait"),
    pending: z.array(QueuedMessage),
  })
  .meta({ id: "ExecutionQueue" });
