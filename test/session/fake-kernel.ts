/**
 * A kernel without a process or sockets: it records the messages that it gets,
 * and sends messages when a test calls its methods, at once and in that order.
 */
import type { Duplex } from "node:stream";
import { onTestFinished } from "vitest";
import {
  type ConnectionInfo,
  failure,
  NO_POLICY,
} from "../../contract/index.ts";
import { request } from "../../src/jupyter/client-message.ts";
import { FramesRefused } from "../../src/jupyter/admission.ts";
import { FrameReader, Signer, toFrames } from "../../src/jupyter/frames.ts";
import { compose, contentOf, type Message } from "../../src/jupyter/message.ts";
import type { Exit } from "../../src/host/exit.ts";
import type {
  ShellState,
  Hooks,
  Kernel,
  LimitsChange,
  Provisioner,
  Recipe,
} from "../../src/kernel/kernel.ts";
import { silentLog } from "../../src/log/log.ts";
import { Faults } from "../../src/log/faults.ts";
import type { Entry } from "../../src/journal/entry.ts";
import { DiskBudget } from "../../src/journal/disk-budget.ts";
import { MemoryBudget } from "../../src/journal/memory-budget.ts";
import type { Telemetry } from "../../src/telemetry/telemetry.ts";
import { Session } from "../../src/session/session.ts";
import type { SessionSpec } from "../../src/session/spec.ts";

const NO_KEY = new Signer("");

export class FakeKernel implements Kernel {
  readonly pid = 4711;
  readonly missesInterrupts = true;
  readonly connection = CONNECTION;
  readonly info = { status: "ok", language_info: { name: "fake" } };
  readonly exited: Promise<Exit>;
  readonly sent: Message[] = [];
  /** The number of interrupts. */
  interrupts = 0;
  /** Whether it accepts no more messages. */
  refusesMessages = false;
  /** Whether interrupts fail. */
  refusesInterrupts = false;
  /** Whether a request to shut down has no effect until `die` is called. */
  ignoresShutdown = false;
  /** Whether even a kill does not end it. */
  survivesKill = false;
  /** Whether a message is on its way. */
  sends = false;
  cwd: string | undefined;
  /** The changes of its limits. */
  readonly limits: LimitsChange[] = [];
  /** Connects to a port of its place. */
  place = (port: number): Promise<Duplex> =>
    Promise.reject(
      failure("port_unreachable", {
        session_id: "",
        port,
        why: "no program listens on it",
      }),
    );
  /** Settles the start that waits for it. */
  readonly answered: Promise<undefined>;
  readonly #hooks: Hooks;
  readonly #resolveExit: (exit: Exit) => void;
  readonly #resolveAnswer: (nothing: undefined) => void;

  constructor(hooks: Hooks) {
    this.#hooks = hooks;
    const exit = deferred<Exit>();
    const answer = deferred<undefined>();
    this.exited = exit.promise;
    this.answered = answer.promise;
    this.#resolveExit = exit.resolve;
    this.#resolveAnswer = answer.resolve;
  }

  /** Answers for the first time: its start succeeds. */
  answer(): void {
    this.#resolveAnswer(undefined);
  }

  /** Reports the state of its main shell, as after the first request. */
  settle(state: ShellState): void {
    this.#hooks.state(state);
  }

  /** The messages that it got: code, or else types. */
  get received(): string[] {
    return this.sent.map((message) => {
      const { code } = contentOf(message) as { code?: string };
      return code ?? message.header.msg_type;
    });
  }

  emit(
    msg_type: string,
    content: unknown,
    parent?: Message,
    channel: Message["channel"] = "iopub",
  ): Message {
    const message = compose({
      channel,
      msg_type,
      content,
      session: "kernel",
      username: "kernel",
      parent,
    });
    this.#hooks.message(message);
    return message;
  }

  /** Sends a message unchanged. */
  deliver(message: Message): void {
    this.#hooks.message(message);
  }

  /** Sends content as these bytes, on the way of all kernel messages. */
  write(
    msg_type: string,
    content: string | Uint8Array,
    parent?: Message,
    channel: Message["channel"] = "iopub",
  ): void {
    const message = compose({
      channel,
      msg_type,
      content: {},
      session: "kernel",
      username: "kernel",
      parent,
    });
    const frames = toFrames(
      { ...message, raw: { ...message.raw, content: Buffer.from(content) } },
      NO_KEY,
    );
    try {
      this.#hooks.message(new FrameReader(NO_KEY).read(frames, channel));
    } catch (error) {
      if (!(error instanceof FramesRefused && error.refusal)) throw error;
      this.#hooks.refused(error.refusal);
    }
  }

  /** A message of this size arrives, and is skipped. */
  overflow(channel: Message["channel"], size: number): void {
    this.#hooks.tooLarge(channel, size);
  }

  busy(parent: Message): void {
    this.emit("status", { execution_state: "busy" }, parent);
  }

  idle(parent: Message): void {
    this.emit("status", { execution_state: "idle" }, parent);
  }

  reply(parent: Message, content: object = { status: "ok" }): void {
    const msg_type = parent.header.msg_type.replace("_request", "_reply");
    this.emit(msg_type, content, parent, "shell");
  }

  print(text: string, parent: Message): void {
    this.emit("stream", { name: "stdout", text }, parent);
  }

  fail(parent: Message, ename = "Oops"): void {
    const error = { ename, evalue: "", traceback: [] };
    this.emit("error", error, parent);
    this.reply(parent, { status: "error", ...error });
    this.idle(parent);
  }

  /** Runs a request from busy to idle. */
  run(parent: Message, execution_count = 1): void {
    this.busy(parent);
    this.reply(parent, { status: "ok", execution_count });
    this.idle(parent);
  }

  ask(parent: Message, prompt: string): Message {
    return this.emit("input_request", { prompt }, parent, "stdin");
  }

  beat(beats: boolean): void {
    this.#hooks.heartbeat(beats);
  }

  die(exit_code = 0, signal: string | null = null): void {
    const exit = { exit_code, signal, output: "" };
    this.#hooks.exited(exit);
    this.#resolveExit(exit);
  }

  send(message: Message): void {
    if (this.refusesMessages) {
      throw failure("kernel_unreachable", {
        session_id: "",
        why: "it does not read",
      });
    }
    this.sent.push(message);
  }

  interrupt(): Promise<void> {
    if (this.refusesInterrupts) {
      const why = "it is beyond reach";
      return Promise.reject(
        failure("interrupt_failed", { session_id: "", why }),
      );
    }
    this.interrupts += 1;
    return Promise.resolve();
  }

  stop(): Promise<Exit> {
    if (this.survivesKill) {
      const why = "it is still there";
      return Promise.reject(
        failure("process_not_found", { session_id: "", why }),
      );
    }
    if (!this.ignoresShutdown) this.die(0);
    return this.exited;
  }

  kill(): Promise<void> {
    this.die(-1, "SIGKILL");
    return Promise.resolve();
  }

  forward(port: number): Promise<Duplex> {
    return this.place(port);
  }

  resize(change: LimitsChange): Promise<void> {
    if (change.cpus !== undefined) {
      const why = "`cpus` stays as it is, because this is a fake";
      return Promise.reject(failure("bad_configuration", { why }));
    }
    this.limits.push(change);
    this.#hooks.resized?.(change);
    return Promise.resolve();
  }

  isReceiving(): Promise<boolean> {
    return Promise.resolve(this.sends);
  }

  workingDirectory(): string | undefined {
    return this.cwd;
  }
}

export class FakeProvisioner implements Provisioner {
  readonly kernels: FakeKernel[] = [];
  readonly recipes: Recipe[] = [];
  /** Whether starts wait until `answer` is called. */
  isSlow = false;
  /** Whether kernels do not report idle after their first answer. */
  omitsIdle = false;

  /** The last launched kernel. */
  get kernel(): FakeKernel {
    const kernel = this.kernels.at(-1);
    if (kernel === undefined) throw new Error("Nothing was launched");
    return kernel;
  }

  async launch(
    recipe: Recipe,
    hooks: Hooks,
    signal: AbortSignal,
  ): Promise<Kernel> {
    this.recipes.push(recipe);
    const kernel = new FakeKernel(hooks);
    this.kernels.push(kernel);
    hooks.launched({
      pid: kernel.pid,
      environment: {},
      working_directory: recipe.working_directory,
      connection_file: undefined,
      kill: undefined,
    });
    if (!this.isSlow) kernel.answer();
    const given = deferred<never>();
    signal.addEventListener("abort", () => {
      kernel.die(-1, "SIGKILL");
      given.reject(signal.reason as Error);
    });
    const died = kernel.exited.then(({ exit_code }) => {
      const why = `exit code ${exit_code}`;
      throw failure("exited_during_start", { session_id: "", why });
    });
    died.catch(() => {}); // a kernel may also exit after its start
    await Promise.race([kernel.answered, given.promise, died]);
    if (!this.omitsIdle) kernel.settle("idle");
    return kernel;
  }

  adopt(
    recipe: Recipe,
    _: ConnectionInfo,
    hooks: Hooks,
    signal: AbortSignal,
  ): Promise<Kernel> {
    return this.launch(recipe, hooks, signal);
  }

  reserve(): Promise<ConnectionInfo> {
    return Promise.resolve(CONNECTION);
  }

  release(): void {}
}

const CONNECTION: ConnectionInfo = {
  control_port: 1,
  shell_port: 2,
  stdin_port: 3,
  hb_port: 4,
  iopub_port: 5,
  signature_scheme: "hmac-sha256",
  key: "",
  transport: "tcp",
  ip: "127.0.0.1",
};

export const SPEC: SessionSpec = {
  kernel_id: "5d1a0b9e-6c56-4b0e-8f7d-2b6e2c1f4a10",
  session_id: "s",
  argv: ["fake"],
  display_name: "Fake",
  language: "fake",
  username: "tester",
  interrupt_mode: "signal",
  session_mode: "console",
  working_directory: "/",
  notebook_uri: undefined,
  input_prompt: "",
  continuation_prompt: "",
  env: [],
  spec_env: undefined,
  connection_timeout: 30,
  protocol_version: "5.3",
  startup_environment: "none",
  startup_environment_arg: undefined,
  kernel_name: undefined,
  workspace_id: undefined,
  labels: {},
  policy: NO_POLICY,
  key: "",
};

/** A session whose kernels are fakes; disposed of after the test. */
export function newSession({
  argv = SPEC.argv,
  memory = 1024 * 1024,
  changed,
  telemetry,
}: {
  argv?: readonly string[];
  memory?: number;
  changed?: (session: Session) => void;
  telemetry?: Telemetry;
} = {}): {
  session: Session;
  provisioner: FakeProvisioner;
} {
  const provisioner = new FakeProvisioner();
  const session = new Session(
    { ...SPEC, argv },
    {
      provisioner,
      ...(changed !== undefined && { changed }),
      ...(telemetry !== undefined && { telemetry }),
      log: silentLog(),
      faults: new Faults(silentLog()),
      journal: {
        memory,
        disk: 0, // what memory cannot hold is forgotten
        budget: new MemoryBudget(64 * 1024 * 1024),
        diskBudget: new DiskBudget(0),
        directory: () => {
          throw new Error("Nothing is written down");
        },
      },
    },
  );
  onTestFinished(() => session.dispose());
  return { session, provisioner };
}

/** The same, with a kernel that is ready. */
export async function startedSession(): Promise<{
  session: Session;
  provisioner: FakeProvisioner;
  kernel: FakeKernel;
}> {
  const { session, provisioner } = newSession();
  await session.start();
  return { session, provisioner, kernel: provisioner.kernel };
}

/** An execute request as a client sends it. */
export function code(
  text: string,
  content: Readonly<Record<string, unknown>> = {},
): Message {
  return request("execute_request", { code: text, ...content }, SPEAKER);
}

export function message(
  msg_type: string,
  channel: "shell" | "control" = "shell",
): Message {
  return request(msg_type, { of: msg_type }, { ...SPEAKER, channel });
}

const SPEAKER = { session: "client", username: "tester", version: "5.3" };

/** The journal's entries in memory after number `after`. */
export function entriesIn(session: Session, after = 0): Entry[] {
  const entries: Entry[] = [];
  for (let seen = after; seen < session.journal.last;) {
    const reading = session.journal.read(seen);
    if (reading === undefined || !("entries" in reading)) break;
    entries.push(...reading.entries);
    seen = reading.entries.last;
  }
  return entries;
}

/** The entries of the session after number `after`, in short: `busy`, `exited 1`, `execution done`, `iopub stream`, `shell execute_reply aborted`. */
export function summaryOf(session: Session, after = 0): string[] {
  return entriesIn(session, after).map((entry) => {
    if (!entry.isEvent) {
      const { status, execution_state } = entry.content as Record<
        string,
        string | undefined
      >;
      const state = status ?? execution_state;
      const name = `${entry.channel} ${entry.msg_type}`;
      return state === undefined ? name : `${name} ${state}`;
    }
    const { event } = entry;
    switch (event.kind) {
      case "status":
        return event.status;
      case "exited":
        return `exited ${event.exit_code}`;
      case "execution":
        return `execution ${event.state}`;
      default:
        return event.kind;
    }
  });
}

function deferred<T>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (reason: Error) => void;
} {
  let resolve: (value: T) => void = () => {};
  let reject: (reason: Error) => void = () => {};
  const promise = new Promise<T>((settle, fail) => {
    resolve = settle;
    reject = fail;
  });
  promise.catch(() => {}); // the caller that waits gets the rejection
  return { promise, resolve, reject };
}
