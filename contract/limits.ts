/**
 * What a client may send in one piece. What is over a limit is refused by name,
 * and nobody else waits while it is looked at.
 */
const MIB = 1024 * 1024;

export const limits = {
  /** Bytes of a request's body, and of one frame of a WebSocket. */
  body_bytes: 64 * MIB,
  /** Bytes of an input without what is carried unread: `content`, `metadata`, `buffers` and `code`. */
  input_bytes: MIB,
  /** Bytes of code, as JSON, that answers and events show whole; of more, the beginning and the end. */
  shown_code_bytes: MIB,
  /** Bytes of an execution's metadata that answers show; of more, nothing. */
  shown_metadata_bytes: MIB,
  /** The same in listings. */
  listed_metadata_bytes: 16 * 1024,
  /** What the answer of `execute` repeats of its outputs in Kallichore's words, in UTF-16 units. */
  repeated_output_characters: MIB,
  /** Values (members, items and texts) in an input, without what is carried unread. */
  input_values: 5_000,
  /** Values in one batch of tRPC calls. */
  batch_values: 20_000,
  /** Calls in one batch of tRPC calls over HTTP, which all begin at once: any whose address has at most 8,000 characters. */
  batch_calls: 600,
  /** Calls in one frame of a WebSocket: tRPC's client puts all that it asks at one time into one. */
  frame_calls: 20_000,
  /** Objects and arrays within each other. */
  depth: 512,
  /** Bytes of a message's `header`, and of its `parent_header`. */
  header_bytes: 64 * 1024,
  /** How long a request's body may be silent. */
  body_silence_ms: 30_000,
  /** How long a request's body may take in all. */
  body_whole_ms: 600_000,
} as const;
