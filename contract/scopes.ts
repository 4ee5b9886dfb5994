/**
 * Who may ask what. Each operation names its scope as its `access`; the types
 * of client messages have theirs in the table below. What is in neither is for
 * `admin` alone.
 */
import * as z from "zod";

export const Scope = z
  .enum(["observe", "execute", "control", "admin"])
  .describe(
    "`observe`: read; `execute`: run code in a session, and interrupt it; `control`: create, change, start and end sessions; `admin`: everything about the server, and what would give away a kernel's key. None contains another",
  )
  .meta({ id: "Scope" });
export type Scope = z.infer<typeof Scope>;

/** `open` needs no token. `as_message`: what the message needs that is its input. */
export type Access = "open" | "as_message" | Scope;

/**
 * Which scope a client's message needs, by its `msg_type`. What a kernel may
 * answer by running code (a completion, an inspection, a widget) is `execute`.
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

export function scopeOfMessage(msg_type: string): Scope {
  const scopes: Readonly<Record<string, Scope>> = messageScopes;
  return Object.hasOwn(scopes, msg_type)
    ? (scopes[msg_type] ?? "admin")
    : "admin";
}
