/** What a kernel did wrong, so that a request or a launch of ours fails. Its message holds nothing of what the kernel sent. */
export class KernelFault extends Error {
  override readonly name = "KernelFault";
  readonly kind: FaultKind;

  constructor(kind: FaultKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/**
 * `channel_lost`: what answers at one of its ports cannot be talked to;
 * `bad_reply`: it has answered a request of ours with what cannot be read;
 * `bad_registration`: it has signed a registration that makes no sense.
 */
type FaultKind = "channel_lost" | "bad_reply" | "bad_registration";

export function isFault(error: unknown, kind: FaultKind): error is KernelFault {
  return error instanceof KernelFault && error.kind === kind;
}
