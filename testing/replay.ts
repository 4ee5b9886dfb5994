/**
 * Replays a recorded session as a kernel. A recording is one sequence of
 * messages, and the kernel sends them in that order. It sends messages without
 * a request at once. It stops at the first reply to a request, and continues
 * when the client sends the request that was recorded there.
 *
 * Executions and comm messages must arrive in the recorded order. Other requests
 * (completion, inspection, a silent execution) may arrive later than recorded.
 * The ids that clients choose are replaced by the present client's ids.
 */
import type { JupyterEvent, SessionEvent } from "../contract/index.ts";
import { recordIn } from "../outputs/outputs.ts";
import {
  type Content,
  type Extra,
  type Io,
  KernelError,
} from "../kernels/io.ts";
import type { Kernel, KernelDefinition } from "../kernels/kernel.ts";
import { contentOf } from "../src/jupyter/message.ts";
import { type Clock, turn } from "./clock.ts";
import type { Recorded } from "./mock-kernel.ts";
import { RecordedIds } from "./recorded-ids.ts";
import type { Recording } from "./recording.ts";
import type { MockHost } from "./mock-host.ts";

type AnswerAll = NonNullable<KernelDefinition["answerAll"]>;
type Request = Parameters<AnswerAll>[0];

/** The recorded messages that answer one request. */
interface Exchange {
  /** The id of the recorded request. */
  readonly msg_id: string;
  readonly msg_type: string;
  /** The code of an execution that was not silent. */
  code: string | undefined;
  /** The execution was dropped before it ran. */
  isAborted: boolean;
  /** It is known whether this is a silent execution. */
  isKnown: boolean;
  /** The kernel died during the request; the server sent the rest. */
  isOver: boolean;
  /** The messages that were read before the client sent the request. */
  readonly kept: JupyterEvent[];
  answering: Answering | undefined;
}

/** A request of the present client that is answered with a recorded exchange. */
interface Answering {
  readonly io: Io;
  readonly content: Content;
  readonly finish: () => void;
  isBegun: boolean;
  isReplied: boolean;
  isIdle: boolean;
  /** An input request is open. */
  isAsking: boolean;
  /** The error that ends the request before the end of the recorded exchange. */
  cut: KernelError | undefined;
  isErrorSent: boolean;
}

interface Item {
  readonly exchange: Exchange | undefined;
  readonly message: JupyterEvent;
}

interface ReplayRequest {
  readonly request: Request;
  readonly content: Content;
  readonly io: Io;
  readonly resolve: (isAnswered: boolean) => void;
}

type Exited = Extract<SessionEvent, { kind: "exited" }>;

/** The number of messages that are searched for the end of open requests. */
const SEARCH_LIMIT = 50;
/** The number of messages between two turns of the event loop. */
const MESSAGES_PER_TURN = 500;
const MAX_QUOTE = 200; // characters

export class Replay {
  readonly ids = new RecordedIds();
  readonly #recorded: Recorded;
  readonly #clock: Clock;
  readonly #host: MockHost;
  readonly #source: AsyncIterator<SessionEvent>;
  readonly #exchanges = new Map<string, Exchange>();
  readonly #ahead: Item[] = [];
  #exited: Exited | undefined;
  #isRead = false;
  /** Recorded requests other than acts that the present client has not sent yet. */
  readonly #asides: Exchange[] = [];
  readonly #open = new Set<Answering>();
  readonly #requests: ReplayRequest[] = [];
  #kernel: Kernel | undefined;
  #isProbed = false;
  #isOver = false;
  #sentCount = 0;
  /** The date of a message and the time at which it was sent. Later messages are timed relative to it. */
  #anchor: { readonly date: number; readonly at: number } | undefined;
  #change = pending();
  /** A description of the recorded request that is next. */
  #expected = "";

  constructor(
    recorded: Recorded,
    { clock, host }: { readonly clock: Clock; readonly host: MockHost },
  ) {
    this.#recorded = recorded;
    this.#clock = clock;
    this.#host = host;
    this.#source = eventsOfKernel(recorded.recording, host.run);
    void host.ended.then(() => {
      this.#isOver = true;
      this.#notify();
    });
  }

  /** Answers a recorded request. Resolves with false for any other request, for which `refusal` makes the error. */
  readonly answerAll: AnswerAll = (request, io, kernel) => {
    if (this.#kernel === undefined) {
      this.#kernel = kernel;
      void this.#run();
    }
    const { msg_type } = request.header;
    // The server sends this request at each start; the session's events do not contain its reply.
    if (msg_type === "kernel_info_request" && !this.#isProbed) {
      this.#isProbed = true;
      return Promise.resolve(false);
    }
    const content = contentOf(request) ?? {};
    return new Promise((resolve) => {
      this.#requests.push({ request, content, io, resolve });
      this.#notify();
    });
  };

  /** The error for a request that was not recorded. */
  refusal(what: string): KernelError {
    const evalue = `${what} was not recorded here: ${this.#expected}`;
    return new KernelError("NotRecorded", evalue);
  }

  async #run(): Promise<void> {
    try {
      while (!this.#isOver) await this.#step();
      await this.#source.return?.(); // closes the source of the recording
    } catch (error) {
      await this.#failAll(error);
    }
  }

  /** Sends one message, or waits for a change. */
  async #step(): Promise<void> {
    const changed = this.#change.promise; // resolves at the next change from here on
    for (const request of this.#requests.splice(0)) await this.#serve(request);
    if (!(await this.#reach(0))) {
      await this.#finishAll();
      await changed;
      return;
    }
    const item = this.#ahead[0];
    if (item === undefined) return;
    const { exchange, message } = item;
    const answering = exchange?.answering;
    if (exchange !== undefined && answering === undefined) {
      await this.#identify(exchange);
      if (isAside(exchange)) {
        this.#keep(exchange);
        return;
      }
      await this.#endOpen(); // in the recording, the kernel had gone on
      if (this.#requests.length === 0) await changed;
      return;
    }
    const obstacle = this.#obstacleTo(message, answering);
    if (obstacle !== undefined) {
      await Promise.race([obstacle(), changed]);
      this.#notify(); // wakes all waiters
      return;
    }
    this.#ahead.shift();
    if (answering === undefined) await this.#sendWithoutParent(message);
    else await this.#sendRecorded(message, answering);
    this.#sentCount += 1;
    if (this.#sentCount % MESSAGES_PER_TURN === 0) await turn(); // so that other work can run
  }

  /** Reports a change to all waiters. */
  #notify(): void {
    this.#change.resolve();
    this.#change = pending();
  }

  // Requests

  async #serve({
    request,
    content,
    io,
    resolve,
  }: ReplayRequest): Promise<void> {
    const { msg_type, msg_id } = request.header;
    const exchange = await this.#find(msg_type, content);
    if (exchange === undefined) {
      resolve(false);
      return;
    }
    if (msg_type === "execute_request") io.begin(content);
    if (msg_type === "comm_open") this.ids.openedByClient(content);
    this.ids.mapRequest(exchange.msg_id, msg_id);
    const answering: Answering = {
      io,
      content,
      finish: () => resolve(true),
      isBegun: false,
      isReplied: isComm(msg_type), // these have no reply
      isIdle: false,
      isAsking: false,
      cut: undefined,
      isErrorSent: false,
    };
    exchange.answering = answering;
    this.#open.add(answering);
    io.signal.addEventListener("abort", () => this.#notify(), { once: true });
    const kept = exchange.kept.splice(0);
    this.#ahead.unshift(...kept.map((message) => ({ exchange, message })));
  }

  async #find(
    msg_type: string,
    content: Content,
  ): Promise<Exchange | undefined> {
    const next = await this.#nextAct();
    this.#expected = this.#described(next);
    const isSilent = content["silent"] === true;
    if (isComm(msg_type) || (msg_type === "execute_request" && !isSilent)) {
      const fits =
        next?.msg_type === msg_type &&
        (isComm(msg_type) || next.code === content["code"]);
      if (fits) return next;
    }
    const aside = this.#asidesUntil(next).find(
      (one) =>
        one.msg_type === msg_type &&
        (msg_type !== "execute_request" || one.isAborted !== isSilent),
    );
    if (aside === undefined) return undefined;
    const at = this.#asides.indexOf(aside);
    // Its position in the recording is not reached yet. It waits for that, unless an open request may take long.
    if (at === -1 && this.#open.size === 0) return aside;
    if (at === -1) this.#keep(aside);
    this.#asides.splice(this.#asides.indexOf(aside), 1);
    return aside;
  }

  /** The next recorded execution or comm message that the present client has not sent yet. */
  async #nextAct(): Promise<Exchange | undefined> {
    for (let at = 0; await this.#reach(at); at += 1) {
      const exchange = this.#ahead[at]?.exchange;
      if (exchange === undefined || exchange.answering !== undefined) continue;
      await this.#identify(exchange);
      if (!isAside(exchange)) return exchange;
    }
    return undefined;
  }

  /** The other requests that were recorded before that one, in the recorded order. */
  #asidesUntil(act: Exchange | undefined): readonly Exchange[] {
    const before = this.#ahead.findIndex(({ exchange }) => exchange === act);
    const ahead = this.#ahead
      .slice(0, before === -1 || act === undefined ? undefined : before)
      .flatMap(({ exchange }) =>
        exchange !== undefined && exchange.answering === undefined
          ? [exchange]
          : [],
      );
    return [...this.#asides, ...new Set(ahead)];
  }

  /** Sets the exchange aside until the client sends its request, so that later messages need not wait. */
  #keep(exchange: Exchange): void {
    if (!this.#asides.includes(exchange)) this.#asides.push(exchange);
    const others: Item[] = [];
    for (const item of this.#ahead.splice(0)) {
      if (item.exchange === exchange) exchange.kept.push(item.message);
      else others.push(item);
    }
    this.#ahead.push(...others);
  }

  #described(next: Exchange | undefined): string {
    if (next === undefined) return "no more requests were recorded";
    if (next.code === undefined)
      return `the next recorded request is a ${next.msg_type}`;
    return `the next recorded request is ${quoted(next.code)}`;
  }

  // The recording

  /** Reads until more than `at` messages are ahead. Resolves with false if the kernel ends before. */
  async #reach(at: number): Promise<boolean> {
    while (this.#ahead.length <= at && !this.#isRead) {
      const next = await this.#source.next();
      if (next.done === true) this.#isRead = true;
      else this.#note(next.value);
    }
    return this.#ahead.length > at;
  }

  #note(event: SessionEvent): void {
    if (event.kind === "exited") {
      this.#exited = event;
      this.#isRead = true;
    }
    if (event.kind !== "jupyter") return;
    const { parent_header } = event;
    if (parent_header === null) {
      this.#ahead.push({ exchange: undefined, message: event });
      return;
    }
    const exchange = this.#exchangeOf(parent_header);
    exchange.isOver ||= isOfServer(event);
    if (exchange.isOver) return;
    learn(exchange, event);
    this.#ahead.push({ exchange, message: event });
  }

  #exchangeOf({
    msg_id,
    msg_type,
  }: NonNullable<JupyterEvent["parent_header"]>): Exchange {
    const known = this.#exchanges.get(msg_id);
    if (known !== undefined) return known;
    const exchange: Exchange = {
      msg_id,
      msg_type,
      code: undefined,
      isAborted: false,
      isKnown: msg_type !== "execute_request",
      isOver: false,
      kept: [],
      answering: undefined,
    };
    this.#exchanges.set(msg_id, exchange);
    return exchange;
  }

  async #identify(exchange: Exchange): Promise<void> {
    for (
      let at = this.#ahead.length;
      !exchange.isKnown && (await this.#reach(at));
      at = this.#ahead.length
    );
  }

  // Sending

  /** What must happen before the message may be sent. */
  #obstacleTo(
    message: JupyterEvent,
    answering: Answering | undefined,
  ): (() => Promise<unknown>) | undefined {
    if (answering !== undefined) {
      const { signal } = answering.io;
      if (signal.aborted && !answering.isErrorSent) {
        answering.cut ??= signal.reason as KernelError;
      }
      if (answering.cut !== undefined) return undefined;
      const waitsForInterrupt = isInterruption(message) && !signal.aborted;
      if (answering.isAsking || waitsForInterrupt) {
        this.#anchor = undefined;
        return () => new Promise(() => {}); // a change ends the wait
      }
    }
    const left_ms = this.#timeUntil(message, answering);
    if (left_ms <= 0) return undefined;
    return () => {
      const awake = new AbortController();
      void this.#change.promise.then(() => awake.abort());
      return this.#clock.sleep(left_ms, awake.signal).catch(() => {}); // there was a change
    };
  }

  /** Milliseconds until the message is due; 0 if a client waits for a later message. */
  #timeUntil(message: JupyterEvent, answering: Answering | undefined): number {
    const { speed } = this.#recorded;
    const date = Date.parse(message.header.date ?? "");
    if (speed === Infinity || Number.isNaN(date)) return 0;
    const isAwaited = [...this.#open].some(({ isBegun }) => !isBegun);
    if (isAwaited || answering?.isBegun === false) this.#anchor = undefined;
    this.#anchor ??= { date, at: this.#clock.now() };
    return (
      (date - this.#anchor.date) / speed - (this.#clock.now() - this.#anchor.at)
    );
  }

  async #sendWithoutParent(message: JupyterEvent): Promise<void> {
    const content = this.ids.translate(message, undefined);
    const { msg_type } = message.header;
    await this.#kernel?.publish(msg_type, content, extraOf(message));
  }

  async #sendRecorded(
    message: JupyterEvent,
    answering: Answering,
  ): Promise<void> {
    answering.isBegun = true;
    if (answering.cut === undefined) await this.#repeat(message, answering);
    else await this.#cutShort(message, answering);
    noteEnd(message, answering);
    if (answering.isReplied && answering.isIdle) this.#finish(answering);
  }

  async #repeat(message: JupyterEvent, answering: Answering): Promise<void> {
    const { channel, header } = message;
    const { io } = answering;
    const content = this.ids.translate(message, answering.content);
    const extra = extraOf(message);
    if (header.msg_type === "execute_input" && this.#kernel !== undefined) {
      this.#kernel.executionCount = Number(
        recordIn(content)["execution_count"],
      );
    }
    if (channel === "iopub") await io.publish(header.msg_type, content, extra);
    else if (channel !== "stdin") await io.reply(content, extra);
    else if (header.msg_type === "input_request") {
      this.#ask(message, answering);
    }
  }

  /** Sends an input request. Other messages need not wait for the answer. */
  #ask(message: JupyterEvent, answering: Answering): void {
    const { prompt, password } = recordIn(message.content);
    answering.isAsking = true;
    answering.io
      .input(String(prompt), password === true, extraOf(message))
      .catch((error: unknown) => {
        answering.cut ??= toKernelError(error);
      })
      .finally(() => {
        answering.isAsking = false;
        this.#notify();
      });
  }

  /** Ends an execution early, with the recorded end if it is an interrupt, else with the error. */
  async #cutShort(message: JupyterEvent, answering: Answering): Promise<void> {
    const { io, cut = new KernelError("KeyboardInterrupt", "") } = answering;
    const { channel, header } = message;
    if (isInterruption(message) && cut.ename === INTERRUPT) {
      answering.cut = undefined;
      answering.isErrorSent = true;
      await this.#repeat(message, answering);
      return;
    }
    const isEnd =
      isIdle(message) || (channel !== "iopub" && channel !== "stdin");
    const isBeginning =
      header.msg_type === "execute_input" || header.msg_type === "status";
    if (!isEnd) {
      if (isBeginning) await this.#repeat(message, answering);
      return;
    }
    const { ename, evalue, traceback } = cut;
    const failed = { ename, evalue, traceback };
    const isExecution = io.request.header.msg_type === "execute_request";
    if (isExecution && !io.silent && !answering.isErrorSent) {
      await io.publish("error", failed);
    }
    answering.isErrorSent = true;
    if (channel === "iopub") await this.#repeat(message, answering);
    else {
      const execution_count = this.#kernel?.executionCount ?? null;
      await io.reply({ status: "error", execution_count, ...failed });
    }
  }

  #finish(answering: Answering): void {
    if (this.#open.delete(answering)) answering.finish();
  }

  /** Ends open requests with their recorded ends, which follow a little later. Other requests must not wait for these. */
  async #endOpen(): Promise<void> {
    if (this.#open.size === 0) return;
    await this.#reach(SEARCH_LIMIT);
    for (const answering of [...this.#open]) {
      const rest = this.#ahead.filter(
        ({ exchange, message }) =>
          exchange?.answering === answering && isOfEnd(message),
      );
      for (const item of rest) {
        if (!this.#open.has(answering)) break;
        this.#ahead.splice(this.#ahead.indexOf(item), 1);
        await this.#sendRecorded(item.message, answering);
      }
      this.#finish(answering);
    }
  }

  /** All messages were sent. A kernel that died during a request dies again. */
  async #finishAll(): Promise<void> {
    if (this.#exited !== undefined) {
      const { exit_code, signal } = this.#exited;
      if (this.#recorded.ends || this.#open.size > 0) {
        await this.#host.exit({
          exit_code,
          ...(signal !== null && { signal }),
        });
      }
    }
    for (const answering of [...this.#open]) this.#finish(answering);
  }

  /** The recording cannot be read: every request is answered with an error. */
  async #failAll(error: unknown): Promise<void> {
    const cause = error instanceof Error ? error.message : String(error);
    this.#expected = `the recording cannot be read: ${cause}`;
    for (const answering of [...this.#open]) {
      const failed = this.refusal("What followed");
      const { ename, evalue, traceback } = failed;
      await answering.io.publish("error", { ename, evalue, traceback });
      await answering.io.reply({ status: "error", ename, evalue, traceback });
      await answering.io.publish("status", { execution_state: "idle" });
      this.#finish(answering);
    }
    while (!this.#isOver) {
      const changed = this.#change.promise;
      for (const { resolve } of this.#requests.splice(0)) resolve(false);
      await changed;
    }
  }
}

/** The events of kernel number `run` of the session, or of the last kernel if there were fewer. */
async function* eventsOfKernel(
  { events }: Recording,
  run: number,
): AsyncGenerator<SessionEvent, void> {
  let life = run === 0 ? 0 : Math.min(run, (await kernelCount(events())) - 1);
  for await (const event of events()) {
    if (life === 0) yield event;
    if (event.kind === "exited" && (life -= 1) < 0) return;
  }
}

async function kernelCount(events: ReturnType<Recording["events"]>) {
  let lives = 1;
  let isOver = false;
  for await (const { kind } of events) {
    if (kind === "exited") isOver = true;
    if (kind !== "jupyter" || !isOver) continue;
    isOver = false;
    lives += 1;
  }
  return lives;
}

function learn(exchange: Exchange, message: JupyterEvent): void {
  const { header } = message;
  const content = recordIn(message.content);
  if (header.msg_type === "execute_input") {
    exchange.code = String(content["code"]);
    exchange.isKnown = true;
  }
  if (header.msg_type === "execute_reply") {
    exchange.isAborted ||= content["status"] === "aborted";
    exchange.isKnown = true;
  }
}

/** Whether the request is neither an execution nor a comm message: it may arrive later than recorded, or never. */
function isAside({ msg_type, code }: Exchange): boolean {
  return code === undefined && !isComm(msg_type);
}

function isComm(msg_type: string): boolean {
  return msg_type.startsWith("comm_") && !msg_type.endsWith("_request");
}

/** Whether the server sent this reply for a kernel that had ended. The server will send it again. */
function isOfServer({ header, content }: JupyterEvent): boolean {
  return (
    header.msg_type === "execute_reply" &&
    recordIn(content)["reason"] === "kernel_exited"
  );
}

const INTERRUPT = "KeyboardInterrupt";

/** Whether an interrupt caused this message. The replay waits for an interrupt before it sends it. */
function isInterruption({ header, content }: JupyterEvent): boolean {
  return (
    recordIn(content)["ename"] === INTERRUPT &&
    (header.msg_type === "error" || header.msg_type === "execute_reply")
  );
}

function isIdle({ header, content }: JupyterEvent): boolean {
  return (
    header.msg_type === "status" &&
    recordIn(content)["execution_state"] === "idle"
  );
}

function isOfEnd(message: JupyterEvent): boolean {
  const { channel } = message;
  return isIdle(message) || channel === "shell" || channel === "control";
}

function noteEnd(message: JupyterEvent, answering: Answering): void {
  if (isIdle(message)) answering.isIdle = true;
  else if (isOfEnd(message)) answering.isReplied = true;
}

function toKernelError(error: unknown): KernelError {
  return error instanceof KernelError
    ? error
    : new KernelError("ReplayError", String(error));
}

function pending() {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => (resolve = settle));
  return { promise, resolve: () => resolve() };
}

/** The beginning of the code, quoted, so that a reader can recognize it. */
export function quoted(code: string): string {
  return JSON.stringify(
    code.length > MAX_QUOTE ? `${code.slice(0, MAX_QUOTE)}…` : code,
  );
}

/** The parts of the message besides its content. */
function extraOf({ header, metadata, buffers }: JupyterEvent): Extra {
  const { version } = header;
  return {
    metadata: recordIn(metadata),
    buffers: buffers.map(fromBase64),
    ...(version !== undefined && { version }),
  };
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
