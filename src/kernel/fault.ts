/** A fault of a kernel that makes a launch or a request of the server fail. The message never contains text from the kernel. */
export class KernelFault extends Error {
  override readonly name = "KernelFault";
  readonly kind: FaultKind;

  constructor(kind: FaultKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/**
 * `channel_lost`: the peer at one of its ports does not follow the protocol;
 * `bad_reply`: its answer to a request of the server cannot be read;
 * `bad_registration`: it has signed a registration that is not valid.
 */
type FaultKind = "channel_lost" | "bad_reply" | "bad_registration";

export function isFault(error: unknown, kind: FaultKind): error is KernelFault {
  return error instanceof KernelFault && error.kind === kind;
}
