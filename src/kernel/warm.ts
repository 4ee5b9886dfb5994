/**
 * Warm kernels: kernels that are started before a session asks for one. A start
 * takes a warm kernel if it would launch exactly the same: the same command,
 * directory, environment and way to start. All other starts launch a kernel.
 *
 * To a session, taking a warm kernel is a start that was fast: everything that
 * the kernel did before is kept, and the session receives it when it takes the
 * kernel. Until then the kernel belongs to no session.
 *
 * Warm kernels are started one at a time, and only while no session starts a
 * kernel. A kernelspec that fails is tried again at growing intervals, and given
 * up after some tries, until it changes or a session has started its kernel.
 *
 * Warm kernels count in the limit on kernels, and never keep a session from its
 * kernel: there are no more than the limit leaves room for, and a start that
 * takes none of them ends one that is too many.
 */
import { randomBytes } from "node:crypto";
import { describeExit } from "../host/exit.ts";
import type { HostFacts } from "../host/host.ts";
import { type Message, sizeOf } from "../jupyter/message.ts";
import type { Log } from "../log/log.ts";
import { deadline } from "../time/signals.ts";
import { within } from "../time/within.ts";
import type { Hooks, Kernel, Provisioner, Recipe } from "./kernel.ts";
import { registersItself } from "./launch.ts";

/** How many warm kernels a kernelspec has. */
export interface Prespawn {
  readonly kernel_name: string;
  readonly count: number;
  /** The directory in which they start. Default: the server's own. */
  readonly working_directory?: string | undefined;
}

/** The warm kernels of one entry of the option. */
export interface WarmKernelsState extends Prespawn {
  /** Their processes. */
  readonly pids: readonly (number | undefined)[];
  /** Why there are fewer than wanted, if a start failed or a kernel died. */
  readonly problem: string | undefined;
}

export interface WarmKernelsOptions {
  /** Starts the warm kernels, and every kernel that no warm kernel can replace. */
  readonly provisioner: Provisioner;
  readonly host: Pick<HostFacts, "environment">;
  readonly log: Log;
  readonly prespawn: readonly Prespawn[];
  /** How many kernels may run beside those of the sessions. Default: no limit. */
  readonly room?: (() => number) | undefined;
  /** What a session of that kernelspec would launch now. Rejects if it cannot. */
  readonly recipeOf: (wanted: Prespawn, id: string) => Promise<Recipe>;
}

/** How often the kernelspecs are compared with the warm kernels. */
const CHECK_MS = 5_000;
/** After the first failure; doubled by each further one. */
const RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;
/** Failures in a row after which a kernelspec is given up. */
const MOST_FAILURES = 8;
/** A kernel that was warm for so long has not failed. */
const HEALTHY_MS = 60_000;
/** Why no further warm kernel is started. */
const FULL = "the limit on kernels leaves no room for more";
/** How long a kernel that is taken may need to show that it is alive. */
const ALIVE_MS = 50;
/** How long a kernel that nobody used may take to shut down before it is killed. */
const STOP_MS = 1_000;
/** Bytes that are kept of what a kernel publishes and prints before it is taken. */
const KEPT_LIMIT = 1024 * 1024;
/** What keeping one event costs beside its text. */
const EVENT_BYTES = 256;

/**
 * Variables that only describe the request to the kernel. They do not decide
 * how it starts, and a warm kernel does not have them.
 */
const DESCRIPTIONS = [
  "JPY_SESSION_NAME",
  "KERNEL_USERNAME",
  "KERNEL_LAUNCH_TIMEOUT",
];

/** One entry of the option, with its kernels. */
interface Pool {
  readonly wanted: Prespawn;
  readonly ready: WarmKernel[];
  /** What its kernelspec launches now; `undefined` if it cannot be used. */
  launch: string | undefined;
  failures: number;
  /** When the next start may be tried, by the monotonic clock. */
  retryAt: number;
  problem: string | undefined;
}

export class WarmKernels implements Provisioner, AsyncDisposable {
  readonly #options: WarmKernelsOptions;
  readonly #pools: readonly Pool[];
  readonly #closing = new AbortController();
  /** The name under which a session's kernel was started, where it was warm. */
  readonly #names = new Map<string, string>();
  /** Kernels that are being ended. */
  readonly #ending = new Set<Promise<void>>();
  #starts = 0;
  #filling: Promise<void> | undefined;
  #checking: Promise<void> | undefined;
  #checkTimer: NodeJS.Timeout | undefined;
  #retryTimer: NodeJS.Timeout | undefined;

  constructor(options: WarmKernelsOptions) {
    this.#options = options;
    this.#pools = options.prespawn
      .filter(({ count }) => count > 0)
      .map((wanted) => ({
        wanted,
        ready: [],
        launch: undefined,
        failures: 0,
        retryAt: 0,
        problem: undefined,
      }));
  }

  get state(): readonly WarmKernelsState[] {
    const isFull = this.#surplus >= 0;
    return this.#pools.map(({ wanted, ready, problem }) => ({
      ...wanted,
      pids: ready.map(({ kernel }) => kernel?.pid),
      problem:
        problem ?? (isFull && ready.length < wanted.count ? FULL : undefined),
    }));
  }

  /** Starts the first kernels. */
  begin(): void {
    if (this.#pools.length > 0) this.#check();
  }

  async launch(
    recipe: Recipe,
    hooks: Hooks,
    signal: AbortSignal,
  ): Promise<Kernel> {
    const warm = await this.#take(recipe);
    if (warm !== undefined) {
      this.#names.set(recipe.session_id, warm.name);
      const kernel = warm.handOver(recipe, hooks);
      const { log } = this.#options;
      const { session_id } = recipe;
      log.info(
        { session: session_id, pid: kernel.pid },
        `The session takes the warm kernel ${warm.name}`,
      );
      this.#fill();
      return kernel;
    }
    this.#makeRoom();
    this.#starts += 1;
    try {
      const kernel = await this.#options.provisioner.launch(
        recipe,
        hooks,
        signal,
      );
      this.#startsAgain(recipe);
      return kernel;
    } finally {
      this.#starts -= 1;
      this.#fill();
    }
  }

  /** A session's kernel has started or ended. */
  roomChanged(): void {
    const { room } = this.#options;
    if (this.#pools.length > 0 && room !== undefined) this.#fill();
  }

  adopt(...args: Parameters<Provisioner["adopt"]>): Promise<Kernel> {
    this.#makeRoom();
    return this.#options.provisioner.adopt(...args);
  }

  reserve(recipe: Recipe): ReturnType<Provisioner["reserve"]> {
    return this.#options.provisioner.reserve(recipe);
  }

  release(session_id: string): void {
    const { provisioner } = this.#options;
    const name = this.#names.get(session_id);
    this.#names.delete(session_id);
    provisioner.release(session_id);
    if (name !== undefined) provisioner.release(name);
  }

  /** Ends the kernels that no session has taken. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#checkTimer);
    clearTimeout(this.#retryTimer);
    this.#closing.abort();
    for (const pool of this.#pools) this.#clear(pool);
    await Promise.all([this.#filling, this.#checking]);
    await Promise.all(this.#ending);
  }

  /** A kernel that is what `recipe` would launch, and is alive. */
  async #take(recipe: Recipe): Promise<WarmKernel | undefined> {
    if (this.#pools.length === 0 || recipe.connection !== undefined) {
      return undefined;
    }
    const launch = this.#launchOf(recipe);
    for (const pool of this.#pools) {
      while (pool.launch === launch) {
        const warm = pool.ready.shift();
        if (warm === undefined) break;
        if (await warm.isAlive()) {
          pool.failures = 0;
          return warm;
        }
        this.#end(warm);
        this.#failed(pool, "a warm kernel does not answer");
      }
    }
    return undefined;
  }

  /** A session has started the kernel itself: its kernelspec works again. */
  #startsAgain(recipe: Recipe): void {
    if (this.#pools.every(({ failures }) => failures === 0)) return;
    const launch = this.#launchOf(recipe);
    for (const pool of this.#pools) {
      if (pool.launch === launch) forgetFailures(pool);
    }
  }

  /** Everything that decides what is launched, as text. */
  #launchOf(recipe: Recipe): string {
    const { env: actions, spec_env: specEnv, language } = recipe;
    const { working_directory } = recipe;
    const { host } = this.#options;
    const env = host.environment({ actions, specEnv, language });
    const deciding = Object.entries(env).filter(
      ([name, value]) =>
        !DESCRIPTIONS.includes(name) &&
        // A gateway's client also names the directory in a variable.
        !(name === DIRECTORY && value === working_directory),
    );
    return JSON.stringify([
      recipe.argv,
      working_directory,
      deciding.sort(([one], [other]) => (one < other ? -1 : 1)),
      recipe.interrupt_mode,
      registersItself(recipe.protocol_version),
      recipe.startup_environment,
      recipe.startup_environment_arg ?? null,
      recipe.kernel_sockets ?? null,
      recipe.limits?.memory_bytes ?? null,
      recipe.limits?.cpus ?? null,
    ]);
  }

  /** Compares the warm kernels with their kernelspecs, and ends those that are no longer the same. */
  #check(): void {
    clearTimeout(this.#checkTimer);
    if (this.#closing.signal.aborted) return;
    this.#checking = this.#compare().finally(() => {
      this.#checking = undefined;
      if (this.#closing.signal.aborted) return;
      this.#checkTimer = setTimeout(() => this.#check(), CHECK_MS);
      this.#checkTimer.unref();
      this.#fill();
    });
  }

  /** Never rejects. */
  async #compare(): Promise<void> {
    for (const pool of this.#pools) {
      let launch: string | undefined;
      try {
        launch = this.#launchOf(await this.#recipeFor(pool, "warm"));
      } catch (error) {
        const why = messageOf(error);
        if (why !== pool.problem) this.#log(pool, why);
        pool.problem = why;
      }
      this.#changed(pool, launch);
    }
  }

  /** Kernels of an older kernelspec end. */
  #changed(pool: Pool, launch: string | undefined): void {
    if (launch === pool.launch) return;
    pool.launch = launch;
    if (launch !== undefined) forgetFailures(pool);
    this.#clear(pool);
  }

  /** A session's directory and id for clients are not decided yet. */
  async #recipeFor({ wanted }: Pool, name: string): Promise<Recipe> {
    const recipe = await this.#options.recipeOf(wanted, name);
    return { ...recipe, kernel_id: undefined, connection: undefined };
  }

  /** Starts the next kernel that is missing, unless one is being started. */
  #fill(): void {
    if (this.#filling !== undefined || this.#starts > 0) return;
    if (this.#closing.signal.aborted || this.#surplus >= 0) return;
    const lacking = this.#pools.filter(
      ({ wanted, ready, launch, failures }) =>
        launch !== undefined &&
        ready.length < wanted.count &&
        failures < MOST_FAILURES,
    );
    const now = performance.now();
    const pool = lacking.find(({ retryAt }) => retryAt <= now);
    if (pool === undefined) {
      this.#fillLater(Math.min(...lacking.map(({ retryAt }) => retryAt)) - now);
      return;
    }
    this.#filling = this.#start(pool).finally(() => {
      this.#filling = undefined;
      this.#fill();
    });
  }

  /** Ends warm kernels that have no room beside the kernels of the sessions, of the fullest pool first. */
  #makeRoom(): void {
    while (this.#surplus > 0) {
      const [fullest] = this.#pools.toSorted(
        (one, other) => other.ready.length - one.ready.length,
      );
      const warm = fullest?.ready.pop();
      if (warm === undefined) return;
      this.#end(warm);
    }
  }

  /** How many warm kernels have no room; negative: for how many more there is room. */
  get #surplus(): number {
    const ready = this.#pools.reduce((sum, each) => sum + each.ready.length, 0);
    return ready - (this.#options.room?.() ?? Infinity);
  }

  #fillLater(delay_ms: number): void {
    clearTimeout(this.#retryTimer);
    if (delay_ms === Infinity) return;
    this.#retryTimer = setTimeout(() => this.#fill(), delay_ms);
    this.#retryTimer.unref();
  }

  /** Never rejects. */
  async #start(pool: Pool): Promise<void> {
    const { provisioner, log } = this.#options;
    const { signal } = this.#closing;
    const name = `warm-${pool.wanted.kernel_name}-${randomBytes(4).toString("hex")}`;
    try {
      const recipe = await this.#recipeFor(pool, name);
      const launch = this.#launchOf(recipe);
      this.#changed(pool, launch);
      const warm = new WarmKernel(name, recipe);
      using start = deadline([signal]);
      await warm.start(provisioner, start.signal);
      if (signal.aborted || launch !== pool.launch || this.#surplus >= 0) {
        this.#end(warm);
        return;
      }
      void warm.gone.then((why) => this.#gone(pool, warm, why)); // never rejects
      pool.ready.push(warm);
      pool.problem = undefined;
      const pid = warm.kernel?.pid;
      log.info({ kernel: name, pid }, "A warm kernel was started");
    } catch (error) {
      provisioner.release(name);
      if (!signal.aborted) this.#failed(pool, messageOf(error));
    }
  }

  /** A kernel has ended, or may not be handed out. One that a session has taken is the session's. */
  #gone(pool: Pool, warm: WarmKernel, why: string): void {
    const at = pool.ready.indexOf(warm);
    if (at < 0) return;
    pool.ready.splice(at, 1);
    this.#end(warm);
    if (performance.now() - warm.readyAt > HEALTHY_MS) pool.failures = 0;
    this.#failed(pool, why);
    this.#fill();
  }

  /** Only the first failure in a row is logged, and that the kernelspec is given up. */
  #failed(pool: Pool, why: string): void {
    pool.failures += 1;
    const { failures } = pool;
    const delay_ms = RETRY_MS * 2 ** (failures - 1);
    pool.retryAt = performance.now() + Math.min(delay_ms, LONGEST_RETRY_MS);
    pool.problem = why;
    if (failures === 1) this.#log(pool, why);
    if (failures === MOST_FAILURES) {
      const until = "until the kernelspec changes or a session has started it";
      this.#log(pool, `${why}; given up after ${failures} failures, ${until}`);
    }
  }

  #log({ wanted: { kernel_name } }: Pool, why: string): void {
    this.#options.log.warn(
      { kernel: kernel_name },
      `${kernel_name} has too few warm kernels: ${why}`,
    );
  }

  #clear(pool: Pool): void {
    for (const warm of pool.ready.splice(0)) this.#end(warm);
  }

  #end(warm: WarmKernel): void {
    const ending = warm.end().finally(() => {
      this.#ending.delete(ending);
      this.#options.provisioner.release(warm.name);
    });
    this.#ending.add(ending);
  }
}

const DIRECTORY = "KERNEL_WORKING_DIR";

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function forgetFailures(pool: Pool): void {
  pool.failures = 0;
  pool.retryAt = 0;
  pool.problem = undefined;
}

/** A kernel that was started before a session asked for one. */
class WarmKernel {
  /** In place of a session's id, until a session takes the kernel. */
  readonly name: string;
  /** Resolves with the reason when it has ended or cannot be handed out. Not after a session has taken it. */
  readonly gone: Promise<string>;
  readyAt = Infinity;
  kernel: Kernel | undefined;
  readonly #recipe: Recipe;
  /** The session that has the kernel. Its name until then. */
  readonly #holder: { session_id: string; username: string };
  #hooks: Hooks | undefined;
  /** What happened so far, for the session that takes it. */
  readonly #past: ((hooks: Hooks) => void)[] = [];
  #size = 0;
  #isGone = false;
  #resolveGone: (why: string) => void = () => {};

  constructor(name: string, recipe: Recipe) {
    this.name = name;
    this.gone = new Promise((resolve) => (this.#resolveGone = resolve));
    const holder = { session_id: name, username: recipe.username };
    this.#holder = holder;
    this.#recipe = {
      ...recipe,
      get session_id() {
        return holder.session_id;
      },
      get username() {
        return holder.username;
      },
    };
  }

  async start(provisioner: Provisioner, signal: AbortSignal): Promise<void> {
    this.kernel = await provisioner.launch(
      this.#recipe,
      this.#recorder(),
      signal,
    );
    this.readyAt = performance.now();
  }

  /** Whether it can be handed out. A process that was killed a moment ago is noticed here. */
  async isAlive(): Promise<boolean> {
    const { kernel } = this;
    if (kernel === undefined) return false;
    try {
      const isAlive = (await kernel.isAlive?.(ALIVE_MS)) ?? true;
      return isAlive && !this.#isGone;
    } catch {
      return false; // it takes no messages
    }
  }

  /** From now on it is the session's, which first receives what happened before. */
  handOver({ session_id, username }: Recipe, hooks: Hooks): Kernel {
    Object.assign(this.#holder, { session_id, username });
    this.#hooks = hooks;
    for (const tell of this.#past.splice(0)) tell(hooks);
    return this.kernel as Kernel; // only a kernel that has started is handed out
  }

  /** Never rejects. */
  async end(): Promise<void> {
    const { kernel } = this;
    if (kernel === undefined) return;
    const stop = kernel.stop(false).catch(() => {}); // it is killed below
    if ((await within(kernel.exited, STOP_MS)) === undefined) {
      await kernel.kill().catch(() => {}); // it has ended meanwhile
    }
    await stop;
  }

  #recorder(): Hooks {
    const past = (size: number, tell: (hooks: Hooks) => void): void => {
      if (this.#hooks !== undefined) tell(this.#hooks);
      else this.#keep(size, tell);
    };
    /** Before a session has taken the kernel, such an event disqualifies it. */
    const orLeave =
      <A extends unknown[]>(
        why: string,
        tell: (hooks: Hooks, ...args: A) => void,
      ) =>
      (...args: A): void => {
        if (this.#hooks !== undefined) tell(this.#hooks, ...args);
        else this.#leave(why);
      };
    return {
      launched: (run) => past(0, (hooks) => hooks.launched(run)),
      state: (state) => past(0, (hooks) => hooks.state(state)),
      registered: (connection) =>
        past(0, (hooks) => hooks.registered(connection)),
      output: (stream, text) =>
        past(text.length, (hooks) => hooks.output(stream, text)),
      message: (message) => {
        if (this.#hooks !== undefined) {
          this.#hooks.message(message);
          return;
        }
        const kept = copyOf(message);
        this.#keep(sizeOf(kept), (hooks) => hooks.message(kept));
      },
      burst: orLeave("it publishes much without a request", (hooks, burst) =>
        hooks.burst(burst),
      ),
      refused: orLeave("it publishes what cannot be read", (hooks, refusal) =>
        hooks.refused(refusal),
      ),
      tooLarge: orLeave(
        "it publishes a message that is too large",
        (hooks, channel, size) => hooks.tooLarge(channel, size),
      ),
      heartbeat: (beats) => {
        if (this.#hooks !== undefined) this.#hooks.heartbeat(beats);
        else if (!beats) this.#leave("its heartbeat stopped");
      },
      caughtUp: () => this.#hooks?.caughtUp(),
      resized: (change) => this.#hooks?.resized?.(change),
      exited: (exit) => {
        if (this.#hooks !== undefined) {
          this.#hooks.exited(exit);
          return;
        }
        this.#leave(`a warm kernel has ended (${describeExit(exit)})`);
      },
    };
  }

  #keep(size: number, tell: (hooks: Hooks) => void): void {
    this.#size += size + EVENT_BYTES;
    if (this.#size > KEPT_LIMIT) {
      this.#leave("it prints or publishes much without a request");
    } else this.#past.push(tell);
  }

  #leave(why: string): void {
    this.#isGone = true;
    this.#past.length = 0;
    this.#resolveGone(why);
  }
}

/** In its own memory: the message's bytes belong to the socket. */
function copyOf(message: Message): Message {
  const { channel, header, parent_header, raw, buffers } = message;
  return {
    channel,
    header,
    parent_header,
    raw: {
      header: Buffer.from(raw.header),
      parent_header: Buffer.from(raw.parent_header),
      metadata: Buffer.from(raw.metadata),
      content: Buffer.from(raw.content),
    },
    buffers: buffers.map((bytes) => Buffer.from(bytes)),
  };
}
