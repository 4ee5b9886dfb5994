/** Checks that a client has the scope that an operation needs, by the contract. The same for every door. */
import { type Access, failure, scopeOfMessage } from "../../contract/index.ts";
import { EVERYTHING, type Principal } from "../session/principal.ts";

/** Throws `forbidden`. `msg_type`: the message's type, if it decides the scope. */
export function assertPermitted(
  { scopes }: Principal,
  access: Access,
  msg_type = "",
): void {
  if (access === "open") return;
  const isMessage = access === "as_message";
  const scope = isMessage ? scopeOfMessage(msg_type) : access;
  if (scopes.has(scope)) return;
  const what = isMessage
    ? `A message of the type ${typeName(msg_type)}`
    : "This";
  const held = [...scopes].join(", ");
  const why = `${what} needs the scope \`${scope}\`; you have ${held === "" ? "none" : held}`;
  throw failure("forbidden", { why });
}

/** Throws `forbidden` unless the client has all scopes. For access that cannot be checked later. */
export function assertUnlimited(by: Principal): void {
  for (const scope of EVERYTHING) assertPermitted(by, scope);
}

/** The type is the client's text, so it is shown only if it is short and plain. */
function typeName(msg_type: string): string {
  return /^\w{1,64}$/.test(msg_type) ? msg_type : "that it names";
}
