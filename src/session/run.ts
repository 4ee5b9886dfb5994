/**
 * One kernel run: from the request for a kernel until that kernel is gone.
 *
 * A session has one run after the other. Events of a run that is over are
 * dropped, so that they cannot change a new run. A run ends exactly once, whether
 * its kernel exits or its start fails.
 */
import { failure } from "../../contract/index.ts";
import { concernsMainShell } from "../jupyter/control-requests.ts";
import { contentOf, type Message } from "../jupyter/message.ts";
import type { ShellState, Hooks, Kernel, Launched } from "../kernel/kernel.ts";
import type { Faults } from "../log/faults.ts";

/** Callbacks from a run to its session, until the run is over. None may throw. */
export interface RunHooks extends Omit<Hooks, "message" | "state"> {
  /** The kernel reports the state of its main shell, for a request of type `reason`. The message itself follows. */
  state(state: ShellState, reason: string | null): void;
  /** kernel → session, in order. `isIdle`: the message reports that its parent request is done. */
  message(message: Message, isIdle: boolean): void;
}

/** Launches or adopts a kernel, and waits for its first answer. */
export type KernelStarter = (
  hooks: Hooks,
  signal: AbortSignal,
) => Promise<Kernel>;

/** Every run begins with a request of this type. */
export const PROBE = "kernel_info_request";

export class Run {
  started = new Date();
  /** Resolves when the run is over and its session was notified. Never rejects. */
  readonly over: Promise<void>;
  readonly #session_id: string;
  readonly #hooks: RunHooks;
  readonly #faults: Faults;
  readonly #starting = new AbortController();
  readonly #finish: () => void;
  #launched: Launched | undefined;
  #kernel: Kernel | undefined;
  #executionState: ShellState | undefined;
  #isSilent = false;
  #isStopping = false;
  #isOver = false;

  constructor(session_id: string, hooks: RunHooks, faults: Faults) {
    this.#session_id = session_id;
    this.#hooks = hooks;
    this.#faults = faults;
    let finish = () => {};
    this.over = new Promise((resolve) => (finish = resolve));
    this.#finish = finish;
  }

  /** The kernel, from its first answer to the end of the run. */
  get kernel(): Kernel | undefined {
    return this.#kernel;
  }
  /** Facts about the process, from its start to the end of the run. */
  get launched(): Launched | undefined {
    return this.#launched;
  }
  /** The state that the kernel reported last; `busy` while it shuts down; `undefined` before its first report. */
  get executionState(): ShellState | undefined {
    return this.#isStopping ? "busy" : this.#executionState;
  }
  /** Whether its kernel has been asked to end. */
  get isStopping(): boolean {
    return this.#isStopping;
  }
  /** Whether the heartbeat has stopped. */
  get isSilent(): boolean {
    return this.#isSilent;
  }
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Resolves with the kernel once it has answered. When this promise settles, the start is complete or fully undone. */
  async begin(bring: KernelStarter): Promise<Kernel> {
    const { signal } = this.#starting;
    const kernel = await bring(this.#containedHooks(), signal);
    if (signal.aborted) {
      await kernel.stop(false); // the kernel answered while it was being stopped
      throw signal.reason;
    }
    if (this.#isOver) {
      const why = "right after its first answer";
      throw this.#failure("exited_during_start", why);
    }
    this.#kernel = kernel;
    return kernel;
  }

  /** What an earlier process knew of this run. */
  assume(state: ShellState | undefined, started: Date): void {
    this.#executionState = state;
    this.started = started;
  }

  /** Ends its kernel, or its start; resolves when it is over. */
  async stop(isForRestart: boolean): Promise<void> {
    const kernel = this.#kernel;
    if (kernel !== undefined) {
      this.#isStopping = true;
      await kernel.stop(isForRestart).catch((error: unknown) => {
        this.#isStopping = false;
        throw error;
      });
    } else
      this.#starting.abort(this.#failure("start_failed", "it was stopped"));
    await this.over;
  }

  /** Ends the kernel's whole process tree, or its start. Does not wait until it is gone. */
  async kill(): Promise<void> {
    if (this.#kernel !== undefined) await this.#kernel.kill();
    // The start then fails as it does when its process ends by itself.
    else if (this.#launched?.kill !== undefined) await this.#launched.kill();
    else {
      const why = "it was killed";
      this.#starting.abort(this.#failure("exited_during_start", why));
    }
  }

  /** Ends the run: later events are ignored. False if the run was over already. */
  end(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.#kernel = undefined;
    this.#launched = undefined;
    this.#finish();
    return true;
  }

  /** All replies have arrived, but not the `idle` status: the message was lost, or the kernel did not send it. */
  assumeIdle(): void {
    if (this.#executionState !== "busy") return;
    this.#reportState("idle", "execute_request");
  }

  /** A kernel that is being stopped no longer counts as idle, whatever it reports. */
  #reportState(state: ShellState, reason: string | null): void {
    this.#executionState = state;
    if (!this.#isStopping) this.#hooks.state(state, reason);
  }

  /**
   * The hooks that the provisioner calls. They do nothing once the run is over.
   * An error in one call is counted, and ends that call alone.
   */
  #containedHooks(): Hooks {
    const hooks = this.#hooks;
    const contained =
      <A extends unknown[]>(what: string, act: (...args: A) => void) =>
      (...args: A): void => {
        if (this.#isOver) return;
        try {
          act(...args);
        } catch (error) {
          this.#faults.caught(`A kernel's ${what} was dropped`, error, {
            session: this.#session_id,
          });
        }
      };
    return {
      launched: contained("launch", (launched) => {
        this.#launched = launched;
        hooks.launched(launched);
      }),
      state: contained("state", (state) => {
        this.#reportState(state, PROBE);
      }),
      message: contained("message", (message) => this.#received(message)),
      burst: contained("messages", hooks.burst.bind(hooks)),
      noted: (event) => hooks.noted?.(event), // also for the exit, which ends the run
      lost: contained("gap", (from, to) => hooks.lost?.(from, to)),
      tooLarge: contained("message", hooks.tooLarge.bind(hooks)),
      refused: contained("message", (refusal) => hooks.refused(refusal)),
      caughtUp: () => (this.#isOver ? undefined : hooks.caughtUp()),
      output: contained("output", hooks.output.bind(hooks)),
      registered: contained("registration", hooks.registered.bind(hooks)),
      heartbeat: contained("heartbeat", (beats) => {
        this.#isSilent = !beats;
        hooks.heartbeat(beats);
      }),
      exited: contained("exit", (exit) => {
        if (this.end()) hooks.exited(exit);
      }),
    };
  }

  #received(message: Message): void {
    const { channel, header, parent_header } = message;
    const state =
      channel === "iopub" && header.msg_type === "status"
        ? stateIn(message)
        : undefined;
    if (state !== undefined && concernsMainShell(parent_header)) {
      this.#reportState(state, parent_header?.msg_type ?? null);
    }
    this.#hooks.message(message, state === "idle");
  }

  #failure(reason: "start_failed" | "exited_during_start", why: string) {
    return failure(reason, { session_id: this.#session_id, why });
  }
}

function stateIn(message: Message): ShellState | undefined {
  const { execution_state } = contentOf(message) ?? {};
  return execution_state === "busy" || execution_state === "idle"
    ? execution_state
    : undefined;
}
