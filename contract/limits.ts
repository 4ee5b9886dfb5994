/**
 * The limits of what a client may send in one piece. A request over a limit is
 * refused with an error that names the limit. Other requests do not wait while
 * the server checks it.
 */
const MIB = 1024 * 1024;

export const limits = {
  /** Bytes of a request's body, and of one WebSocket frame. */
  body_bytes: 64 * MIB,
  /** Bytes of an input without the fields that are forwarded unread: `content`, `metadata`, `buffers` and `code`. */
  input_bytes: MIB,
  /** Bytes of code, as JSON, that answers and events show whole. Of longer code they show the beginning and the end. */
  shown_code_bytes: MIB,
  /** Bytes of an execution's metadata that answers show. Larger metadata are left out. */
  shown_metadata_bytes: MIB,
  /** The same in listings. */
  listed_metadata_bytes: 16 * 1024,
  /** UTF-16 units of the outputs that the answer of `execute` repeats in Kallichore's format. */
  repeated_output_characters: MIB,
  /** Values (members, items and texts) in an input, without the fields that are forwarded unread. */
  input_values: 5_000,
  /** Values in one batch of tRPC calls. */
  batch_values: 20_000,
  /** Calls in one batch of tRPC calls over HTTP, which all begin at once. Every batch whose URL has at most 8,000 characters fits. */
  batch_calls: 600,
  /** Calls in one WebSocket frame: tRPC's client puts all calls that it makes at one time into one frame. */
  frame_calls: 20_000,
  /** Levels of nested objects and arrays. */
  depth: 512,
  /** Bytes of a message's `header`, and of its `parent_header`. */
  header_bytes: 64 * 1024,
  /** The longest time without a byte while a request's body is read. */
  body_idle_timeout_ms: 30_000,
  /** The longest time for reading a whole request body. */
  body_timeout_ms: 600_000,
} as const;
