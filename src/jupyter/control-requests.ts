/**
 * Requests that go to a kernel's control channel only. Kernels answer them beside
 * running code, with `busy` and `idle` on iopub. So these messages do not show the
 * state of the main shell.
 */
const CONTROL_ONLY: ReadonlySet<string | undefined> = new Set([
  "create_subshell_request",
  "debug_request",
  "delete_subshell_request",
  "interrupt_request",
  "list_subshell_request",
  "usage_request",
]);

/** Whether a status message with such a parent shows the state of the main shell. */
export function concernsMainShell(
  parent_header:
    | { readonly msg_type?: string | undefined; readonly subshell_id?: unknown }
    | null
    | undefined,
): boolean {
  if ((parent_header?.subshell_id ?? null) !== null) return false;
  return !CONTROL_ONLY.has(parent_header?.msg_type);
}
