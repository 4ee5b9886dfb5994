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
  Execution as Seen,
  ExecutionState,
} from "../../../contract/index.ts";
import { contentOf, type Message } from "../../jupyter/message.ts";
import { asWritten, membersIn } from "../../jupyter/raw-json.ts";
import { type Code, codeOf } from "./code.ts";
import { deadline, expectMany, untilAborted } from "../../time/signals.ts";
import type { Principal } from "../principal.ts";
import type { Entry } from "../../journal/entry.ts";
import type { BurstPlace } from "../../journal/journal.ts";
import type { Burst } from "../../jupyter/record.ts";

/** Why an execution did not come to an end of its own. */
export type EndReason = NonNullable<Seen["reason"]>;

/** What the code is interrupted for. */
export type Interrupter = Extract<
  EndReason,
  "interrupt" | "deadline" | "question_refused"
>;

/** How long the second sign that a request is over may be missing, while the request says nothing. */
export const SECOND_SIGN_MS = 2_000;
/** And at most: a thread may talk on for ever. */
const MOST_SIGN_MS = 60_000;
/** How long a kernel that has taken the code up may need to run it: until then, some swallow an interrupt. */
const TAKE_UP_MS = 100;
/** How long an interrupt waits for the code to run: what does not by then stands behind something else, which is what is meant. */
const BEGIN_TIMEOUT_MS = 1_000;
/** Bytes; a larger reply is kept in the journal only. */
const REPLY_LIMIT = 64 * 1024;

/**
 * `sent`: it went to the kernel. `asked`: the kernel wants input. `answered`:
 * somebody gave it, or nobody will. The four ends are happenings of their own
 * names.
 */
type Happening = "sent" | "asked" | "answered" | End;
type End = "done" | "failed" | "aborted" | "interrupted";

const ends = {
  done: "done",
  failed: "failed",
  aborted: "aborted",
  interrupted: "interrupted",
} as const;

const life: Readonly<
  Record<ExecutionState, Partial<Record<Happening, ExecutionState>>>
> = {
  queued: { sent: "running", aborted: "aborted" },
  running: { asked: "waiting_for_input", ...ends },
  waiting_for_input: { answered: "running", ...ends },
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
  #interruptedBy: Interrupter | undefined;
  readonly #heard = new Set<"reply" | "idle">();
  #hasBegun = false;
  /** Of those who interrupt; nobody mostly. */
  #begun: AbortController | undefined;
  /** Of those who follow or wait. */
  #over: AbortController | undefined;
  readonly #ended: (execution: Execution) => void;
  readonly #late: (execution: Execution) => void;
  #takingUp: NodeJS.Timeout | undefined;
  #lastSign: NodeJS.Timeout | undefined;
  #deadline: NodeJS.Timeout | undefined;

  constructor(
    request: Message,
    {
      after,
      by,
      deadline_ms,
      ended,
      late,
    }: {
      by?: Principal | undefined;
      after: number;
      deadline_ms: number | undefined;
      /** Called once, when it is over. */
      ended: (execution: Execution) => void;
      /** Called when its time is up and it is not over. */
      late: (execution: Execution) => void;
    },
  ) {
    this.request = request;
    this.code = codeOf(request);
    this.after = after;
    this.#ended = ended;
    this.#late = late;
    this.deadline_ms = deadline_ms;
    this.by = by;
    if (deadline_ms !== undefined) {
      this.#deadline = setTimeout(() => {
        this.isLate = true;
        this.#late(this);
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
    return this.#heard.has("reply");
  }
  /** Whether the kernel said that it is done with it. */
  get isIdleHeard(): boolean {
    return this.#heard.has("idle");
  }

  /** It goes to the kernel. */
  send(): void {
    if (this.#happen("sent")) this.startedAt = new Date();
  }

  /** Somebody interrupts it, so that a failure which follows is no fault of its own. Returns what takes that back. */
  interrupt(by: Interrupter): () => void {
    this.#interruptedBy = by;
    this.settleInput();
    return () => (this.#interruptedBy = undefined);
  }

  /**
   * Resolves once it is seen to run, is over, or has had the time to: a kernel
   * that has the request but not yet begun forgets an interrupt.
   */
  async begun(): Promise<void> {
    if (this.#hasBegun || this.isOver) return;
    this.#begun ??= forMany();
    using wait = deadline([this.#begun.signal, this.over], BEGIN_TIMEOUT_MS);
    await untilAborted(wait.signal);
  }

  /** What it asked is answered, or nobody will answer it any more. */
  settleInput(): void {
    this.input = undefined;
    this.#happen("answered");
  }

  /** It said something: late output after its end counts as well. */
  heard({ msg_type }: { readonly msg_type: string }, entry: Entry): void {
    this.noteSeq(entry.seq);
    this.#heardOfIt(msg_type);
    if (OUTPUTS.has(msg_type)) {
      this.counts.set(msg_type, (this.counts.get(msg_type) ?? 0) + 1);
      this.outputBytes += entry.size;
    }
  }

  /** The same, of many. */
  heardBurst(
    { msg_type, count }: Burst,
    { first, last, size }: BurstPlace,
  ): void {
    this.noteSeq(first);
    this.noteSeq(last);
    this.#heardOfIt(msg_type);
    if (OUTPUTS.has(msg_type)) {
      this.counts.set(msg_type, (this.counts.get(msg_type) ?? 0) + count);
      this.outputBytes += size;
    }
  }

  /** The kernel asks. */
  asked(question: Entry): void {
    this.#begins();
    if (this.#happen("asked")) this.input = question.copy();
  }

  /** The journal has something of it there. */
  noteSeq(seq: number): void {
    this.firstSeq ??= seq;
    this.lastSeq = seq;
  }

  heardReply(message: Message): void {
    if (this.isOver) return;
    this.reply = shortened(message);
    this.settleInput();
    this.#hear("reply");
  }

  heardIdle(): void {
    if (!this.isOver) this.#hear("idle");
  }

  /** It will not run, or not to its end; `reply` is what we answer for the kernel. */
  abort(reason: EndReason, reply: Message): void {
    if (!this.#happen("aborted")) return;
    this.reply = shortened(reply);
    this.#heard.add("reply");
    this.#end(reason);
  }

  /** No second sign will come any more. */
  conclude(): void {
    const end = this.#endByReply();
    if (!this.#happen(end)) return;
    this.#end(end === "interrupted" ? this.#interruptedBy : undefined);
  }

  /** Nothing of it fires any more. */
  dispose(): void {
    clearTimeout(this.#deadline);
    clearTimeout(this.#takingUp);
    clearTimeout(this.#lastSign);
  }

  #heardOfIt(msg_type: string): void {
    if (this.#hasBegun) return;
    if (!TAKEN_UP.has(msg_type)) {
      clearTimeout(this.#takingUp);
      this.#begins();
    } else if (!this.isOver) {
      this.#takingUp ??= setTimeout(() => this.#begins(), TAKE_UP_MS);
      this.#takingUp.unref();
    }
  }

  #begins(): void {
    this.#hasBegun = true;
    this.#begun?.abort();
  }

  #hear(sign: "reply" | "idle"): void {
    clearTimeout(this.#lastSign);
    this.#heard.add(sign);
    if (this.#heard.size === 2) {
      this.conclude();
      return;
    }
    this.#awaitLastSign(performance.now() + MOST_SIGN_MS);
  }

  /** A reply overtakes outputs, which travel on another socket: the idle is behind them. */
  #awaitLastSign(latest: number): void {
    const said = this.lastSeq;
    this.#lastSign = setTimeout(() => {
      const isTalking = this.lastSeq !== said && performance.now() < latest;
      if (isTalking) this.#awaitLastSign(latest);
      else this.conclude();
    }, SECOND_SIGN_MS);
    this.#lastSign.unref();
  }

  #endByReply(): End {
    const status =
      this.reply?.["status"] ?? (this.counts.has("error") ? "error" : "ok"); // a kernel may forget to reply
    if (status === "ok") return "done";
    if (this.#interruptedBy !== undefined) return "interrupted";
    return status === "error" ? "failed" : "aborted"; // IRkernel says `abort`
  }

  #end(reason: EndReason | undefined): void {
    this.reason = reason;
    this.endedAt = new Date();
    this.input = undefined;
    this.dispose();
    this.#ended(this);
    this.#over?.abort();
  }

  /** The only place where the state changes. */
  #happen(happening: Happening): boolean {
    const state = life[this.#state][happening];
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
const TAKEN_UP = new Set(["status", "execute_input"]);

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
