/**
 * A provisioner of mocked kernels in memory, without processes, sockets or
 * files. A session notices no difference, except that there is no process.
 */
import {
  type ConnectionInfo,
  failure,
  type Kernelspec,
} from "../contract/index.ts";
import type { Io } from "../kernels/io.ts";
import { Kernel as KernelSide } from "../kernels/kernel.ts";
import { admitted, FramesRefused } from "../src/jupyter/admission.ts";
import { compose, contentOf, type Message } from "../src/jupyter/message.ts";
import type { Exit } from "../src/host/exit.ts";
import type {
  Hooks,
  Kernel,
  LimitsChange,
  Provisioner,
  Recipe,
} from "../src/kernel/kernel.ts";
import { systemClock } from "./clock.ts";
import type { MockKernel } from "./mock-kernel.ts";
import { definitionOf } from "./scripted.ts";
import type { Breakage, Ending } from "./steps.ts";

/** Mock kernels by the name of their kernelspec. */
export type MockKernels = Readonly<Record<string, MockKernel>>;

/** How long a kernel may take to shut down before it is killed. */
const STOP_TIMEOUT_MS = 5_000;

/** Makes mocked kernels in memory, without processes, sockets or files. */
export class MockProvisioner implements Provisioner {
  readonly #kernels: MockKernels;
  readonly #running = new Set<RunningMock>();
  /** The number of kernels that each session has had. */
  readonly #runs = new Map<string, number>();
  #ports = 0;

  constructor(kernels: MockKernels) {
    this.#kernels = kernels;
  }

  /** The number of kernels that have not ended. */
  get running(): number {
    return this.#running.size;
  }

  async launch(
    recipe: Recipe,
    hooks: Hooks,
    signal: AbortSignal,
  ): Promise<Kernel> {
    return this.#begin(recipe, hooks, signal, {
      connection: recipe.connection ?? this.#connection(recipe),
      isAdopted: false,
    });
  }

  adopt(
    recipe: Recipe,
    connection: ConnectionInfo,
    hooks: Hooks,
    signal: AbortSignal,
  ): Promise<Kernel> {
    return this.#begin(recipe, hooks, signal, { connection, isAdopted: true });
  }

  async #begin(
    recipe: Recipe,
    hooks: Hooks,
    signal: AbortSignal,
    how: { connection: ConnectionInfo; isAdopted: boolean },
  ): Promise<Kernel> {
    const kernel = this.#mockOf(recipe);
    const { session_id } = recipe;
    const run = this.#runs.get(session_id) ?? 0;
    this.#runs.set(session_id, run + 1);
    const running = new RunningMock(kernel, { recipe, hooks, run, ...how });
    this.#running.add(running);
    void running.exited.then(() => this.#running.delete(running));
    await running.start(signal);
    return running;
  }

  /** Reserves no real ports: no socket uses the numbers. */
  reserve(recipe: Recipe): Promise<ConnectionInfo> {
    return Promise.resolve(this.#connection(recipe));
  }

  release(): void {}

  /** The kernel that the command names, else the one with the language, else the only one. */
  #mockOf({ session_id, argv, language }: Recipe): MockKernel {
    const named = argv
      .map((word) => /^mock:(.+)$/.exec(word)?.[1])
      .find((name) => name !== undefined);
    const all = Object.entries(this.#kernels);
    const byLanguage = all.find(
      ([, { options }]) => languageOf(options) === language,
    );
    const [, kernel] =
      all.find(([name]) => name === named) ??
      byLanguage ??
      (all.length === 1 ? all : [])[0] ??
      [];
    if (kernel !== undefined) return kernel;
    const why = `no mock kernel has the name ${named ?? "in the command"} or the language ${language}; available: ${all.map(([name]) => name).join(", ")}`;
    throw failure("start_failed", { session_id, why });
  }

  #connection({ key }: Recipe): ConnectionInfo {
    const first = 50_000 + ((this.#ports += 5) % 10_000);
    return {
      shell_port: first,
      iopub_port: first + 1,
      stdin_port: first + 2,
      control_port: first + 3,
      hb_port: first + 4,
      signature_scheme: "hmac-sha256",
      key,
      transport: "tcp",
      ip: "127.0.0.1",
    };
  }
}

/** The kernelspec of a mocked kernel. `program` takes the place of the interpreter. */
export function kernelspecOf(
  name: string,
  { options, recorded }: MockKernel,
  program = "kallichore-mock-kernel",
): Kernelspec {
  const language = languageOf(options, recorded?.recording.kernel_info);
  return {
    name,
    display_name: options.display_name ?? `${name} (mocked)`,
    language,
    argv: [program, `mock:${name}`, "{connection_file}"],
    interrupt_mode: options.interrupt_mode ?? "message",
    env: {},
    metadata: { ...options.metadata },
    resource_dir: "",
    resources: {},
    ...(options.registers !== undefined && { kernel_protocol_version: "5.5" }),
  };
}

function languageOf(
  { language }: MockKernel["options"],
  recorded?: Readonly<Record<string, unknown>>,
): string {
  if (typeof language === "string") return language;
  const { name } = language ??
    (recorded?.["language_info"] as { name?: string } | undefined) ?? {
      name: "mock",
    };
  return name ?? "mock";
}

type Content = Readonly<Record<string, unknown>>;

/** A request of this provisioner that waits for its reply. */
interface PendingRequest {
  readonly resolve: (content: Content) => void;
  readonly reject: (why: Error) => void;
}

interface MockRun {
  readonly recipe: Recipe;
  readonly hooks: Hooks;
  readonly connection: ConnectionInfo;
  readonly isAdopted: boolean;
  /** The number of this kernel in its session, from 0. */
  readonly run: number;
}

class RunningMock implements Kernel {
  readonly missesInterrupts = false;
  readonly pid = undefined;
  readonly connection: ConnectionInfo;
  readonly exited: Promise<Exit>;
  readonly #mock: MockKernel;
  readonly #run: MockRun;
  readonly #kernel: KernelSide;
  #info: Readonly<Record<string, unknown>> = {};
  #isOver = false;
  #settle: (exit: Exit) => void = () => {};
  /** This provisioner's own requests. The session does not receive their replies. */
  readonly #ownRequests = new Map<string, PendingRequest>();
  /** The id of the first own request, to the main shell. */
  #firstRequest: string | undefined;

  constructor(mock: MockKernel, run: MockRun) {
    this.#mock = mock;
    this.#run = run;
    this.connection = run.connection;
    this.exited = new Promise((resolve) => (this.#settle = resolve));
    const { ids } = mock.options;
    this.#kernel = new KernelSide(
      definitionOf(mock, {
        env: environmentOf(run.recipe),
        run: run.run,
        ended: this.exited,
        exit: (ending) => this.#die(ending),
        print: (stream, text) => this.#print(stream, text),
        heartbeat: (beats) => {
          if (!this.#isOver) run.hooks.heartbeat(beats);
        },
        broken: (how, io) => this.#break(how, io),
      }),
      {
        send: (message) => {
          this.#onMessage(message);
          return Promise.resolve();
        },
        end: () => this.#exit({ exit_code: 0 }),
      },
      ...(ids === undefined ? [] : [ids()]),
    );
  }

  get info(): Readonly<Record<string, unknown>> {
    return this.#info;
  }

  /** Resolves when the kernel has answered. If the start fails, nothing is left running. */
  async start(signal: AbortSignal): Promise<void> {
    const { recipe, hooks, isAdopted, connection } = this.#run;
    const { clock = systemClock, delay, faults = {} } = this.#mock.options;
    const { session_id } = recipe;
    hooks.launched({
      pid: undefined,
      environment: environmentOf(recipe),
      working_directory: recipe.working_directory,
      connection_file: undefined,
      kill: () => this.kill(),
    });
    const end = new AbortController();
    try {
      const deadline = AbortSignal.any([signal, end.signal]);
      if (delay?.start !== undefined) await clock.sleep(delay.start, deadline);
      if (faults.exitsAtStart !== undefined)
        throw this.#exitAtStart(faults.exitsAtStart);
      if (!isAdopted && this.#mock.options.registers !== undefined) {
        hooks.registered(connection);
      }
      const answer = this.#request("shell", "kernel_info_request", {});
      this.#info = await Promise.race([
        answer,
        startTimeout(recipe, clock, deadline),
        this.exited.then((exit) => {
          const why = `exit code ${exit.exit_code}`;
          throw failure("exited_during_start", { session_id, why });
        }),
      ]);
    } catch (error) {
      this.#exit({ signal: "SIGKILL" });
      throw error;
    } finally {
      end.abort();
    }
    if (faults.noHeartbeat === true) hooks.heartbeat(false);
  }

  send(message: Message): void {
    const { session_id } = this.#run.recipe;
    if (this.#isOver) {
      const why = "the connection is closed";
      throw failure("kernel_unreachable", { session_id, why });
    }
    // Not before the caller's code has finished: no real kernel answers during the send.
    queueMicrotask(() => {
      if (!this.#isOver) {
        void this.#kernel.receive({ ...message, identities: [] });
      }
    });
  }

  async interrupt(): Promise<void> {
    await this.#kernel.interrupt();
  }

  async stop(restart: boolean): Promise<Exit> {
    const { clock = systemClock } = this.#mock.options;
    if (!this.#isOver)
      void this.#request("control", "shutdown_request", { restart });
    const timeout = new AbortController();
    const late = clock.sleep(STOP_TIMEOUT_MS, timeout.signal).then(
      () => this.#exit({ signal: "SIGKILL" }),
      () => {}, // the kernel ended in time
    );
    await Promise.race([this.exited, late]);
    timeout.abort();
    return this.exited;
  }

  kill(): Promise<void> {
    this.#exit({ signal: "SIGKILL" });
    return Promise.resolve();
  }

  forward(port: number): Promise<never> {
    const { session_id } = this.#run.recipe;
    const why = "a mocked kernel has no ports";
    return Promise.reject(
      failure("port_unreachable", { session_id, port, why }),
    );
  }

  /** A mocked kernel uses nothing of what is limited. */
  resize(change: LimitsChange): Promise<void> {
    this.#run.hooks.resized?.(change);
    return Promise.resolve();
  }

  workingDirectory(): undefined {
    return undefined;
  }

  #request(
    channel: "shell" | "control",
    msg_type: string,
    content: Readonly<Record<string, unknown>>,
  ): Promise<Content> {
    const { session_id, username } = this.#run.recipe;
    const request = compose({
      channel,
      msg_type,
      content,
      session: session_id,
      username,
    });
    const reply = new Promise<Content>((resolve, reject) => {
      this.#firstRequest ??= request.header.msg_id;
      this.#ownRequests.set(request.header.msg_id, { resolve, reject });
      this.send(request);
    });
    reply.catch(() => {}); // the caller may ignore the reply
    return reply;
  }

  /** kernel → session */
  #onMessage(message: Message): void {
    if (this.#isOver) return;
    const parent_id = message.parent_header?.msg_id ?? "";
    const own = this.#ownRequests.get(parent_id);
    if (own === undefined) this.#deliver(message);
    else if (message.channel !== "iopub") {
      const content = contentOf(message);
      if (content !== undefined) own.resolve(content);
      else own.reject(this.#unusable(message.header.msg_type));
    } else if (parent_id === this.#firstRequest && isIdle(message)) {
      this.#run.hooks.state("idle");
    }
  }

  /** Passes the message to the session through the same checks as a message from a socket. */
  #deliver(message: Message): void {
    const { hooks } = this.#run;
    try {
      hooks.message(admitted(message));
    } catch (error) {
      if (!(error instanceof FramesRefused && error.refusal)) throw error;
      hooks.refused(error.refusal);
    }
  }

  #unusable(msg_type: string) {
    const { session_id } = this.#run.recipe;
    const why = `its ${msg_type} is not an object`;
    return failure("connection_failed", { session_id, why });
  }

  /** A broken frame or signature has no effect here: a real connection drops such a message before the session receives it. */
  #break(how: Breakage, io: Io): void {
    if (how !== "json" || this.#isOver) return;
    const message = compose({
      channel: "iopub",
      msg_type: "stream",
      content: {},
      session: io.request.header.session ?? "",
      username: "kernel",
      parent: io.request,
    });
    const content = new TextEncoder().encode("{");
    this.#deliver({ ...message, raw: { ...message.raw, content } });
  }

  #print(stream: "stdout" | "stderr", text: string): void {
    if (this.#isOver) return;
    // Line by line with line ends, as the output of a process arrives.
    for (const line of text.match(/[^\n]*\n|[^\n]+$/g) ?? []) {
      this.#run.hooks.output(stream, line);
    }
  }

  #exitAtStart(fault: true | Ending) {
    const ending = fault === true ? { exit_code: 1 } : fault;
    const { session_id } = this.#run.recipe;
    const { output = "" } = ending;
    this.#exit(ending);
    const exit_code = exitOf(ending).exit_code;
    const why =
      ending.signal === undefined
        ? `exit code ${exit_code}`
        : `signal ${ending.signal}`;
    return failure(
      "exited_during_start",
      { session_id, why },
      { startup: { exit_code, output } },
    );
  }

  #die(ending: Ending): Promise<never> {
    this.#exit(ending);
    return new Promise(() => {}); // the kernel has ended, so its code never continues
  }

  #exit(ending: Ending): void {
    if (this.#isOver) return;
    const { output } = ending;
    if (output !== undefined) this.#print("stderr", output);
    this.#isOver = true;
    const exit = exitOf(ending);
    void this.#kernel.interrupt(); // so that no code of the kernel continues
    this.#run.hooks.exited(exit);
    this.#settle(exit);
  }
}

function isIdle(message: Message): boolean {
  if (message.header.msg_type !== "status") return false;
  const { execution_state } = contentOf(message) ?? {};
  return execution_state === "idle";
}

function exitOf({ exit_code = 0, signal, output = "" }: Ending): Exit {
  return signal === undefined
    ? { exit_code, signal: null, output }
    : { exit_code: -1, signal, output };
}

/** Rejects when the start timeout has passed on the mock's clock. */
async function startTimeout(
  { session_id, timeout_ms }: Recipe,
  clock: Pick<typeof systemClock, "sleep">,
  signal: AbortSignal,
): Promise<never> {
  await clock.sleep(timeout_ms ?? 2_000_000_000, signal);
  const why = `it did not answer \`kernel_info_request\` within ${(timeout_ms ?? 0) / 1000} s`;
  throw failure("connection_timeout", { session_id, why });
}

/** No variables are inherited: a test sees only what it set. */
function environmentOf({ env, spec_env }: Recipe): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const { action, name, value } of env) {
    const old = variables[name] ?? "";
    variables[name] =
      action === "replace"
        ? value
        : action === "append"
          ? old + value
          : value + old;
  }
  return { ...variables, ...spec_env };
}
