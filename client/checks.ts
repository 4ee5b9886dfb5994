/** The contract's schemas of events and of message contents, as checks. Written by `npm run checks`. */
import type { MessageType, SessionEvent } from "../contract/index.ts";
import {
  anything,
  boolean,
  int,
  list,
  map,
  members,
  nullable,
  oneOf,
  optional,
  string,
  type Check,
  within,
} from "./check.ts";

/** By `kind`. */
export const events: Readonly<
  Record<Exclude<SessionEvent["kind"], "jupyter">, Check>
> = {
  status: members({
    seq: int,
    status: oneOf(
      "uninitialized",
      "starting",
      "ready",
      "idle",
      "busy",
      "offline",
      "exited",
    ),
    reason: nullable(string),
  }),
  exited: members({
    seq: int,
    exit_code: int,
    signal: nullable(string),
    oom: optional(oneOf(true)),
    limit: optional(oneOf("memory", "run_time")),
    output: string,
  }),
  output: members({
    seq: int,
    stream: oneOf("stdout", "stderr"),
    text: string,
  }),
  resource_usage: members({
    seq: int,
    usage: members({
      cpu_percent: int,
      memory_bytes: int,
      thread_count: int,
      sampling_period_ms: int,
      timestamp: int,
    }),
  }),
  working_directory: members({ seq: int, path: string }),
  execution: members({
    seq: int,
    execution_id: string,
    state: oneOf(
      "queued",
      "running",
      "waiting_for_input",
      "done",
      "failed",
      "aborted",
      "interrupted",
    ),
    reason: nullable(
      oneOf(
        "cancelled",
        "deadline",
        "earlier_failure",
        "interrupt",
        "kernel_exited",
        "not_sent",
        "question_refused",
        "shutdown",
        "start_failed",
      ),
    ),
    first_seq: int,
    last_seq: int,
  }),
  execution_requested: members({
    seq: int,
    msg_id: string,
    code: string,
    code_length: int,
    code_is_clipped: boolean,
    requested_at: string,
    attribution: members({
      source: string,
      agent_name: nullable(string),
      agent_version: nullable(string),
      workspace_id: string,
      tool: string,
    }),
  }),
  handshake: members({
    seq: int,
    session_id: string,
    connection: members({
      control_port: within(1, 65535),
      shell_port: within(1, 65535),
      stdin_port: within(1, 65535),
      hb_port: within(1, 65535),
      iopub_port: within(1, 65535),
      signature_scheme: string,
      key: string,
      transport: string,
      ip: string,
    }),
  }),
  refused: members({
    seq: int,
    channel: oneOf("shell", "control", "stdin", "iopub"),
    msg_type: nullable(string),
    reason: oneOf("not_json", "too_deep", "too_large"),
    size: int,
    parent_id: nullable(string),
  }),
  gap: members({ seq: int, from: int, to: int }),
  journal: members({
    seq: oneOf(0),
    journal_id: string,
    previous_journal_id: string,
  }),
};

/** By `msg_type`. */
export const contents: Readonly<Record<MessageType, Check>> = {
  status: members({ execution_state: string }),
  stream: members({ name: oneOf("stdout", "stderr"), text: string }),
  display_data: members({
    data: map(anything),
    metadata: map(anything),
    transient: optional(members({ display_id: optional(string) })),
  }),
  update_display_data: members({
    data: map(anything),
    metadata: map(anything),
    transient: members({ display_id: string }),
  }),
  execute_result: members({
    data: map(anything),
    metadata: map(anything),
    execution_count: nullable(int),
    transient: optional(members({ display_id: optional(string) })),
  }),
  error: members({ ename: string, evalue: string, traceback: list(string) }),
  execute_input: members({ code: string, execution_count: int }),
  clear_output: members({ wait: boolean }),
  input_request: members({ prompt: string, password: optional(boolean) }),
  comm_open: members({ comm_id: string, target_name: string, data: anything }),
  comm_msg: members({ comm_id: string, data: anything }),
  comm_close: members({ comm_id: string, data: anything }),
  execute_reply: members({
    status: string,
    execution_count: optional(nullable(int)),
    ename: optional(string),
    evalue: optional(string),
    traceback: optional(list(string)),
    user_expressions: optional(map(anything)),
    payload: optional(list(map(anything))),
  }),
  complete_reply: members({
    status: string,
    matches: list(string),
    cursor_start: int,
    cursor_end: int,
    metadata: map(anything),
  }),
  inspect_reply: members({
    status: string,
    found: boolean,
    data: map(anything),
    metadata: map(anything),
  }),
  is_complete_reply: members({
    status: oneOf("complete", "incomplete", "invalid", "unknown"),
    indent: optional(string),
  }),
  history_reply: members({
    status: optional(string),
    history: list(list(anything)),
  }),
  comm_info_reply: members({
    status: optional(string),
    comms: map(members({ target_name: string })),
  }),
  kernel_info_reply: members({
    status: optional(string),
    protocol_version: string,
    implementation: optional(string),
    implementation_version: optional(string),
    language_info: members({
      name: string,
      version: optional(string),
      mimetype: optional(string),
      file_extension: optional(string),
    }),
    banner: optional(string),
    help_links: optional(list(members({ text: string, url: string }))),
    supported_features: optional(list(string)),
  }),
  interrupt_reply: members({ status: optional(string) }),
  shutdown_reply: members({
    status: optional(string),
    restart: optional(boolean),
  }),
};
