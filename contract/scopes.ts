/**
 * The scopes of tokens. Each operation names the scope that it needs as its
 * `access`; the table below names the scope of each client message type. A
 * message type that is not in the table needs `admin`.
 */
import * as z from "zod";

export const Scope = z
  .enum(["observe", "execute", "control", "admin"])
  .describe(
    "`observe`: read; `execute`: run code in a session, and interrupt it; `control`: create, change, start and end sessions; `admin`: manage the server, and use operations that reveal a kernel's key. No scope includes another",
  )
  .meta({ id: "Scope" });
export type Scope = z.infer<typeof Scope>;

/** `open` needs no token. `as_message` needs the scope of the message that is the input. */
export type Access = "open" | "as_message" | Scope;

/**
 * The scope that a client's message needs, by its `msg_type`. A request that a
 * kernel may answer by running code (a completion, an inspection, a widget)
 * needs `execute`.
 */
export const messageScopes = {
  comm_info_request: "observe",
  history_request: "observe",
  is_complete_request: "observe",
  kernel_info_request: "observe",
  list_subshell_request: "observe",
  usage_request: "observe",

  comm_close: "execute",
  comm_msg: "execute",
  comm_open: "execute",
  complete_request: "execute",
  create_subshell_request: "execute",
  debug_request: "execute",
  delete_subshell_request: "execute",
  execute_request: "execute",
  input_reply: "execute",
  inspect_request: "execute",
  interrupt_request: "execute",

  shutdown_request: "control",
} as const satisfies Record<string, Scope>;

/** The scope that a client needs to send a message of this type. */
export function scopeOfMessage(msg_type: string): Scope {
  const scopes: Readonly<Record<string, Scope>> = messageScopes;
  return Object.hasOwn(scopes, msg_type)
    ? (scopes[msg_type] ?? "admin")
    : "admin";
}
