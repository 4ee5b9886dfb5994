/** One operation that is asked for by its path, and what may come of it, in tRPC's words. */
import { isRecord } from "./frames.ts";

export interface Call {
  readonly type: "query" | "mutation" | "subscription";
  readonly path: string;
  readonly input: unknown;
  readonly signal?: AbortSignal | null | undefined;
}

/** Whoever follows a subscription. */
export interface Follower {
  /** The server began it; again after each reconnection. */
  started?(): void;
  /** An event: of a subscription that resumes, with its position as `id`. */
  data(data: unknown): void;
  /** The server ended it. */
  stopped?(): void;
  /** Once, and last, with or without an error; not after it was left. */
  ended(error?: CallError): void;
}

interface Meta {
  readonly response: Response;
  readonly responseJSON: unknown;
}

/** As tRPC's own client throws it: what the server says is in `data`. */
export class CallError extends Error {
  override readonly name = "TRPCClientError";
  readonly shape: unknown;
  readonly data: unknown;
  readonly meta: Meta | undefined;

  constructor(
    message: string,
    {
      shape,
      meta,
      cause,
    }: ErrorOptions & { shape?: unknown; meta?: Meta } = {},
  ) {
    super(message, { cause });
    this.shape = shape;
    this.data = isRecord(shape) ? shape["data"] : undefined;
    this.meta = meta;
  }

  static from(cause: unknown): CallError {
    if (cause instanceof CallError) return cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    return new CallError(message, { cause });
  }
}
