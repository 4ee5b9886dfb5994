/** The events of an execution, with their members on one level: switch on `type`. */
import type {
  Execution,
  ExecutionState,
  MimeBundle,
  Refused,
} from "../contract/index.ts";
import {
  bundleIn,
  countIn,
  displayIdIn,
  errorIn,
  streamIn,
  textIn,
} from "../outputs/outputs.ts";
import { isMessage, type Message, type SessionEvent } from "./events.ts";

/** A field that the kernel's message lacks is empty here. `message` is the kernel's message as it arrived. */
export type ExecutionEvent = { readonly seq: number } & (
  | {
      readonly type: "stream";
      readonly name: "stdout" | "stderr";
      readonly text: string;
      readonly message: Message;
    }
  | (Shown & { readonly type: "display_data" })
  | (Shown & {
      readonly type: "execute_result";
      readonly execution_count: number | null;
    })
  | (Shown & {
      readonly type: "update_display_data";
      readonly display_id: string;
    })
  | {
      readonly type: "error";
      readonly ename: string;
      readonly evalue: string;
      readonly traceback: string[];
      readonly message: Message;
    }
  | {
      readonly type: "clear_output";
      /** Whether to clear only when the next output arrives. */
      readonly wait: boolean;
      readonly message: Message;
    }
  | {
      /** The code waits for `execution.answer(text)`. */
      readonly type: "input_request";
      readonly prompt: string;
      /** Whether the typed text must not be shown. */
      readonly password: boolean;
      /** Whether it needs no answer any more, as an old one that is read from the journal. */
      readonly answered: boolean;
      readonly message: Message;
    }
  | {
      readonly type: "execute_input";
      readonly code: string;
      readonly execution_count: number | null;
      readonly message: Message;
    }
  | {
      readonly type: "status";
      /** `busy` or `idle`; a kernel may send other values. */
      readonly execution_state: string;
      readonly message: Message;
    }
  | {
      readonly type: "execute_reply";
      readonly status: ReplyStatus;
      readonly execution_count: number | null;
      readonly message: Message;
    }
  /** The execution waits in the queue. */
  | { readonly type: "queued" }
  /** The execution was sent to the kernel. */
  | { readonly type: "running" }
  /** The execution is over. This is its last event. */
  | {
      readonly type: "ended";
      readonly state: ExecutionState;
      readonly reason: EndReason | null;
    }
  /** Events `from` to `to` of the journal are no longer kept: events of this execution may be missing. */
  | { readonly type: "gap"; readonly from: number; readonly to: number }
  /** The kernel sent a message of this execution that the server could not accept. */
  | (Refused & { readonly type: "refused" })
  /** The client received an event that it cannot read. It may belong to this execution. */
  | { readonly type: "unreadable"; readonly why: string }
  /** A comm message, or any other message that the execution caused. */
  | { readonly type: "other"; readonly message: Message }
);

/** The input request of an execution. */
export type InputRequest = Extract<ExecutionEvent, { type: "input_request" }>;

/** Why the code did not run to its own end. */
export type EndReason = NonNullable<Execution["reason"]>;

export type ReplyStatus = "ok" | "error" | "aborted";

interface Shown {
  readonly data: MimeBundle;
  readonly metadata: Record<string, unknown>;
  /** The id by which it can be updated. */
  readonly display_id?: string | undefined;
  readonly message: Message;
}

/** A message as an event of the execution that caused it. */
export function toExecutionEvent(message: Message): ExecutionEvent {
  const { seq, msg_type } = message;
  const content: Readonly<Record<string, unknown>> = message.content;
  switch (msg_type) {
    case "stream":
      return { seq, type: msg_type, ...streamIn(content), message };
    case "display_data":
      return { seq, type: msg_type, ...shown(content), message };
    case "execute_result": {
      const execution_count = countIn(content);
      return {
        seq,
        type: msg_type,
        ...shown(content),
        execution_count,
        message,
      };
    }
    case "update_display_data": {
      const { display_id = "", ...rest } = shown(content);
      return { seq, type: msg_type, ...rest, display_id, message };
    }
    case "error":
      return { seq, type: msg_type, ...errorIn(content), message };
    case "clear_output":
      return { seq, type: msg_type, wait: content["wait"] === true, message };
    case "input_request":
      return toInputRequest(message);
    case "execute_input": {
      const execution_count = countIn(content);
      const code = textIn(content["code"]);
      return { seq, type: msg_type, code, execution_count, message };
    }
    case "status": {
      const execution_state = textIn(content["execution_state"]);
      return { seq, type: msg_type, execution_state, message };
    }
    case "execute_reply": {
      const execution_count = countIn(content);
      const status = statusIn(content);
      return { seq, type: msg_type, status, execution_count, message };
    }
    default:
      return { seq, type: "other", message };
  }
}

export function toInputRequest(message: Message): InputRequest {
  const content: Readonly<Record<string, unknown>> = message.content;
  return {
    seq: message.seq,
    type: "input_request",
    prompt: textIn(content["prompt"]),
    password: content["password"] === true,
    answered: false,
    message,
  };
}

/** An event of the session as an event of the execution: if it belongs to the execution, or reports that events may be missing. */
export function toEventOf(
  event: SessionEvent,
  execution_id: string,
): ExecutionEvent | undefined {
  if (!isMessage(event)) return toOwnExecutionEvent(event, execution_id);
  const isOwn = event.parent_header?.msg_id === execution_id;
  return isOwn ? toExecutionEvent(event) : undefined;
}

/** An event that the supervisor itself publishes about an execution. */
export function toOwnExecutionEvent(
  event: SessionEvent,
  msg_id: string,
): ExecutionEvent | undefined {
  const { seq } = event;
  switch (event.kind) {
    case "execution": {
      if (event.execution_id !== msg_id) return undefined;
      const { state, reason } = event;
      if (state === "queued" || state === "running")
        return { seq, type: state };
      return { seq, type: "ended", state, reason };
    }
    case "refused": {
      if (event.parent_id !== msg_id) return undefined;
      const { msg_type, reason, size } = event;
      return { seq, type: "refused", msg_type, reason, size };
    }
    case "unreadable":
      return { seq, type: "unreadable", why: event.why };
    case "gap":
      return { seq, type: "gap", from: event.from, to: event.to };
    default:
      return undefined;
  }
}

/** IRkernel sends `abort`, other kernels send `aborted`. */
export function statusIn({
  status,
}: Readonly<Record<string, unknown>>): ReplyStatus {
  return status === "ok" || status === "error" ? status : "aborted";
}

function shown(content: Readonly<Record<string, unknown>>) {
  const display_id = displayIdIn(content);
  return {
    ...bundleIn(content),
    ...(display_id !== undefined && { display_id }),
  };
}
