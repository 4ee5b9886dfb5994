/**
 * The contents of kernel messages. The server forwards contents unread and does
 * not load this module.
 */
import * as z from "zod";
import { KernelInfoReply } from "./kernel-info-reply.ts";
import { type JupyterEvent, MimeBundle } from "./messages.ts";

const JsonObject = z.record(z.string(), z.unknown());

/** The contents by `msg_type`. */
export const contents = {
  status: z.looseObject({ execution_state: z.string() }),
  stream: z.looseObject({
    name: z.enum(["stdout", "stderr"]),
    text: z.string(),
  }),
  display_data: z.looseObject({
    data: MimeBundle,
    metadata: JsonObject,
    transient: z.looseObject({ display_id: z.string().optional() }).optional(),
  }),
  update_display_data: z.looseObject({
    data: MimeBundle,
    metadata: JsonObject,
    transient: z.looseObject({ display_id: z.string() }),
  }),
  execute_result: z.looseObject({
    data: MimeBundle,
    metadata: JsonObject,
    execution_count: z.int().nullable(),
    transient: z.looseObject({ display_id: z.string().optional() }).optional(),
  }),
  error: z.looseObject({
    ename: z.string(),
    evalue: z.string(),
    traceback: z.array(z.string()),
  }),
  execute_input: z.looseObject({ code: z.string(), execution_count: z.int() }),
  clear_output: z.looseObject({ wait: z.boolean() }),
  input_request: z.looseObject({
    prompt: z.string(),
    password: z.boolean().optional(),
  }),
  comm_open: z.looseObject({
    comm_id: z.string(),
    target_name: z.string(),
    data: z.unknown(),
  }),
  comm_msg: z.looseObject({ comm_id: z.string(), data: z.unknown() }),
  comm_close: z.looseObject({ comm_id: z.string(), data: z.unknown() }),
  execute_reply: z.looseObject({
    status: z.string().describe("ok, error, aborted; IRkernel sends abort"),
    execution_count: z.int().nullish(),
    ename: z.string().optional(),
    evalue: z.string().optional(),
    traceback: z.array(z.string()).optional(),
    user_expressions: JsonObject.optional(),
    payload: z.array(JsonObject).optional(),
  }),
  complete_reply: z.looseObject({
    status: z.string(),
    matches: z.array(z.string()),
    cursor_start: z.int().describe("In code points"),
    cursor_end: z.int().describe("In code points"),
    metadata: JsonObject,
  }),
  inspect_reply: z.looseObject({
    status: z.string(),
    found: z.boolean(),
    data: MimeBundle,
    metadata: JsonObject,
  }),
  is_complete_reply: z.looseObject({
    status: z.enum(["complete", "incomplete", "invalid", "unknown"]),
    indent: z.string().optional(),
  }),
  history_reply: z.looseObject({
    status: z.string().optional(),
    history: z.array(z.array(z.unknown())),
  }),
  comm_info_reply: z.looseObject({
    status: z.string().optional(),
    comms: z.record(z.string(), z.looseObject({ target_name: z.string() })),
  }),
  kernel_info_reply: KernelInfoReply,
  interrupt_reply: z.looseObject({ status: z.string().optional() }),
  shutdown_reply: z.looseObject({
    status: z.string().optional(),
    restart: z.boolean().optional(),
  }),
} as const;

export type MessageType = keyof typeof contents;
/** The content of a message of this type. */
export type ContentOf<T extends MessageType> = z.infer<(typeof contents)[T]>;

/** A kernel's message of a known type. Switch on `msg_type`. */
export type KernelMessage = {
  [T in MessageType]: Omit<JupyterEvent, "content"> & {
    readonly msg_type: T;
    readonly content: ContentOf<T>;
  };
}[MessageType];
