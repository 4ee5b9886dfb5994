/** A call of an operation by its path, and its results, in tRPC's form. */
import { isRecord } from "./frames.ts";

export interface Call {
  readonly type: "query" | "mutation" | "subscription";
  readonly path: string;
  readonly input: unknown;
  readonly signal?: AbortSignal | null | undefined;
}

/** The receiver of a subscription. */
export interface Follower {
  /** The server has begun it; called again after each reconnection. */
  started?(): void;
  /** An event; if the subscription can resume, with its position as `id`. */
  data(data: unknown): void;
  /** The server has ended it. */
  stopped?(): void;
  /** Called once and last, with or without an error; not after the receiver has left. */
  ended(error?: CallError): void;
}

interface Meta {
  readonly response: Response;
  readonly responseJSON: unknown;
}

/** The error that tRPC's own client throws: `data` holds what the server sent. */
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
