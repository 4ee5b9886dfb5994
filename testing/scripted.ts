/**
 * Runs a script: converts a mock kernel's description to a kernel definition,
 * which runs both in memory and as a process. The host does what only a process
 * can do: exit, print, stop the heartbeat.
 */
import { contents } from "../contract/index.ts";
import { type Content, type Io, KernelError } from "../kernels/io.ts";
import {
  type ReplyContent,
  type KernelDefinition,
  NO_REPLY,
} from "../kernels/kernel.ts";
import {
  type LineHistory,
  lineHistory,
} from "../kernels/python-wasm/history.ts";
import { systemClock, turn } from "./clock.ts";
import type { MockKernel, MockKernelOptions } from "./mock-kernel.ts";
import type { MockHost } from "./mock-host.ts";
import { quoted, Replay } from "./replay.ts";
import type {
  CommCall,
  ExecuteCall,
  Flood,
  Reaction,
  Scripted,
  Step,
} from "./steps.ts";

/** The definition for one run of the kernel, with fresh state. */
export function definitionOf(
  { options, recorded }: MockKernel,
  host: MockHost,
): KernelDefinition {
  const { clock = systemClock, ids = () => crypto.randomUUID() } = options;
  const { faults = {} } = options;
  const replay =
    recorded === undefined ? undefined : new Replay(recorded, { clock, host });
  const run: ScriptRun = {
    options,
    host,
    replay,
    history: lineHistory(),
    comms: new Map(),
    idleOmitted: new Set(),
    held: undefined,
  };
  return {
    kernelInfo: kernelInfoOf(options, recorded?.recording.kernel_info),
    handlers: handlersOf(run),
    stamp: () => ({
      msg_id: ids(),
      date: new Date(clock.now()).toISOString(),
    }),
    accepts: ({ header: { msg_type } }) =>
      !(faults.ignoresShutdown === true && msg_type === "shutdown_request") &&
      (faults.unresponsive === undefined ||
        (faults.unresponsive !== true &&
          !faults.unresponsive.includes(msg_type))),
    publishesStatus: (state, { header }) =>
      state === "busy" || !run.idleOmitted.delete(header.msg_id),
    ...(replay !== undefined && { answerAll: replay.answerAll }),
  };
}

/** The state of one run of the kernel. */
interface ScriptRun {
  readonly options: MockKernelOptions;
  readonly host: MockHost;
  readonly replay: Replay | undefined;
  readonly history: LineHistory;
  /** The target_name of each open comm, by comm_id. */
  readonly comms: Map<string, string>;
  /** Executions whose `idle` status is not sent. */
  readonly idleOmitted: Set<string>;
  /** With the fault `repliesOutOfOrder`: an answer that waits for the next one. */
  held: (() => Promise<void>) | undefined;
}

function handlersOf(run: ScriptRun): KernelDefinition["handlers"] {
  const { options } = run;
  const { shutdown, interrupt } = options;
  return {
    execute: (request, io) => execute(run, request, io),
    complete: (content) => {
      if (options.complete === undefined) refuse(run, "this complete_request");
      return completion(options.complete, content);
    },
    inspect: (content) => {
      if (options.inspect === undefined) refuse(run, "this inspect_request");
      return inspection(options.inspect, content);
    },
    is_complete: ({ code }) => {
      if (options.is_complete === undefined) {
        refuse(run, "this is_complete_request");
      }
      return options.is_complete?.(String(code)) ?? { status: "complete" };
    },
    history: (content) => {
      if (options.history === undefined) refuse(run, "this history_request");
      return options.history?.(content) ?? run.history.answer(content);
    },
    comm_info: ({ target_name }) => commInfo(run, target_name),
    comm: (content, io) => onComm(run, content, io),
    other: (content, { request: { header } }) =>
      options.other?.(header.msg_type, content) ?? NO_REPLY,
    ...(interrupt !== undefined && { interrupt }),
    ...(shutdown !== undefined && { shutdown }),
  };
}

/** Throws `NotRecorded` if this kernel replays a recording. */
function refuse({ replay }: ScriptRun, what: string): void {
  const refusal = replay?.refusal(what);
  if (refusal !== undefined) throw refusal;
}

async function execute(
  run: ScriptRun,
  request: Pick<
    ExecuteCall,
    "code" | "silent" | "allow_stdin" | "user_expressions"
  > & { readonly store_history: boolean },
  io: Io,
): Promise<ReplyContent> {
  const { code } = request;
  const { faults = {} } = run.options;
  if (faults.neverIdle === true) omitIdle(run, io);
  if (request.store_history) run.history.add(io.execution_count, code);
  const [reaction, match] = reactionTo(run, code);
  const acting = actingOn(io);
  const call: ExecuteCall = {
    ...request,
    match,
    execution_count: io.execution_count,
    env: run.host.env,
    signal: io.signal,
    input: (prompt, { password = false } = {}) => io.input(prompt, password),
    perform: (...steps) => perform(run, steps, call, acting),
  };
  await perform(run, reaction, call, acting);
  const late = acting.late_ms ?? faults.replyDelay_ms;
  if (acting.isUnanswered) return NO_REPLY;
  if (late === undefined && faults.repliesOutOfOrder !== true)
    return acting.reply;
  const content = {
    status: "ok",
    execution_count: io.execution_count,
    user_expressions: {},
    payload: [],
    ...acting.reply,
  };
  const answer = () => io.reply(content);
  if (late !== undefined) void sleep(run, late).then(answer);
  else await inDisorder(run, answer);
  return NO_REPLY;
}

/** Holds the first of two answers back until the second was sent. */
async function inDisorder(
  run: ScriptRun,
  answer: () => Promise<void>,
): Promise<void> {
  const first = run.held;
  run.held = first === undefined ? answer : undefined;
  if (first === undefined) return;
  await answer();
  await first();
}

function reactionTo(
  run: ScriptRun,
  code: string,
): [Reaction, RegExpExecArray | undefined] {
  for (const [pattern, reaction] of entriesOf(run.options.on)) {
    if (pattern === code) return [reaction, undefined];
    if (typeof pattern === "string") continue;
    pattern.lastIndex = 0; // a global or sticky pattern keeps its last position
    const match = pattern.exec(code);
    if (match !== null) return [reaction, match];
  }
  const { otherwise } = run.options;
  if (otherwise === undefined) refuse(run, quoted(code));
  return [otherwise ?? notScripted(code), undefined];
}

async function onComm(run: ScriptRun, content: Content, io: Io): Promise<void> {
  const msg_type = io.request.header.msg_type as CommCall["msg_type"];
  const comm_id = String(content["comm_id"]);
  if (msg_type === "comm_open") {
    run.comms.set(comm_id, String(content["target_name"]));
  }
  const target_name = run.comms.get(comm_id);
  if (msg_type === "comm_close") run.comms.delete(comm_id);
  const { comm = {} } = run.options;
  const reaction = comm[target_name ?? "*"] ?? comm["*"];
  if (reaction === undefined) {
    const refusal = run.replay?.refusal(`this ${msg_type}`);
    // A comm message has no reply. The error goes to stderr, where kernels report such errors.
    if (refusal !== undefined) await io.stream("stderr", refusal.message);
    return;
  }
  const acting = actingOn(io);
  const call: CommCall = {
    msg_type,
    comm_id,
    target_name,
    data: content["data"],
    metadata: JSON.parse(
      new TextDecoder().decode(io.request.raw.metadata),
    ) as unknown,
    buffers: io.request.buffers,
    env: run.host.env,
    signal: io.signal,
    perform: (...steps) => perform(run, steps, call, acting),
  };
  await perform(run, reaction, call, acting);
}

function commInfo(run: ScriptRun, target_name: unknown): Content {
  const target = typeof target_name === "string" ? target_name : undefined;
  const { comm_info } = run.options;
  if (comm_info !== undefined) return comm_info(target);
  const open = [...run.comms, ...(run.replay?.ids.open ?? [])].filter(
    ([, name]) => target === undefined || name === target,
  );
  return {
    comms: Object.fromEntries(
      open.map(([id, target]) => [id, { target_name: target }]),
    ),
  };
}

async function perform<C extends ExecuteCall | CommCall>(
  run: ScriptRun,
  reaction: Reaction<C>,
  call: C,
  acting: ReplyState,
): Promise<void> {
  const scripted: Scripted =
    typeof reaction === "function" ? reaction(call) : reaction;
  for await (const step of stepsOf(await scripted)) {
    const { step: delay = 0 } = run.options.delay ?? {};
    if (delay > 0) await sleep(run, delay, acting.io.signal);
    acting.io.signal.throwIfAborted();
    await act(run, step, call as ExecuteCall, acting);
  }
}

async function act(
  run: ScriptRun,
  step: Step,
  call: ExecuteCall,
  acting: ReplyState,
): Promise<void> {
  const { io } = acting;
  switch (step.step) {
    case "publish": {
      const { msg_type, content, ...extra } = step;
      assertAllowed(msg_type, content);
      noteComm(run, msg_type, content);
      return io.publish(msg_type, content, extra);
    }
    case "result": {
      const { data, metadata, buffers } = step;
      const { execution_count } = io;
      return io.publish(
        "execute_result",
        { data, metadata, execution_count },
        { buffers },
      );
    }
    case "error":
      throw new KernelError(step.ename, step.evalue, step.traceback);
    case "input": {
      const value = await io.input(step.prompt, step.password);
      if (step.next === undefined) return;
      return perform(run, step.next(value), call, acting);
    }
    case "answer":
      acting.reply = { ...acting.reply, ...step.content };
      return;
    case "wait":
      return sleep(run, step.ms, io.signal);
    case "print":
      return run.host.print(step.stream, step.text);
    case "background":
      void perform(run, step.reaction, call, acting).catch(() => {}); // like a thread: its errors end nothing else
      return;
    case "flood":
      return publishFlood(run, step.flood, io);
    case "exit":
      return run.host.exit(step.ending);
    case "hang":
      return step.isUninterruptible
        ? new Promise(() => {})
        : aborted(io.signal);
    case "heartbeat":
      run.host.heartbeat(step.beats);
      return;
    case "omit":
      if (step.what === "idle") omitIdle(run, io);
      else acting.isUnanswered = true;
      return;
    case "answer late":
      acting.late_ms = step.ms;
      return;
    case "broken":
      return run.host.broken(step.how, io);
  }
}

async function publishFlood(
  run: ScriptRun,
  { count, rate, text = (i) => `${i}\n` }: Flood,
  io: Io,
): Promise<void> {
  for (let i = 1; i <= count; i += 1) {
    io.signal.throwIfAborted();
    if (rate !== undefined) await sleep(run, 1000 / rate, io.signal);
    await io.stream("stdout", text(i));
    if (i % MESSAGES_PER_TURN === 0) await turn(); // so that other work can run
  }
}

function omitIdle(run: ScriptRun, io: Io): void {
  run.idleOmitted.add(io.request.header.msg_id);
}

function noteComm(
  { comms }: ScriptRun,
  msg_type: string,
  content: unknown,
): void {
  const { comm_id, target_name } = content as Record<string, unknown>;
  if (msg_type === "comm_open") {
    comms.set(String(comm_id), String(target_name));
  }
  if (msg_type === "comm_close") comms.delete(String(comm_id));
}

function sleep(
  { options }: ScriptRun,
  ms: number,
  signal?: AbortSignal,
): Promise<void> {
  return (options.clock ?? systemClock).sleep(ms, signal);
}

/** The number of messages of a flood between two turns of the event loop. */
const MESSAGES_PER_TURN = 500;

/** The state of a request that is being answered. */
interface ReplyState {
  readonly io: Io;
  reply: Content;
  isUnanswered: boolean;
  late_ms: number | undefined;
}

function actingOn(io: Io): ReplyState {
  return { io, reply: {}, isUnanswered: false, late_ms: undefined };
}

function entriesOf(on: MockKernelOptions["on"]) {
  if (on === undefined) return [];
  if (Symbol.iterator in on) {
    return on as Iterable<readonly [string | RegExp, Reaction]>;
  }
  return Object.entries(on);
}

function notScripted(code: string): Reaction {
  const evalue = `the mock kernel has no script for ${JSON.stringify(code)}`;
  return { step: "error", ename: "NotScripted", evalue, traceback: undefined };
}

async function* stepsOf(scripted: Awaited<Scripted>): AsyncGenerator<Step> {
  if (scripted === undefined) return;
  if (isStep(scripted)) yield scripted;
  else yield* scripted;
}

function isStep(value: object): value is Step {
  return "step" in value;
}

/** Throws a `TypeError` if the contract does not allow this content. */
function assertAllowed(msg_type: keyof typeof contents, content: unknown) {
  const parsed = contents[msg_type].safeParse(content);
  if (parsed.success) return;
  throw new TypeError(
    `The script publishes a ${msg_type} that the contract does not allow: ${parsed.error.message}`,
  );
}

function kernelInfoOf(
  { language, kernel_info, display_name }: MockKernelOptions,
  recorded: Readonly<Record<string, unknown>> = {},
): KernelDefinition["kernelInfo"] {
  const named = typeof language === "string" ? { name: language } : language;
  const language_info = {
    name: "mock",
    version: "1.0",
    mimetype: "text/plain",
    file_extension: ".txt",
    ...(recorded["language_info"] as object | undefined),
    ...(kernel_info?.language_info as object | undefined),
    ...named,
  };
  return {
    protocol_version: "5.3",
    implementation: "kallichore-mock",
    implementation_version: "1.0",
    banner: display_name ?? `A mock of ${language_info.name}`,
    ...recorded,
    ...(kernel_info as object | undefined),
    language_info,
  };
}

function completion(
  complete: MockKernelOptions["complete"],
  content: Content,
): Content | undefined {
  const call = cursorIn(content);
  if (typeof complete === "function") return complete(call);
  const word = wordBefore(call);
  const length = Array.from(word).length;
  return {
    matches: (complete ?? []).filter((match) => match.startsWith(word)),
    cursor_start: call.cursor_pos - length,
    cursor_end: call.cursor_pos,
    metadata: {},
  };
}

function inspection(
  inspect: MockKernelOptions["inspect"],
  content: Content,
): Content | undefined {
  const call = cursorIn(content);
  if (typeof inspect === "function") return inspect(call);
  const code = Array.from(call.code);
  const after =
    /^[\p{L}\p{N}_]*/u.exec(code.slice(call.cursor_pos).join(""))?.[0] ?? "";
  const found = inspect?.[wordBefore(call) + after];
  if (found === undefined) return { found: false, data: {}, metadata: {} };
  const data = typeof found === "string" ? { "text/plain": found } : found;
  return { found: true, data, metadata: {} };
}

function cursorIn({ code = "", cursor_pos, detail_level = 0 }: Content) {
  const text = String(code);
  return {
    code: text,
    cursor_pos: Number(cursor_pos ?? Array.from(text).length),
    detail_level: Number(detail_level),
  };
}

function wordBefore({
  code,
  cursor_pos,
}: {
  code: string;
  cursor_pos: number;
}) {
  const before = Array.from(code).slice(0, cursor_pos).join("");
  return /[\p{L}\p{N}_.]*$/u.exec(before)?.[0] ?? "";
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}
