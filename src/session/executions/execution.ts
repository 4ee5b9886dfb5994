/**
 * Code that was given to a session, from its acceptance to its end.
 *
 * Its id is the `msg_id` of its request. An execution ends when its reply and its
 * `idle` status have both arrived, in either order, or when the second is
 * overdue. Only this class decides that an execution has ended; the journal
 * publishes the end to all readers. The outputs stay in the journal: an execution
 * keeps their first and last number, and their size.
 */
import type {
  Execution as ExecutionView,
  ExecutionState,
} from "../../../contract/index.ts";
import { contentOf, type Message } from "../../jupyter/message.ts";
import { asWritten, membersIn } from "../../jupyter/raw-json.ts";
import { type Code, codeOf } from "./code.ts";
import { deadline, expectMany, untilAborted } from "../../time/signals.ts";
import type { Principal } from "../principal.ts";
import type { Entry } from "../../journal/entry.ts";
import type { BurstRange } from "../../journal/journal.ts";
import type { Burst } from "../../jupyter/record.ts";

/** How far an execution has come that is not over, as far as it follows from the journal. */
export interface Progress {
  readonly firstSeq: number | undefined;
  readonly lastSeq: number | undefined;
  readonly outputBytes: number;
  readonly counts: ReadonlyMap<string, number>;
  readonly publishedState: ExecutionState | undefined;
  /** The pending input request. */
  readonly input: Entry | undefined;
}

/** Why an execution did not end by itself. */
export type EndReason = NonNullable<ExecutionView["reason"]>;

/** Why the code is interrupted. */
export type InterruptReason = Extract<
  EndReason,
  "interrupt" | "deadline" | "question_refused"
>;

/** How long the second sign of the end may be missing while no message arrives. */
export const SECOND_SIGN_TIMEOUT_MS = 2_000;
/** The most time for the second sign: a thread may print without end. */
const LONGEST_SIGN_TIMEOUT_MS = 60_000;
/** Time from the first `busy` to the running of the code. Until then, some kernels lose an interrupt. */
const PREPARE_MS = 100;
/** Bytes; a larger reply is kept in the journal only. */
const REPLY_LIMIT = 64 * 1024;

/**
 * `sent`: the request went to the kernel. `inputRequested`: the kernel requests
 * input. `inputAnswered`: a client answered it, or no client will. Each of the
 * four end states has a trigger with the same name.
 */
type ExecutionTrigger = "sent" | "inputRequested" | "inputAnswered" | EndState;
type EndState = "done" | "failed" | "aborted" | "interrupted";

const ends = {
  done: "done",
  failed: "failed",
  aborted: "aborted",
  interrupted: "interrupted",
} as const;

const transitions: Readonly<
  Record<ExecutionState, Partial<Record<ExecutionTrigger, ExecutionState>>>
> = {
  queued: { sent: "running", aborted: "aborted" },
  running: { inputRequested: "waiting_for_input", ...ends },
  waiting_for_input: { inputAnswered: "running", ...ends },
  done: {},
  failed: {},
  aborted: {},
  interrupted: {},
};

export class Execution {
  readonly request: Message;
  readonly code: Code;
  /** The journal's newest number when the request was accepted: its outputs have higher numbers. */
  readonly after: number;
  readonly deadline_ms: number | undefined;
  /** The caller. Default: the server itself. */
  readonly by: Principal | undefined;
  readonly queuedAt: Date;
  /** The content of the reply, or the part of it that is kept. */
  reply: Readonly<Record<string, unknown>> | undefined;
  firstSeq: number | undefined;
  lastSeq: number | undefined;
  /** The number of the event that reports that the request went to the kernel. */
  sentSeq: number | undefined;
  /** The number of the event that reports the end. */
  endSeq: number | undefined;
  outputBytes = 0;
  readonly counts = new Map<string, number>();
  /** The pending input request. */
  input: Entry | undefined;
  /** The `msg_id`s of the input requests that were answered. */
  readonly answeredInputs = new Set<string>();
  /** The state that the journal published last. */
  publishedState: ExecutionState | undefined;
  reason: EndReason | undefined;
  /** Whether its deadline passed before its end. */
  isLate = false;
  startedAt: Date | undefined;
  endedAt: Date | undefined;
  #state: ExecutionState = "queued";
  #interruptReason: InterruptReason | undefined;
  readonly #endSigns = new Set<"reply" | "idle">();
  #hasBegun = false;
  /** Aborts when the code begins; made for callers that interrupt. */
  #begun: AbortController | undefined;
  /** Aborts at the end; made for callers that follow or wait. */
  #over: AbortController | undefined;
  /** Aborts when the code requests input; made for callers that wait. */
  #requesting: AbortController | undefined;
  readonly #onEnd: (execution: Execution) => void;
  readonly #onDeadline: (execution: Execution) => void;
  readonly #isReceiving: () => Promise<boolean>;
  #preparing: NodeJS.Timeout | undefined;
  #signTimer: NodeJS.Timeout | undefined;
  #deadline: NodeJS.Timeout | undefined;

  constructor(
    request: Message,
    {
      after,
      by,
      deadline_ms,
      queuedAt = new Date(),
      onEnd,
      onDeadline,
      isReceiving,
    }: {
      by?: Principal | undefined;
      after: number;
      deadline_ms: number | undefined;
      /** Default: now. */
      queuedAt?: Date;
      /** Called once, when the execution is over. */
      onEnd: (execution: Execution) => void;
      /** Called when the deadline passes before the end. */
      onDeadline: (execution: Execution) => void;
      /** Whether a message of the kernel is on its way to the session. Must not reject. */
      isReceiving: () => Promise<boolean>;
    },
  ) {
    this.request = request;
    this.code = codeOf(request);
    this.after = after;
    this.queuedAt = queuedAt;
    this.#onEnd = onEnd;
    this.#onDeadline = onDeadline;
    this.#isReceiving = isReceiving;
    this.deadline_ms = deadline_ms;
    this.by = by;
    if (deadline_ms !== undefined) {
      const passed_ms = Date.now() - queuedAt.getTime();
      this.#deadline = setTimeout(() => {
        this.isLate = true;
        this.#onDeadline(this);
      }, deadline_ms - passed_ms);
      this.#deadline.unref();
    }
  }

  get id(): string {
    return this.request.header.msg_id;
  }
  get state(): ExecutionState {
    return this.#state;
  }
  get isOver(): boolean {
    return this.endedAt !== undefined;
  }
  /** Aborts when it is over. */
  get over(): AbortSignal {
    this.#over ??= forMany(this.isOver);
    return this.#over.signal;
  }
  /** Aborts when the code requests input from now on. */
  get nextInputRequest(): AbortSignal {
    this.#requesting ??= forMany();
    return this.#requesting.signal;
  }
  /** Whether it runs in a subshell, which an interrupt does not reach. */
  get isInSubshell(): boolean {
    return (this.request.header.subshell_id ?? null) !== null;
  }
  get isAnswered(): boolean {
    return this.#endSigns.has("reply");
  }
  /** Whether the kernel reported `idle` for this request. */
  get isIdleReceived(): boolean {
    return this.#endSigns.has("idle");
  }

  /** Whether one of the two signs of its end has arrived, and the other has not. */
  get isEnding(): boolean {
    return !this.isOver && this.#endSigns.size > 0;
  }

  /** How far an earlier process has come with it. */
  restoreProgress({ counts, publishedState, input, ...rest }: Progress): void {
    this.firstSeq = rest.firstSeq;
    this.lastSeq = rest.lastSeq;
    this.outputBytes = rest.outputBytes;
    for (const [type, count] of counts) this.counts.set(type, count);
    if (publishedState !== undefined) {
      this.publishedState = publishedState;
      this.restoreState(publishedState);
    }
    if (input !== undefined && !this.answeredInputs.has(input.msg_id)) {
      this.inputRequested(input);
    }
  }

  /** The state that the journal of an earlier process has. */
  restoreState(state: ExecutionState): void {
    this.#state = state;
    if (state === "running" || state === "waiting_for_input") {
      this.#hasBegun = true;
    }
  }

  /** How the execution ended in an earlier process. */
  restoreEnd(end: {
    readonly state: EndState;
    readonly reason: EndReason | undefined;
    readonly at: Date;
    readonly seq: number;
  }): void {
    this.#state = end.state;
    this.reason = end.reason;
    this.endedAt = end.at;
    this.endSeq = end.seq;
    this.#endSigns.add("reply");
    this.input = undefined;
    this.dispose();
  }

  /** A sign of the end that the journal of an earlier process has. */
  restoreSign(sign: "reply" | "idle", reply?: Message): void {
    this.#endSigns.add(sign);
    if (reply !== undefined) this.reply = shortened(reply);
  }

  /** All that the journal has of it was restored: it waits for the rest. */
  restored(): void {
    if (!this.isOver && this.#endSigns.size === 1) {
      this.#awaitSecondSign(performance.now() + LONGEST_SIGN_TIMEOUT_MS);
    }
  }

  /** The request goes to the kernel. */
  send(): void {
    if (this.#apply("sent")) this.startedAt = new Date();
  }

  /** Notes an interrupt: a failure that follows counts as interrupted. Returns a function that undoes this. */
  interrupt(by: InterruptReason): () => void {
    this.#interruptReason = by;
    this.settleInput();
    return () => (this.#interruptReason = undefined);
  }

  /** Whether its code runs. A kernel that has the request and has not begun to run it loses an interrupt. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** Resolves when the code runs or is over, or after `timeout_ms`. Default: no timeout. */
  async untilBegun(timeout_ms?: number): Promise<void> {
    if (this.#hasBegun || this.isOver) return;
    this.#begun ??= forMany();
    using wait = deadline([this.#begun.signal, this.over], timeout_ms);
    await untilAborted(wait.signal);
  }

  /** The input request was answered, or no client will answer it. */
  settleInput(): void {
    if (this.input !== undefined) this.answeredInputs.add(this.input.msg_id);
    this.input = undefined;
    this.#apply("inputAnswered");
  }

  /** A message of this execution arrived. Output after the end counts too. */
  received({ msg_type }: { readonly msg_type: string }, entry: Entry): void {
    this.noteSeq(entry.seq);
    this.#noteProgress(msg_type);
    if (OUTPUTS.has(msg_type)) {
      this.counts.set(msg_type, (this.counts.get(msg_type) ?? 0) + 1);
      this.outputBytes += entry.size;
    }
  }

  /** The same for many messages. */
  receivedBurst(
    { msg_type, count }: Burst,
    { first, last, size }: BurstRange,
  ): void {
    this.noteSeq(first);
    this.noteSeq(last);
    this.#noteProgress(msg_type);
    if (OUTPUTS.has(msg_type)) {
      this.counts.set(msg_type, (this.counts.get(msg_type) ?? 0) + count);
      this.outputBytes += size;
    }
  }

  /** The kernel requests input. */
  inputRequested(request: Entry): void {
    this.#noteBegun();
    if (!this.#apply("inputRequested")) return;
    this.input = request.copy();
    this.#requesting?.abort();
    this.#requesting = undefined;
  }

  /** Entry `seq` of the journal belongs to this execution. */
  noteSeq(seq: number): void {
    this.firstSeq ??= seq;
    this.lastSeq = seq;
  }

  receivedReply(message: Message): void {
    if (this.isOver) return;
    this.reply = shortened(message);
    this.settleInput();
    this.#receivedSign("reply");
  }

  receivedIdle(): void {
    if (!this.isOver) this.#receivedSign("idle");
  }

  /** The code does not run, or does not run to its end. `reply` is the server's reply in place of the kernel's. */
  abort(reason: EndReason, reply: Message): void {
    if (!this.#apply("aborted")) return;
    this.reply = shortened(reply);
    this.#endSigns.add("reply");
    this.#end(reason);
  }

  /** Ends the execution without the second sign. */
  conclude(): void {
    const end = this.#endByReply();
    if (!this.#apply(end)) return;
    this.#end(end === "interrupted" ? this.#interruptReason : undefined);
  }

  /** Clears all timers. */
  dispose(): void {
    clearTimeout(this.#deadline);
    clearTimeout(this.#preparing);
    this.#stopWaiting();
  }

  #noteProgress(msg_type: string): void {
    if (this.#hasBegun) return;
    if (!BEFORE_CODE.has(msg_type)) {
      clearTimeout(this.#preparing);
      this.#noteBegun();
    } else if (!this.isOver) {
      this.#preparing ??= setTimeout(() => this.#noteBegun(), PREPARE_MS);
      this.#preparing.unref();
    }
  }

  #noteBegun(): void {
    this.#hasBegun = true;
    this.#begun?.abort();
  }

  #receivedSign(sign: "reply" | "idle"): void {
    this.#stopWaiting();
    this.#endSigns.add(sign);
    if (this.#endSigns.size === 2) {
      this.conclude();
      return;
    }
    this.#awaitSecondSign(performance.now() + LONGEST_SIGN_TIMEOUT_MS);
  }

  /** A reply can overtake outputs, which travel on another socket. `idle` arrives after the outputs. */
  #awaitSecondSign(latest: number): void {
    const before = this.lastSeq;
    const timer = setTimeout(() => {
      void this.#isReceiving().then((isReceiving) => {
        if (this.#signTimer !== timer) return; // the sign has arrived meanwhile
        const isSending = isReceiving || this.lastSeq !== before;
        if (isSending && performance.now() < latest) {
          this.#awaitSecondSign(latest);
        } else this.conclude();
      });
    }, SECOND_SIGN_TIMEOUT_MS);
    timer.unref();
    this.#signTimer = timer;
  }

  #stopWaiting(): void {
    clearTimeout(this.#signTimer);
    this.#signTimer = undefined;
  }

  #endByReply(): EndState {
    const status =
      this.reply?.["status"] ?? (this.counts.has("error") ? "error" : "ok"); // some kernels do not send a reply
    if (status === "ok") return "done";
    if (this.#interruptReason !== undefined) return "interrupted";
    return status === "error" ? "failed" : "aborted"; // IRkernel sends `abort`
  }

  #end(reason: EndReason | undefined): void {
    this.reason = reason;
    this.endedAt = new Date();
    this.input = undefined;
    this.dispose();
    this.#onEnd(this);
    this.#over?.abort();
  }

  /** The only place where the state changes. */
  #apply(trigger: ExecutionTrigger): boolean {
    const state = transitions[this.#state][trigger];
    if (state === undefined) return false;
    this.#state = state;
    return true;
  }
}

function forMany(isAborted = false): AbortController {
  const controller = new AbortController();
  expectMany(controller.signal);
  if (isAborted) controller.abort();
  return controller;
}

/** Message types that a kernel sends before it runs the code. */
const BEFORE_CODE = new Set(["status", "execute_input"]);

const OUTPUTS = new Set([
  "stream",
  "display_data",
  "update_display_data",
  "execute_result",
  "error",
]);

const KEPT = ["status", "execution_count", "ename", "evalue"] as const;

/** The content of the reply; an error if the content is not an object. */
export function replyIn(message: Message): Readonly<Record<string, unknown>> {
  return contentOf(message) ?? NO_OBJECT;
}

const NO_OBJECT = {
  status: "error",
  ename: "BadReply",
  evalue: "The content of the kernel's execute_reply is not an object",
  traceback: [],
};

function shortened(message: Message): Readonly<Record<string, unknown>> {
  const content = replyIn(message);
  if (message.raw.content.length <= REPLY_LIMIT) {
    const members = membersIn(Buffer.from(message.raw.content)); // a copy, which lasts
    const expressions = members.get("user_expressions");
    return expressions === undefined
      ? content
      : { ...content, user_expressions: asWritten(expressions) };
  }
  return Object.fromEntries(
    KEPT.filter((name) => name in content).map((name) => {
      const value = content[name];
      return [name, typeof value === "string" ? value.slice(0, 4096) : value];
    }),
  );
}
