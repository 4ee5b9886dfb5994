/**
 * client → kernel: the requests of clients to a session, and their results,
 * through whichever protocol they arrived. Messages keep their order on each
 * channel, and none is sent twice. Execute requests wait here in a queue. Every
 * request that was accepted and will not run is answered.
 */
import { type ExecutionState, failure, isOver } from "../../contract/index.ts";
import { Remembered } from "../jupyter/remembered.ts";
import { describeRefusal, type Refusal } from "../jupyter/admission.ts";
import {
  compose,
  type Header,
  type Message,
  objectIn,
  type RawFrames,
  sizeOf,
} from "../jupyter/message.ts";
import type { Burst } from "../jupyter/record.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Log } from "../log/log.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";
import { isOpen, noteComm, type OpenComms } from "./comms.ts";
import type { Entry } from "../journal/entry.ts";
import {
  Execution,
  type InterruptReason,
  type EndReason,
  type Progress,
  replyIn,
} from "./executions/execution.ts";
import { ExecutionQueue } from "./executions/queue.ts";
import { Executions, HISTORY } from "./executions/executions.ts";
import {
  publishRequest,
  countEnded,
  publishState,
} from "./executions/publish.ts";
import { History, type HistoryParts } from "./history.ts";
import type { BurstRange, Journal } from "../journal/journal.ts";
import { WaitingMessages } from "./waiting-messages.ts";
import type { Principal } from "./principal.ts";
import { type Replies, repliesOf } from "./replies.ts";
import { LostEnds } from "./lost-ends.ts";
import { isComm, RequestLog, restoreExecution } from "./request-log.ts";
import { PROBE } from "./run.ts";
import type { SessionStore } from "./store.ts";
import { serverReply } from "./server-reply.ts";

/** The most execute requests that may wait. */
const QUEUE_LIMIT = 10_000;
/** How long an interrupt waits for the code to begin. Code that has not begun by then waits behind other work, which must be interrupted first. */
const BEGIN_TIMEOUT_MS = 1_000;
/** The most `msg_id`s that are remembered. */
const IDS_LIMIT = 20_000;

/** How a message is sent. */
interface SendOptions {
  /** Default: the server itself. */
  readonly by?: Principal | undefined;
  /** The time limit of an execution. */
  readonly deadline_ms?: number | undefined;
}

/** What of the requests follows from the journal up to its newest entry. */
export interface RequestsProgress {
  /** Of the executions that are not over, by their ids. */
  readonly executions: ReadonlyMap<string, Progress>;
  /** By the ids of the executions. */
  readonly history: ReadonlyMap<string, HistoryParts>;
  /** The ids of the messages of clients since the newest entry that opened or closed a comm. */
  readonly notedComms: readonly string[];
  /** The ids of such messages that wait for a kernel. */
  readonly waitingComms: readonly string[];
}

interface SentCode {
  readonly message: Message;
  readonly running: { readonly at: number; readonly seq: number };
}

function bySeq(a: SentCode, b: SentCode): number {
  return a.running.seq - b.running.seq;
}

interface CommOfClient {
  readonly message: Message;
  /** The journal's newest number when it was accepted. */
  readonly after: number;
}

/** The answer to an input request. */
export interface InputAnswer {
  readonly value: string;
  /** The input request's `msg_id`. Default: the pending one. */
  readonly input_request_id?: string | undefined;
  /** An answer with an id that was accepted before is not sent again. */
  readonly answer_id?: string | undefined;
}

export interface RequestsOptions {
  readonly session_id: string;
  readonly username: string;
  readonly workspace_id: string | undefined;
  readonly journal: Journal;
  readonly comms: OpenComms;
  readonly log: Log;
  readonly telemetry: Telemetry;
  /** Called when the kernel has answered all requests, and its last `idle` did not arrive. */
  readonly onIdleMissing: () => void;
  /** Set for a session that outlives the server. */
  readonly store?: SessionStore | undefined;
}

export class Requests {
  readonly queue = new ExecutionQueue(QUEUE_LIMIT);
  readonly executions = new Executions();
  readonly history = new History();
  readonly #options: RequestsOptions;
  readonly #waiting = new WaitingMessages();
  /** The `msg_id`s that were accepted last, so that a client may send a request again after a reconnect. */
  readonly #accepted = new Remembered<string, true>(IDS_LIMIT);
  readonly #replies: Replies;
  readonly #log: RequestLog;
  /** Executions of an earlier process that are not known to be over. */
  #restored: Execution[] = [];
  /** Messages with which clients of an earlier process opened or closed comms. */
  #comms: CommOfClient[] = [];
  /** The number of the entry before which the code of an earlier process went to a kernel. */
  readonly #sentSeqs = new Map<string, number>();
  /** Requests that the kernel of an earlier process has, or should have. */
  #resent: readonly Message[] = [];
  /** Executions of an earlier process of which it is not known whether they went to the kernel. */
  readonly #uncertain = new Set<string>();
  readonly #lostEnds = new LostEnds();
  /** Executions that were interrupted before their code began, as far as is known. */
  readonly #interruptedEarly = new WeakSet<Execution>();
  #kernel: Kernel | undefined;
  /** Whether the kernel is being replaced. */
  #isHeld = false;

  constructor(options: RequestsOptions) {
    this.#options = options;
    this.#replies = repliesOf(options.session_id);
    this.#log = new RequestLog(options.store);
    if (options.store !== undefined) this.#restore(options.store);
  }

  /**
   * Sends the message, or keeps it for the next kernel if `canWait`. False for a
   * `msg_id` that was accepted before. Throws `session_not_running`, `too_busy`,
   * `kernel_unreachable`.
   */
  send(message: Message, canWait: boolean, options: SendOptions = {}): boolean {
    const { msg_id } = message.header;
    if (this.hasAccepted(msg_id)) return false;
    const kernel = this.#kernelFor(message);
    if (kernel === undefined && !canWait) {
      const { session_id } = this.#options;
      throw failure("session_not_running", { session_id });
    }
    const execution = isExecution(message)
      ? this.#accept(message, options)
      : undefined;
    const isLogged =
      execution !== undefined || kernel === undefined || isComm(message);
    // Written before the caller knows that it was accepted.
    if (isLogged) {
      const after = this.#options.journal.next - 1;
      this.#log.accepted(message, after, execution, kernel === undefined);
    }
    try {
      if (kernel !== undefined) this.#forward(kernel, message);
      else {
        this.#waiting.add(message);
        this.#publishRequest(message);
      }
    } catch (error) {
      if (execution !== undefined) this.executions.remove(execution);
      if (isLogged) this.#log.refused(msg_id);
      throw error;
    }
    this.#accepted.set(msg_id, true);
    return true;
  }

  /** Takes over the requests of an earlier process. Then `replay` is called for each entry of the journal, and `replayed` at the end. */
  #restore(store: SessionStore): void {
    const { last } = this.#options.journal;
    const sent: SentCode[] = [];
    const requests = this.#log.restored(store.requests, last);
    /** Executions that are over and too many to be kept: they would only be made to be removed. */
    let surplus =
      requests.filter(({ over }) => over !== undefined).length -
      HISTORY.executions;
    for (const request of requests) {
      const { message, accepted, running, over, isSent, answered } = request;
      const { after, at, deadline_ms, waits = !isComm(message) } = accepted;
      this.#accepted.set(message.header.msg_id, true);
      if (!isExecution(message)) {
        if (waits && !isSent) this.#waiting.add(message);
        else if (isComm(message)) this.#comms.push({ message, after });
        continue;
      }
      if (isSent) continue;
      if (running !== undefined) sent.push({ message, running });
      if (over !== undefined && surplus > 0) {
        surplus -= 1;
        this.executions.forget();
        continue;
      }
      const execution = this.#newExecution(message, {
        after,
        queuedAt: new Date(at),
        deadline_ms: over === undefined ? deadline_ms : undefined,
      });
      for (const input of answered) execution.answeredInputs.add(input);
      restoreExecution(execution, request);
      this.executions.add(execution);
      if (over !== undefined) this.executions.ended(execution);
      else this.#restored.push(execution);
    }
    // Code in a subshell does not wait for code that was accepted before.
    sent.sort(bySeq);
    this.history.sentBefore(sent);
    for (const { message, running } of sent) {
      this.#sentSeqs.set(message.header.msg_id, running.seq);
    }
  }

  /** `undefined` while an execution is about to end. */
  get progress(): RequestsProgress | undefined {
    const executions = new Map<string, Progress>();
    for (const execution of this.executions) {
      if (execution.isEnding) return undefined;
      if (!execution.isOver) executions.set(execution.id, execution);
    }
    const waitingComms = this.#waiting.all
      .filter(isComm)
      .map(({ header }) => header.msg_id);
    const since = this.#log.commsSince(this.#options.journal.next - 1);
    return {
      executions,
      history: this.history.parts,
      notedComms: since.filter((id) => !waitingComms.includes(id)),
      waitingComms,
    };
  }

  /** Whether the progress up to entry `seq` has all requests that were accepted until then. Otherwise it is not that of these requests. */
  fits({ executions, history }: RequestsProgress, seq: number): boolean {
    const areKnown = this.#restored.every(
      ({ id, after, isOver }) => isOver || after >= seq || executions.has(id),
    );
    const isSentLater = (id: string): boolean =>
      (this.#sentSeqs.get(id) ?? Infinity) > seq;
    return (
      areKnown &&
      [...this.history.ids].every((id) => history.has(id) || isSentLater(id))
    );
  }

  /** Takes over the progress of an earlier process up to entry `seq`. Then `replay` is called for the entries after it. */
  restoreProgress(progress: RequestsProgress, seq: number): void {
    for (const [id, each] of progress.executions) {
      const execution = this.executions.find(id);
      if (execution?.isOver === false) execution.restoreProgress(each);
    }
    this.history.restore(progress.history);
    const noted = new Set(progress.notedComms);
    const waiting = new Set(progress.waitingComms);
    this.#comms = this.#comms.filter(({ message, after }) => {
      const { msg_id } = message.header;
      return waiting.has(msg_id) || (after >= seq && !noted.has(msg_id));
    });
  }

  /** Clients of an earlier process opened and closed comms before entry `seq`. Call it for each entry, in order, before `replay`. */
  replayComms(seq: number): void {
    while ((this.#comms[0]?.after ?? Infinity) < seq) {
      const comm = this.#comms.shift();
      if (comm) noteComm(this.#options.comms, comm.message, "shell");
    }
  }

  /** An entry of the journal that an earlier process has appended: a message. `isIdle`: it reports that its parent request is done. */
  replay(entry: Entry, isIdle: boolean): void {
    const { msg_type, channel } = entry;
    this.history.received(entry);
    const execution = this.executions.find(entry.parent_id);
    if (execution === undefined || execution.isOver) return;
    execution.received({ msg_type }, entry);
    if (channel === "stdin" && msg_type === "input_request") {
      if (!execution.answeredInputs.has(entry.msg_id)) {
        execution.inputRequested(entry);
      }
    }
    if (channel === "iopub" && isIdle) execution.restoreSign("idle");
    if (channel === "shell" && msg_type === "execute_reply") {
      execution.restoreSign("reply", entry.message);
    }
  }

  /** The same for an event about an execution. */
  replayEvent(
    seq: number,
    execution_id: string,
    state: ExecutionState | undefined,
  ): void {
    const execution = this.executions.find(execution_id);
    if (execution === undefined || execution.isOver) return;
    execution.noteSeq(seq);
    if (state === undefined || isOver(state)) return;
    execution.publishedState = state;
    execution.restoreState(state);
  }

  /** All entries were replayed: what the kernel has is active again, and the rest waits for it. */
  replayed(): void {
    this.#sentSeqs.clear();
    this.replayComms(Number.MAX_SAFE_INTEGER);
    const resent: Message[] = [];
    const waiting = this.#waiting.take();
    for (const execution of this.#restored.splice(0)) {
      const { request, state } = execution;
      if (execution.isOver) continue; // a client has cancelled it meanwhile
      if (state === "queued") {
        this.#waiting.add(request);
        this.#uncertain.add(execution.id);
      } else {
        if (ExecutionQueue.accepts(request)) this.queue.offer(request);
        resent.push(request);
      }
      execution.restored();
    }
    for (const message of waiting) this.#waiting.add(message);
    this.#resent = resent;
  }

  /** The session is attached again to the kernel of an earlier process. The kernel's keeper ignores a request that it has already. */
  reconnected(kernel: Kernel): void {
    for (const request of this.#resent) {
      if (this.executions.find(request.header.msg_id)?.isOver === false) {
        kernel.send(request);
      }
    }
    this.#askAboutLost(kernel);
    this.#resent = [];
    this.#uncertain.clear();
    this.connected(kernel);
  }

  /** A message of the kernel with this parent arrives: the kernel has the request, also if the earlier process ended before it noted that. Call it before the message is appended. */
  noteParent(msg_id: string | undefined): void {
    if (this.#uncertain.size === 0 || msg_id === undefined) return;
    const execution = this.executions.find(msg_id);
    if (execution === undefined || !this.#uncertain.delete(msg_id)) return;
    const { request } = execution;
    this.#waiting.remove(msg_id);
    this.#publishRequest(request);
    if (ExecutionQueue.accepts(request)) this.queue.offer(request);
    this.#noteSent(execution);
  }

  /** Whether a message with this id was accepted before, as far as ids are remembered. */
  hasAccepted(msg_id: string): boolean {
    return (
      this.#accepted.has(msg_id) || this.executions.find(msg_id) !== undefined
    );
  }

  /** Sends a request, and resolves with the reply. Rejects when its kernel is gone or did not start, or at the timeout. Throws `no_answer`, `kernel_exited`, `bad_answer`. */
  request(
    request: Message,
    canWait: boolean,
    timeout_ms: number,
    by?: Principal,
  ): Promise<Entry> {
    return this.#replies.await(request, timeout_ms, () => {
      this.send(request, canWait, { by });
    });
  }

  /** A kernel is ready: messages that waited for it are sent. */
  connected(kernel: Kernel): void {
    this.#kernel = kernel;
    this.#isHeld = false;
    for (const message of this.#waiting.take()) {
      try {
        this.#forward(kernel, message);
        if (!isExecution(message)) this.#log.sent(message.header.msg_id);
      } catch (error) {
        this.#logNotSent(error);
        if (isExecution(message)) this.#abandon([message], "not_sent");
      }
    }
  }

  /** The kernel is about to be replaced. From now on, messages on shell wait for the next kernel; messages on other channels still reach this one. */
  hold(): void {
    this.#isHeld = true;
  }

  /** The kernel did not start: messages for this kernel alone are dropped. Messages on shell wait for the next kernel, unless a caller awaits the reply. */
  notStarted(why: string): void {
    if (this.#isHeld) return; // a restart continues, or gives up itself
    this.#waiting.drop(({ channel, header }) => {
      const isDropped =
        channel !== "shell" || this.#replies.isAwaited(header.msg_id);
      if (isDropped) this.#log.sent(header.msg_id);
      return isDropped;
    });
    for (const msg_id of this.#replies.ids()) {
      this.#replies.kernelGone(msg_id, why);
    }
  }

  /** No kernel will start: requests that wait are answered, and other messages are dropped. */
  giveUp(reason: "shutdown" | "start_failed", why: string): void {
    this.#isHeld = false;
    const waiting = this.#waiting.take();
    for (const { header } of waiting) {
      if (header.msg_type !== "execute_request") {
        this.#log.sent(header.msg_id);
        this.#replies.kernelGone(header.msg_id, why);
      }
    }
    this.#abandon(waiting.filter(isRequest), reason, {
      ename: "KernelNotStarted",
      evalue: why,
      traceback: [],
    });
  }

  /** Events of the kernel were lost; the ends of executions may be among them. */
  eventsLost(): void {
    const isRestoring = this.#kernel === undefined;
    const resent = new Set(this.#resent);
    const isEarlier = ({ id, request }: Execution) =>
      this.#uncertain.has(id) || resent.has(request);
    this.#lostEnds.suspect(
      isRestoring ? [...this.executions].filter(isEarlier) : this.executions,
    );
    if (this.#kernel !== undefined) this.#askAboutLost(this.#kernel);
  }

  /**
   * The kernel is gone: the server answers the requests that the kernel had, and
   * those in its queue. `notice`: the message for the user whose code ran,
   * unless a client requested the end.
   */
  disconnected(how: string, notice?: string): void {
    this.#kernel = undefined;
    this.#lostEnds.clear();
    const uncertain = [...this.#uncertain].flatMap(
      (msg_id) => this.#waiting.remove(msg_id) ?? [],
    );
    this.#uncertain.clear();
    this.#resent = [];
    const waiting = [...uncertain, ...this.queue.clear()];
    const gone: Message[] = [];
    for (const execution of this.executions.running) {
      if (execution.isAnswered) execution.conclude();
      else gone.push(execution.request);
    }
    const why = { ename: "KernelExited", evalue: how, traceback: [] };
    this.#abandon(gone, "kernel_exited", {
      ...why,
      ...(notice !== undefined && { [NOTICE]: notice }),
    });
    this.#abandon(waiting, "kernel_exited", why);
    for (const msg_id of this.#replies.ids()) {
      if (!this.#waiting.has(msg_id)) this.#replies.kernelGone(msg_id, how);
    }
  }

  /** kernel → session, once the message is in the journal. `isIdle`: the message reports that its parent request is done. */
  received(message: Message, entry: Entry, isIdle: boolean): void {
    const { channel, header, parent_header } = message;
    const parent_id = parent_header?.msg_id;
    const execution = this.executions.find(parent_id);
    execution?.received(header, entry);
    this.history.received(entry, message.raw.content);
    if (isIdle) execution?.receivedIdle();
    if (channel === "stdin" && header.msg_type === "input_request") {
      // An input request without a parent belongs to the active execution.
      const { active } = this.queue;
      (
        execution ?? this.executions.find(active?.header.msg_id)
      )?.inputRequested(entry);
    }
    if (channel === "iopub" || parent_id === undefined) return;
    if (channel !== "stdin") this.#replies.received(parent_id, entry);
    this.#lostEnds.answered(parent_id).forEach(this.#endLost);
    if (header.msg_type !== "execute_reply" || execution === undefined) return;
    const isActive = this.queue.active?.header.msg_id === parent_id;
    if (isActive && hasFailed(message)) {
      this.#abandon(this.queue.fail(), "earlier_failure");
    }
    execution.receivedReply(message);
  }

  /** The same for many messages. */
  receivedBurst(burst: Burst, range: BurstRange): void {
    this.executions.find(burst.parent_id)?.receivedBurst(burst, range);
    this.history.receivedBurst(burst);
  }

  /**
   * A message was refused; the refusal is entry `seq` of the journal. A refused
   * reply is replaced by an error, so that no caller waits for it. Code whose
   * input request cannot be read is interrupted: an answer to it would be given
   * in the user's name.
   */
  refused(refusal: Refusal, seq: number): void {
    const { journal } = this.#options;
    const { channel, msg_type, parent } = refusal;
    const execution = this.executions.find(parent?.header.msg_id);
    execution?.noteSeq(seq);
    if (channel === "stdin" && msg_type === "input_request") {
      this.inputRequestRefused(execution);
    }
    if (parent === undefined) return;
    const { msg_id } = parent.header;
    if (channel === "iopub" || !msg_type.endsWith("_reply")) return;
    const why = describeRefusal(refusal);
    this.#replies.refused(msg_id, why);
    const reply = this.#compose({
      channel,
      msg_type,
      content: {
        status: "error",
        ename: "RefusedReply",
        evalue: `The server refused the answer of the kernel: ${why}`,
        traceback: [],
      },
      parent,
    });
    this.received(reply, journal.append(reply), false);
  }

  /** The input request of `execution` (default: the active one) was refused. */
  inputRequestRefused(execution?: Execution): void {
    const active = this.executions.find(this.queue.active?.header.msg_id);
    const asking = execution ?? active;
    if (asking !== undefined) this.#stop(asking, "question_refused");
  }

  /** Answers all requests in the queue as aborted. The active execution is not touched. */
  drop(reason: EndReason): void {
    this.#abandon(this.queue.drop(), reason);
  }

  /** Interrupts the active execution, once it runs. Requests in the queue are dropped. Throws `interrupt_failed`. */
  async interruptAll(kernel: Kernel): Promise<void> {
    const active = this.executions.find(this.queue.active?.header.msg_id);
    await this.#signal(kernel, active, this.#interrupted());
  }

  /** Takes a waiting execution out of the queue. Throws `execution_state`. */
  cancel(execution: Execution, reason: "cancelled" | "deadline"): void {
    const request =
      this.queue.cancel(execution.id) ?? this.#waiting.remove(execution.id);
    if (request === undefined) {
      const why = `Execution ${execution.id} is ${execution.state}: only a queued execution can be cancelled`;
      throw failure("execution_state", { why });
    }
    this.#abandon([request], reason);
  }

  /** Interrupts one execution. Its reply decides what happens to the requests behind it. Throws `execution_state`, `interrupt_failed`. */
  async interrupt(execution: Execution, by: InterruptReason): Promise<void> {
    const kernel = this.#kernel;
    const { id, state } = execution;
    if (kernel === undefined || execution.isOver || state === "queued") {
      const why = `Execution ${id} is ${state}: only a running execution can be interrupted`;
      throw failure("execution_state", { why });
    }
    if (execution.isInSubshell) {
      const why = `Execution ${id} runs in a subshell, which an interrupt does not reach`;
      throw failure("execution_state", { why });
    }
    await this.#signal(kernel, execution, this.#interruptedOne(execution, by));
  }

  /** Answers the input request of an execution. Throws `execution_state`, `kernel_unreachable`. */
  answer(
    { id, state, input }: Execution,
    { value, input_request_id, answer_id }: InputAnswer,
  ): void {
    if (answer_id !== undefined && this.#accepted.has(answer_id)) return;
    if (input === undefined) {
      const why = `Execution ${id} is ${state}, and does not wait for input`;
      throw failure("execution_state", { why });
    }
    if (input_request_id !== undefined && input_request_id !== input.msg_id) {
      const why = `Execution ${id} waits for another input request than ${input_request_id}`;
      throw failure("execution_state", { why });
    }
    const { raw } = input;
    const header = objectIn(raw.header) as Header; // it was an object when it arrived
    this.send(
      this.#compose({
        channel: "stdin",
        msg_type: "input_reply",
        content: { value },
        parent: { header, raw },
        ...(answer_id !== undefined && { msg_id: answer_id }),
      }),
      false,
    );
  }

  dispose(): void {
    this.executions.dispose();
  }

  #accept(message: Message, { by, deadline_ms }: SendOptions): Execution {
    const after = this.#options.journal.next - 1;
    const execution = this.#newExecution(message, { by, after, deadline_ms });
    this.executions.add(execution);
    return execution;
  }

  #newExecution(
    message: Message,
    options: Pick<
      ConstructorParameters<typeof Execution>[1],
      "by" | "after" | "deadline_ms" | "queuedAt"
    >,
  ): Execution {
    return new Execution(message, {
      ...options,
      onEnd: (execution) => this.#ended(execution),
      onDeadline: (late) => this.#late(late),
      isReceiving: async () => (await this.#kernel?.isReceiving?.()) ?? false,
    });
  }

  /** The kernel that takes the message now, if any. */
  #kernelFor({ channel }: Message): Kernel | undefined {
    return this.#isHeld && channel === "shell" ? undefined : this.#kernel;
  }

  #forward(kernel: Kernel, message: Message): void {
    const { channel, header } = message;
    const { msg_type } = header;
    if (msg_type === "interrupt_request") this.#interrupted();
    if (msg_type === "shutdown_request") this.drop("shutdown");
    if (ExecutionQueue.accepts(message)) {
      this.#queue(kernel, message);
      return;
    }
    this.#deliver(kernel, message);
    noteComm(this.#options.comms, message, "shell");
    if (channel === "stdin" && msg_type === "input_reply") {
      this.#inputAnswered(message.parent_header?.msg_id);
    }
  }

  #deliver(kernel: Kernel, message: Message): void {
    this.#publishRequest(message);
    kernel.send(message);
    const { session_id, telemetry } = this.#options;
    const { message: countMessage } = telemetry;
    countMessage?.(session_id, "to_kernel", message.channel, sizeOf(message));
    const execution = this.executions.find(message.header.msg_id);
    if (execution === undefined) return;
    this.#noteSent(execution);
    if (this.#lostEnds.take([execution]).length > 0) {
      this.#ask(kernel, [execution]);
    }
  }

  /** The kernel has all that it gets again: it is asked whether that is over. */
  #askAboutLost(kernel: Kernel): void {
    if (this.#lostEnds.isAsked) return;
    this.#ask(kernel, this.#lostEnds.take(this.executions.running));
  }

  /** When the kernel answers, the code is over. */
  #ask(kernel: Kernel, executions: readonly Execution[]): void {
    const probe = this.#compose({
      channel: "shell",
      msg_type: PROBE,
      content: {},
    });
    this.#lostEnds.asked(probe.header.msg_id, executions);
    kernel.send(probe);
  }

  /** The code is over, and its reply was lost. It may have failed: what waited behind it at the time of the loss does not run. */
  readonly #endLost = (execution: Execution): void => {
    if (execution.isOver || execution.isAnswered) return;
    const { header, raw } = execution.request;
    const reply = this.#compose({
      channel: "shell",
      msg_type: "execute_reply",
      content: {
        status: "error",
        ename: "LostReply",
        evalue: "The code has ended, and the kernel's reply was lost",
        traceback: [],
      },
      parent: { header, raw },
    });
    this.queue.interrupt(this.#lostEnds.suspected);
    this.received(reply, this.#options.journal.append(reply), false);
  };

  /** The request is with the kernel. */
  #noteSent(execution: Execution): void {
    execution.send();
    publishState(execution, this.#options.journal);
    execution.sentSeq = execution.lastSeq;
    this.#log.running(execution);
    this.history.sent(execution.request, execution.startedAt?.getTime());
  }

  #publishRequest(request: Message): void {
    const execution = this.executions.find(request.header.msg_id);
    const { journal, workspace_id = "" } = this.#options;
    if (execution === undefined) return;
    publishRequest(execution, request, journal, workspace_id);
  }

  /** Interrupts `target`. Does nothing if `target` ends before the interrupt. */
  async #signal(
    kernel: Kernel,
    target: Execution | undefined,
    undo: () => void,
  ): Promise<void> {
    const early = kernel.missesInterrupts ? target : undefined;
    await early?.untilBegun(BEGIN_TIMEOUT_MS);
    if (target?.isOver === true) return;
    await kernel.interrupt().catch((error: unknown) => {
      undo();
      throw error;
    });
    if (early?.hasBegun === false) void this.#signalAtBegin(kernel, early);
  }

  /** The kernel may have lost the interrupt, or the work before the code got it. The kernel is interrupted once more when the code begins. */
  async #signalAtBegin(kernel: Kernel, execution: Execution): Promise<void> {
    if (this.#interruptedEarly.has(execution)) return;
    this.#interruptedEarly.add(execution);
    await execution.untilBegun();
    const { isOver, isEnding, counts } = execution;
    if (isOver || isEnding || counts.has("error")) return; // the first interrupt arrived after all
    await kernel
      .interrupt()
      .catch((error: unknown) => this.#logNotInterrupted(error, "interrupt"));
  }

  /** The kernel is interrupted: requests in the queue are dropped, and pending input requests need no answer. Returns a function that undoes the part that can be undone. */
  #interrupted(): () => void {
    this.drop("interrupt");
    const undo = this.executions.running
      .filter(({ isInSubshell }) => !isInSubshell)
      .map((execution) => this.#interruptedOne(execution, "interrupt"));
    return () => {
      for (const undoOne of undo) undoOne();
    };
  }

  #interruptedOne(execution: Execution, by: InterruptReason): () => void {
    const isActive = this.queue.active?.header.msg_id === execution.id;
    const undo = [
      execution.interrupt(by),
      ...(isActive ? [this.queue.interrupt()] : []),
    ];
    return () => {
      for (const take of undo) take();
    };
  }

  #queue(kernel: Kernel, message: Message): void {
    const { msg_id } = message.header;
    if (this.queue.isFull) {
      const why = `${QUEUE_LIMIT} requests wait already: send more when some have ended`;
      throw failure("too_busy", { why });
    }
    if (!this.queue.offer(message)) {
      this.#publishRequest(message);
      const execution = this.executions.find(msg_id);
      if (execution !== undefined)
        publishState(execution, this.#options.journal);
      return;
    }
    try {
      this.#deliver(kernel, message);
    } catch (error) {
      this.queue.advance();
      throw error;
    }
  }

  /** An answer was sent to the kernel: to the input request that it names, otherwise to every pending one. */
  #inputAnswered(input_request_id: string | undefined): void {
    const waiting = this.executions.running.filter(
      ({ input }) => input !== undefined,
    );
    const named = waiting.filter(
      ({ input }) => input?.msg_id === input_request_id,
    );
    for (const execution of named.length > 0 ? named : waiting) {
      this.#log.answered(execution.id, execution.input?.msg_id ?? "");
      execution.settleInput();
    }
  }

  #ended(execution: Execution): void {
    const { session_id, journal, telemetry } = this.#options;
    publishState(execution, journal);
    this.#log.over(execution);
    this.executions.ended(execution);
    this.#log.compactIfLarge(this.executions, this.#waiting.all, ({ raw }) =>
      isOpen(this.#options.comms, raw),
    );
    countEnded(execution, session_id, telemetry);
    if (this.queue.active?.header.msg_id !== execution.id) return;
    const isDone = !this.#sendNext();
    const isForgotten = execution.isAnswered && !execution.isIdleReceived;
    if (isDone && isForgotten) this.#options.onIdleMissing();
  }

  /** False if no request waits. */
  #sendNext(): boolean {
    const request = this.queue.advance();
    if (request === undefined) return false;
    try {
      if (this.#kernel !== undefined) this.#deliver(this.#kernel, request);
    } catch (error) {
      this.#logNotSent(error);
      this.#abandon([request, ...this.queue.clear()], "not_sent");
    }
    return true;
  }

  #late(execution: Execution): void {
    if (execution.state === "queued") this.cancel(execution, "deadline");
    else this.#stop(execution, "deadline");
  }

  #stop(execution: Execution, by: InterruptReason): void {
    this.interrupt(execution, by).catch((error: unknown) =>
      this.#logNotInterrupted(error, by),
    );
  }

  #logNotInterrupted(err: unknown, reason: InterruptReason): void {
    const message = "An execution could not be interrupted";
    this.#options.log.warn({ err, reason }, message);
  }

  #logNotSent(error: unknown): void {
    this.#options.log.warn(
      { err: error },
      "A message that waited could not be sent",
    );
  }

  /** Answers requests that do not run, or do not run to their end, as a kernel answers requests that it drops. `why` adds fields to the reply. */
  #abandon(
    requests: readonly Message[],
    reason: EndReason,
    why: Readonly<Record<string, unknown>> = {},
  ): void {
    const { journal, session_id, username } = this.#options;
    for (const parent of requests) {
      const { msg_id } = parent.header;
      const execution = this.executions.find(msg_id);
      const content = { status: "aborted", reason, ...why };
      const from = { session: session_id, username };
      const [reply, idle] = serverReply(parent, content, from);
      const entry = journal.append(reply);
      execution?.received(reply.header, entry);
      this.#replies.received(msg_id, entry);
      const last = journal.append(idle);
      execution?.received(idle.header, last);
      execution?.abort(reason, reply);
    }
  }

  #compose(draft: {
    readonly channel: Message["channel"];
    readonly msg_type: string;
    readonly content: unknown;
    readonly parent?: {
      readonly header: Header;
      readonly raw: Pick<RawFrames, "header">;
    };
    readonly msg_id?: string;
  }): Message {
    const { session_id, username } = this.#options;
    return compose({ ...draft, session: session_id, username });
  }
}

/** The member of a reply to code whose kernel ended by itself: the end, in words. Jupyter's clients look for these words in the code's output. */
export const NOTICE = "kernel_notice";

function isRequest({ header }: Message): boolean {
  return header.msg_type.endsWith("_request");
}

function isExecution({ channel, header }: Message): boolean {
  return channel === "shell" && header.msg_type === "execute_request";
}

/** IRkernel sends `abort` where other kernels send `error`. */
function hasFailed(reply: Message): boolean {
  const { status } = replyIn(reply);
  return status === "error" || status === "abort" || status === "aborted";
}
