/** Execute requests that wait for their turn, as clients see them. */
import * as z from "zod";
import { Channel, Header } from "./messages.ts";

/** A request as the queue shows it: with its whole header, so that a client can rebuild what is running. */
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
    length: z.int().describe("How many wait"),
    pending: z.array(QueuedMessage),
  })
  .meta({ id: "ExecutionQueue" });
