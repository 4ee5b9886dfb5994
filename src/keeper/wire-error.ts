/** A failure as it travels from a keeper to its server. */
import {
  isReason,
  type Reason,
  type Startup,
  SupervisorError,
} from "../../contract/index.ts";

export interface WireError {
  readonly reason: string;
  readonly message: string;
  readonly details?: string | undefined;
  readonly startup?: Startup | undefined;
}

export function toWire(error: unknown): WireError {
  if (error instanceof SupervisorError) {
    const { reason, message, details, startup } = error;
    return { reason, message, details, startup };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { reason: "internal", message };
}

export function fromWire({
  reason,
  message,
  details,
  startup,
}: WireError): SupervisorError {
  const known: Reason = isReason(reason) ? reason : "internal";
  return new SupervisorError(known, message, { details, startup });
}
