/**
 * Code that was given to a session, from its acceptance to its end.
 *
 * Whatever door it came through, it is known by the `msg_id` of its request. It
 * is over when its reply and its idle have both been heard, in either order, or
 * when the second is overdue. Nobody else decides that: the journal tells it to
 * all. What it says stays in the journal, too: here is only where that begins
 * and ends, and how much it is.
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

/** Why an execution did not come to an end of its own. */
export type EndReason = NonNullable<ExecutionView["reason"]>;

/** What the code is interrupted for. */
export type InterruptReason = Extract<
  EndReason,
  "interrupt" | "deadline" | "question_refused"
>;

/** How long the second sign that a request is over may be missing, while the request says nothing. */
export const SECOND_SIGN_TIMEOUT_MS = 2_000;
/** And at most: a thread may talk on for ever. */
const LONGEST_SIGN_TIMEOUT_MS = 60_000;
/** How long a kernel that has taken the code up may need to run it: until then, some swallow an interrupt. */
const PREPARE_MS = 100;
/** How long an interrupt waits for the code to run: what does not by then stands behind something else, which is what is meant. */
const BEGIN_TIMEOUT_MS = 1_000;
/** Bytes; a larger reply is kept in the journal only. */
const REPLY_LIMIT = 64 * 1024;

/**
 * `sent`: it went to the kernel. `asked`: the kernel wants input. `answered`:
 * somebody gave it, or nobody will. The four ends are happenings of their own
 * names.
 */
type Happening = "sent" | "inputRequested" | "inputAnswered" | End;
type End = "done" | "failed" | "aborted" | "interrupted";

const ends = {
  done: "done",
  failed: "failed",
  aborted: "aborted",
  interrupted: "interrupted",
} as const;

const transitions: Readonly<
  Record<ExecutionState, Partial<Record<Happening, ExecutionState>>>
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
  /** The journal's newest number when it was accepted: what it says comes after. */
  readonly after: number;
  readonly deadline_ms: number | undefined;
  /** Who asked for it; the server itself where absent. */
  readonly by: Principal | undefined;
  readonly queuedAt = new Date();
  /** The content of its reply, or the little of it that is kept. */
  reply: Readonly<Record<string, unknown>> | undefined;
  firstSeq: number | undefined;
  lastSeq: number | undefined;
  /** Of the event that says how it ended. */
  endSeq: number | undefined;
  outputBytes = 0;
  readonly counts = new Map<string, number>();
  /** What the kernel asks, while it does. */
  input: Entry | undefined;
  reason: EndReason | undefined;
  /** Whether its time was up before its end. */
  isLate = false;
  startedAt: Date | undefined;
  endedAt: Date | undefined;
  #state: ExecutionState = "queued";
  #interruptReason: InterruptReason | undefined;
  readonly #endSigns = new Set<"reply" | "idle">();
  #hasBegun = false;
  /** Of those who interrupt; nobody mostly. */
  #begun: AbortController | undefined;
  /** Of those who follow or wait. */
  #over: AbortController | undefined;
  readonly #onEnd: (execution: Execution) => void;
  readonly #onDeadline: (execution: Execution) => void;
  #preparing: NodeJS.Timeout | undefined;
  #signTimer: NodeJS.Timeout | undefined;
  #deadline: NodeJS.Timeout | undefined;

  constructor(
    request: Message,
    {
      after,
      by,
      deadline_ms,
      onEnd,
      onDeadline,
    }: {
      by?: Principal | undefined;
      after: number;
      deadline_ms: number | undefined;
      /** Called once, when it is over. */
      onEnd: (execution: Execution) => void;
      /** Called when its time is up and it is not over. */
      onDeadline: (execution: Execution) => void;
    },
  ) {
    this.request = request;
    this.code = codeOf(request);
    this.after = after;
    this.#onEnd = onEnd;
    this.#onDeadline = onDeadline;
    this.deadline_ms = deadline_ms;
    this.by = by;
    if (deadline_ms !== undefined) {
      this.#deadline = setTimeout(() => {
        this.isLate = true;
        this.#onDeadline(this);
      }, deadline_ms);
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
  /** Whether it runs beside the main shell, where an interrupt does not reach. */
  get isInSubshell(): boolean {
    return (this.request.header.subshell_id ?? null) !== null;
  }
  get isAnswered(): boolean {
    return this.#endSigns.has("reply");
  }
  /** Whether the kernel said that it is done with it. */
  get isIdleReceived(): boolean {
    return this.#endSigns.has("idle");
  }

  /** It goes to the kernel. */
  send(): void {
    if (this.#apply("sent")) this.startedAt = new Date();
  }

  /** Somebody interrupts it, so that a failure which follows is no fault of its own. Returns what takes that back. */
  interrupt(by: InterruptReason): () => void {
    this.#interruptReason = by;
    this.settleInput();
    return () => (this.#interruptReason = undefined);
  }

  /**
   * Resolves once it is seen to run, is over, or has had the time to: a kernel
   * that has the request but not yet begun forgets an interrupt.
   */
  async untilBegun(): Promise<void> {
    if (this.#hasBegun || this.isOver) return;
    this.#begun ??= forMany();
    using wait = deadline([this.#begun.signal, this.over], BEGIN_TIMEOUT_MS);
    await untilAborted(wait.signal);
  }

  /** What it asked is answered, or nobody will answer it any more. */
  settleInput(): void {
    this.input = undefined;
    this.#apply("inputAnswered");
  }

  /** It said something: late output after its end counts as well. */
  received({ msg_type }: { readonly msg_type: string }, entry: Entry): void {
    this.noteSeq(entry.seq);
    this.#noteProgress(msg_type);
    if (OUTPUTS.has(msg_type)) {
      this.counts.set(msg_type, (this.counts.get(msg_type) ?? 0) + 1);
      this.outputBytes += entry.size;
    }
  }

  /** The same, of many. */
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

  /** The kernel asks. */
  inputRequested(request: Entry): void {
    this.#noteBegun();
    if (this.#apply("inputRequested")) this.input = request.copy();
  }

  /** The journal has something of it there. */
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

  /** It will not run, or not to its end; `reply` is what we answer for the kernel. */
  abort(reason: EndReason, reply: Message): void {
    if (!this.#apply("aborted")) return;
    this.reply = shortened(reply);
    this.#endSigns.add("reply");
    this.#end(reason);
  }

  /** No second sign will come any more. */
  conclude(): void {
    const end = this.#endByReply();
    if (!this.#apply(end)) return;
    this.#end(end === "interrupted" ? this.#interruptReason : undefined);
  }

  /** Nothing of it fires any more. */
  dispose(): void {
    clearTimeout(this.#deadline);
    clearTimeout(this.#preparing);
    clearTimeout(this.#signTimer);
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
    clearTimeout(this.#signTimer);
    this.#endSigns.add(sign);
    if (this.#endSigns.size === 2) {
      this.conclude();
      return;
    }
    this.#awaitSecondSign(performance.now() + LONGEST_SIGN_TIMEOUT_MS);
  }

  /** A reply overtakes outputs, which travel on another socket: the idle is behind them. */
  #awaitSecondSign(latest: number): void {
    const before = this.lastSeq;
    this.#signTimer = setTimeout(() => {
      const isSending = this.lastSeq !== before && performance.now() < latest;
      if (isSending) this.#awaitSecondSign(latest);
      else this.conclude();
    }, SECOND_SIGN_TIMEOUT_MS);
    this.#signTimer.unref();
  }

  #endByReply(): End {
    const status =
      this.reply?.["status"] ?? (this.counts.has("error") ? "error" : "ok"); // a kernel may forget to reply
    if (status === "ok") return "done";
    if (this.#interruptReason !== undefined) return "interrupted";
    return status === "error" ? "failed" : "aborted"; // IRkernel says `abort`
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
  #apply(happening: Happening): boolean {
    const state = transitions[this.#state][happening];
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

/** What a kernel says before it runs the code. */
const BEFORE_CODE = new Set(["status", "execute_input"]);

const OUTPUTS = new Set([
  "stream",
  "display_data",
  "update_display_data",
  "execute_result",
  "error",
]);

const KEPT = ["status", "execution_count", "ename", "evalue"] as const;

/** The content of its reply; of one that is no object, an error that says so. */
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
