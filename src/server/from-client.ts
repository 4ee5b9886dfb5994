/** client → kernel, for one connection: checks a message, checks the client's permission, and sends it. A refused message does not end the connection. */
import { SupervisorError } from "../../contract/index.ts";
import type { Message } from "../jupyter/message.ts";
import type { Faults } from "../log/faults.ts";
import type { Guard } from "../log/guard.ts";
import type { Principal } from "../session/principal.ts";
import type { Session } from "../session/session.ts";
import { serverReply } from "../session/server-reply.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";
import { assertPermitted } from "./permit.ts";

export interface FromClientOptions {
  /** The client of the connection. */
  readonly by: Principal;
  readonly faults: Faults;
  readonly guard: Guard;
  readonly telemetry: Telemetry;
}

/**
 * Sends the message that `read` reads. Returns the server's own answer to a
 * request that the client is not permitted to send.
 */
export function* fromClient(
  session: Session,
  read: Generator<void, Message>,
  { by, faults, guard, telemetry }: FromClientOptions,
  send: (message: Message) => readonly Message[] = (message) => {
    session.send(message, by);
    return [];
  },
): Generator<void, readonly Message[]> {
  const where = { session: session.id };
  const countRefused = (why: string) => {
    faults.count("Client's message refused", why, where);
    const session_id = session.id;
    telemetry.refused?.({ session_id, from: "client", reason: why });
  };
  let message: Message | undefined;
  try {
    message = yield* read;
    assertPermitted(by, "as_message", message.header.msg_type);
    return send(message);
  } catch (error) {
    if (message !== undefined && isForbidden(error)) {
      countRefused("it is not permitted");
      return forbidden(message, error.message);
    }
    if (error instanceof SupervisorError) countRefused(error.message);
    else {
      countRefused("a bug in Kallichore");
      guard.report(error, "a client's message");
    }
    return [];
  }
}

function isForbidden(error: unknown): error is SupervisorError {
  return error instanceof SupervisorError && error.reason === "forbidden";
}

/** Answers a request with an error. Other messages have no answer. */
function forbidden(request: Message, evalue: string): readonly Message[] {
  if (!request.header.msg_type.endsWith("_request")) return [];
  const content = {
    status: "error",
    ename: "Forbidden",
    evalue,
    traceback: [],
  };
  return serverReply(request, content, { session: "", username: "" });
}
