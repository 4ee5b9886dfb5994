/**
 * A keeper in memory: it holds mocked kernels for a server that is restarted. It
 * numbers what they do, keeps it until the server has it, and sends each message
 * to a kernel once, as a real keeper does.
 */
import { type ConnectionInfo, failure } from "../contract/index.ts";
import type {
  Hooks,
  Kernel,
  Provisioner,
  Recipe,
} from "../src/kernel/kernel.ts";
import { turn } from "./clock.ts";

export class MockKeeper implements Provisioner {
  readonly #provisioner: Provisioner;
  readonly #runs = new Map<string, KeptMock>();
  /** Resolves when a server may attach. */
  #attached: Promise<void> = Promise.resolve();
  #attach: () => void = () => {};

  constructor(provisioner: Provisioner) {
    this.#provisioner = provisioner;
  }

  /** The server is gone: from now on events are kept. */
  detach(): void {
    this.#attach();
    this.#attached = new Promise((resolve) => (this.#attach = resolve));
    for (const run of this.#runs.values()) run.unfollow();
  }

  /** A server may go on with the kernels. */
  attach(): void {
    this.#attach();
  }

  /** From now on, so many of the oldest events that no server has are lost of each run. */
  lose(count: number): void {
    for (const run of this.#runs.values()) run.toLose = count;
  }

  /** All kernels are gone, as after a restart of the machine. */
  async end(): Promise<void> {
    const runs = [...this.#runs.values()];
    this.#runs.clear();
    for (const { kernel } of runs) await (await kernel)?.kill();
  }

  launch(recipe: Recipe, hooks: Hooks, signal: AbortSignal): Promise<Kernel> {
    if (recipe.resume !== undefined) return this.#resume(recipe, hooks);
    return this.#begin(recipe, hooks, (kept) =>
      this.#provisioner.launch(recipe, kept, signal),
    );
  }

  adopt(
    recipe: Recipe,
    connection: ConnectionInfo,
    hooks: Hooks,
    signal: AbortSignal,
  ): Promise<Kernel> {
    return this.#begin(recipe, hooks, (kept) =>
      this.#provisioner.adopt(recipe, connection, kept, signal),
    );
  }

  reserve(recipe: Recipe): Promise<ConnectionInfo> {
    return this.#provisioner.reserve(recipe);
  }

  release(session_id: string): void {
    this.#provisioner.release(session_id);
  }

  acknowledge(run_id: string, number: number): void {
    const run = this.#runs.get(run_id);
    run?.acknowledge(number);
    if (run?.isOver === true) this.#runs.delete(run_id);
  }

  async #begin(
    { run_id = "" }: Recipe,
    hooks: Hooks,
    start: (kept: Hooks) => Promise<Kernel>,
  ): Promise<Kernel> {
    const run = new KeptMock();
    this.#runs.set(run_id, run);
    run.follow(hooks, 0);
    const started = start(run.hooks);
    run.kernel = started.catch(() => undefined);
    return run.asSeenBy(await started);
  }

  async #resume(
    { run_id = "", session_id, resume }: Recipe,
    hooks: Hooks,
  ): Promise<Kernel> {
    await this.#attached;
    const run = this.#runs.get(run_id);
    const kernel = await run?.kernel;
    if (run === undefined || kernel === undefined) {
      const why = "its keeper does not have it any more";
      throw failure("start_failed", { session_id, why });
    }
    // The session takes the kernel first, then what it has done.
    void turn().then(() => run.follow(hooks, resume?.after ?? 0));
    return run.asSeenBy(kernel);
  }
}

interface KeptEvent {
  readonly number: number;
  readonly call: (hooks: Hooks) => void;
}

class KeptMock {
  kernel: Promise<Kernel | undefined> = Promise.resolve(undefined);
  /** How many of the oldest events are lost before the next server gets them. */
  toLose = 0;
  readonly #sent = new Set<string>();
  #events: readonly KeptEvent[] = [];
  #last = 0;
  #hasExited = false;
  #follower: Hooks | undefined;

  /** Whether its kernel is gone, and the server has all events. */
  get isOver(): boolean {
    return this.#hasExited && this.#events.length === 0;
  }

  /** The hooks that make events. */
  get hooks(): Hooks {
    const add = (call: (hooks: Hooks) => void): void => {
      const event = { number: (this.#last += 1), call };
      this.#events = [...this.#events, event];
      if (this.#follower !== undefined) tell(this.#follower, event);
    };
    return {
      launched: (run) => add((hooks) => hooks.launched(run)),
      state: (state) => add((hooks) => hooks.state(state)),
      message: (message) => add((hooks) => hooks.message(message)),
      burst: (burst) => add((hooks) => hooks.burst(burst)),
      refused: (refusal) => add((hooks) => hooks.refused(refusal)),
      tooLarge: (channel, size) =>
        add((hooks) => hooks.tooLarge(channel, size)),
      caughtUp: () => this.#follower?.caughtUp(),
      output: (stream, text) => add((hooks) => hooks.output(stream, text)),
      registered: (connection) => add((hooks) => hooks.registered(connection)),
      heartbeat: (beats) => add((hooks) => hooks.heartbeat(beats)),
      exited: (exit) => {
        this.#hasExited = true;
        add((hooks) => hooks.exited(exit));
      },
    };
  }

  follow(hooks: Hooks, after: number): void {
    this.acknowledge(after);
    const lost = this.#events.slice(0, this.toLose);
    this.toLose = 0;
    const [first] = lost;
    const last = lost.at(-1);
    if (first !== undefined && last !== undefined) {
      hooks.lost?.(first.number, last.number);
      hooks.noted?.(last.number);
    }
    this.#follower = hooks;
    for (const event of this.#events.slice(lost.length)) tell(hooks, event);
  }

  unfollow(): void {
    this.#follower = undefined;
  }

  acknowledge(upTo: number): void {
    this.#events = this.#events.filter(({ number }) => number > upTo);
  }

  asSeenBy(kernel: Kernel): Kernel {
    return {
      pid: kernel.pid,
      connection: kernel.connection,
      info: kernel.info,
      exited: kernel.exited,
      missesInterrupts: kernel.missesInterrupts,
      send: (message) => {
        const { msg_id } = message.header;
        if (this.#sent.has(msg_id)) return;
        this.#sent.add(msg_id);
        kernel.send(message);
      },
      interrupt: () => kernel.interrupt(),
      stop: (restart) => kernel.stop(restart),
      kill: () => kernel.kill(),
      forward: (port) => kernel.forward(port),
      resize: (change) => kernel.resize(change),
      workingDirectory: () => kernel.workingDirectory(),
    };
  }
}

function tell(hooks: Hooks, { number, call }: KeptEvent): void {
  call(hooks);
  hooks.noted?.(number);
}
