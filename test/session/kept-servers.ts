/** Sessions of servers that are killed, one after the other, with a keeper that goes on. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  truncateSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect } from "vitest";
import { failure } from "../../contract/index.ts";
import type { File, OpenFile } from "../../src/journal/blocks.ts";
import type { Journal } from "../../src/journal/journal.ts";
import { DiskBudget } from "../../src/journal/disk-budget.ts";
import { MemoryBudget } from "../../src/journal/memory-budget.ts";
import type {
  Hooks,
  Kernel,
  Provisioner,
  Recipe,
} from "../../src/kernel/kernel.ts";
import { Faults } from "../../src/log/faults.ts";
import { silentLog } from "../../src/log/log.ts";
import type { CheckpointPace } from "../../src/session/checkpoints.ts";
import { Session } from "../../src/session/session.ts";
import type { SessionSpec } from "../../src/session/spec.ts";
import type { SessionStore } from "../../src/session/store.ts";
import {
  isSessionFolder,
  newSessionFiles,
  openSessionFiles,
} from "../../src/state/session-files.ts";
import { eventually } from "../harness.ts";
import { type FakeKernel, FakeProvisioner, SPEC } from "./fake-kernel.ts";

/** Holds runs as a keeper does: numbers their events, keeps them until they are acknowledged, and sends each message once. */
export class FakeKeeper implements Provisioner {
  readonly provisioner = new FakeProvisioner();
  readonly #runs = new Map<string, FakeRun>();

  get kernel(): FakeKernel {
    return this.provisioner.kernel;
  }

  async launch(
    recipe: Recipe,
    hooks: Hooks,
    signal: AbortSignal,
  ): Promise<Kernel> {
    const { run_id = "", resume, session_id } = recipe;
    let run = this.#runs.get(run_id);
    if (run === undefined) {
      if (resume !== undefined) {
        const why = "its keeper does not have it any more";
        throw failure("start_failed", { session_id, why });
      }
      run = new FakeRun();
      this.#runs.set(run_id, run);
      run.follow(hooks, 0);
      run.kernel = this.provisioner.launch(recipe, run.hooks, signal);
    } else run.follow(hooks, resume?.after ?? 0);
    const kernel = await run.kernel;
    const { sent } = run;
    return {
      pid: kernel.pid,
      connection: kernel.connection,
      info: kernel.info,
      exited: kernel.exited,
      missesInterrupts: kernel.missesInterrupts,
      send(message) {
        if (sent.has(message.header.msg_id)) return;
        sent.add(message.header.msg_id);
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

  adopt = () => Promise.reject(new Error("not here"));
  reserve = () => this.provisioner.reserve();
  release = () => {};

  /** What one server sees of it, until the server is killed. */
  link(): Provisioner & { cut(): void } {
    let isCut = false;
    return {
      launch: (recipe, hooks, signal) => this.launch(recipe, hooks, signal),
      adopt: this.adopt,
      reserve: this.reserve,
      release: this.release,
      acknowledge: (run_id, number) => {
        if (!isCut) this.acknowledge(run_id, number);
      },
      cut: () => {
        isCut = true;
        for (const run of this.#runs.values()) run.unfollow();
      },
    };
  }

  acknowledge(run_id: string, number: number): void {
    this.#runs.get(run_id)?.acknowledge(number);
  }

  /** It is killed: its kernels are gone. */
  lose(): void {
    this.#runs.clear();
  }

  /** Events that are kept. */
  get kept(): number {
    return [...this.#runs.values()].reduce((sum, run) => sum + run.kept, 0);
  }
}

class FakeRun {
  kernel!: Promise<Kernel>;
  readonly sent = new Set<string>();
  readonly #events: { number: number; call: (hooks: Hooks) => void }[] = [];
  #last = 0;
  #acknowledged = 0;
  #follower: Hooks | undefined;

  get kept(): number {
    return this.#events.length;
  }

  /** Numbers the events. */
  get hooks(): Hooks {
    const event =
      (name: keyof Hooks) =>
      (...args: unknown[]): void => {
        const number = (this.#last += 1);
        const call = (hooks: Hooks) => {
          (hooks[name] as (...args: unknown[]) => void)(...args);
          hooks.noted?.(number);
        };
        this.#events.push({ number, call });
        if (this.#follower !== undefined) call(this.#follower);
      };
    return {
      launched: event("launched"),
      state: event("state"),
      message: event("message"),
      burst: event("burst"),
      refused: event("refused"),
      tooLarge: event("tooLarge"),
      output: event("output"),
      registered: event("registered"),
      heartbeat: event("heartbeat"),
      exited: event("exited"),
      caughtUp: () => undefined,
    };
  }

  follow(hooks: Hooks, after: number): void {
    this.#follower = undefined;
    if (after < this.#acknowledged) {
      hooks.lost?.(after + 1, this.#acknowledged);
      hooks.noted?.(this.#acknowledged);
    }
    for (const { number, call } of this.#events)
      if (number > after) call(hooks);
    this.#follower = hooks;
  }

  unfollow(): void {
    this.#follower = undefined;
  }

  acknowledge(number: number): void {
    expect(number).toBeLessThanOrEqual(this.#last);
    this.#acknowledged = Math.max(this.#acknowledged, number);
    while ((this.#events[0]?.number ?? Infinity) <= number)
      this.#events.shift();
  }
}

export let root: string;
let copies = 0;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kallichore-kept-"));
});
const opened: Session[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((session) => session.letGo("over")));
  rmSync(root, { recursive: true, force: true });
});

/** One server after the other, with the files of the one before. */
export class Server {
  readonly session: Session;
  readonly keeper: FakeKeeper;
  readonly #directory: string;
  readonly #cut: () => void;
  readonly #store: SessionStore;
  readonly #disk = { fails: false };
  readonly #limits: Limits;

  private constructor(
    keeper: FakeKeeper,
    directory: string,
    spec: SessionSpec,
    { store, limits }: { store: SessionStore; limits: Limits },
  ) {
    this.keeper = keeper;
    this.#limits = limits;
    this.#directory = directory;
    const link = keeper.link();
    this.#cut = () => link.cut();
    this.#store = store;
    const { journal, ...options } = optionsOf(link, limits);
    const open = failing(this.#disk);
    this.session = new Session(spec, {
      ...options,
      journal: { ...journal, open },
      store,
    });
    opened.push(this.session);
  }

  static first(
    spec: Partial<SessionSpec> = {},
    keepEnv = false,
    limits: Limits = {},
  ): Server {
    const directory = join(root, `${(copies += 1)}`);
    const keeper = new FakeKeeper();
    const files = { directory, keepEnv, log: silentLog() };
    const whole = { ...SPEC, ...spec };
    const store = newSessionFiles(whole.session_id, files);
    return new Server(keeper, directory, whole, { store, limits });
  }

  /** The folder of the session's files. */
  get folder(): string {
    return this.#store.directory;
  }

  /** The disk takes the journal no more. Requests and the session's file are still written. */
  async loseDisk(): Promise<void> {
    this.#disk.fails = true;
    this.session.labels = { ...this.session.labels };
    this.session.sampled(USAGE);
    await eventually("the server has noticed", () =>
      this.#isDurable() ? undefined : true,
    );
  }

  #isDurable(): boolean {
    return existsSync(join(this.#store.directory, "durable"));
  }

  /** Requests are not written any more either. */
  cutRequests(): void {
    this.#requestsUntil = statSync(this.#requests).size;
  }
  #requestsUntil: number | undefined;

  get #requests(): string {
    return join(this.#store.directory, "requests.log");
  }

  /** The server is killed now, and another one starts with its files. `isFull`: nothing can be replaced then. */
  async killed({
    keepEnv = false,
    isFull = false,
    change,
  }: KilledOptions = {}): Promise<Server> {
    const directory = join(root, `${(copies += 1)}`);
    this.#cut();
    if (this.#requestsUntil !== undefined)
      truncateSync(this.#requests, this.#requestsUntil);
    copied(this.#directory, directory);
    const files = { directory, keepEnv, log: silentLog() };
    const [folder = ""] = readdirSync(directory).filter((name) =>
      isSessionFolder(directory, name),
    );
    change?.(join(directory, folder));
    // Where a file is written before it takes the name, there is a folder.
    const blocked = join(directory, folder, "requests.log.new");
    if (isFull) mkdirSync(blocked);
    const { store, saved } = await openSessionFiles(folder, files);
    if (isFull) rmdirSync(blocked);
    const rest = { store, limits: this.#limits };
    return new Server(this.keeper, directory, saved.spec, rest);
  }
}

/** Copies the files of a server that may still remove one of them. */
function copied(from: string, to: string): void {
  for (let tries = 1; ; tries += 1) {
    try {
      cpSync(from, to, { recursive: true });
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT" || tries === 20) throw error;
      rmSync(to, { recursive: true, force: true });
    }
  }
}

interface KilledOptions {
  readonly keepEnv?: boolean;
  readonly isFull?: boolean;
  /** Changes the files of the session before the next server starts. */
  readonly change?: (folder: string) => void;
}

/** How much a server writes to disk. */
interface Limits {
  /** Of the journal, in bytes. */
  readonly limit?: number;
  readonly checkpointPace?: CheckpointPace;
}

/** Opens files that cannot be written while `fails` is set. */
function failing(disk: { readonly fails: boolean }): OpenFile {
  return async (path, flags, mode) => {
    const file = (await open(path, flags, mode)) as File;
    return {
      read: (...args) => file.read(...args),
      truncate: (length) => file.truncate(length),
      close: () => file.close(),
      writev(pieces, position) {
        if (!disk.fails) return file.writev(pieces, position);
        const broken = Object.assign(new Error("EIO"), { code: "EIO" });
        return Promise.reject(broken);
      },
    };
  };
}

export const USAGE = {
  cpu_percent: 1,
  memory_bytes: 1,
  thread_count: 1,
  sampling_period_ms: 1000,
  timestamp: 1,
};

function optionsOf(
  provisioner: Provisioner,
  { limit = 64 * 1024 * 1024, checkpointPace }: Limits,
) {
  const log = silentLog();
  return {
    provisioner,
    log,
    faults: new Faults(log),
    checkpointPace,
    journal: {
      memory: 1024 * 1024,
      disk: limit,
      budget: new MemoryBudget(16 * 1024 * 1024),
      diskBudget: new DiskBudget(256 * 1024 * 1024),
      directory: () => root,
    },
  };
}

/** What readers have got so far. A number that two servers give must have one content. */
export class Client {
  readonly seen: string[] = [];
  /** Whether the journal has lost numbers. */
  readonly #mayMiss: boolean;

  constructor({ mayMiss = false } = {}) {
    this.#mayMiss = mayMiss;
  }

  async read({ journal }: { readonly journal: Journal }): Promise<void> {
    for (;;) {
      const reading = await journal.read(this.seen.length);
      if (reading === undefined) return;
      if ("gap" in reading) {
        if (!this.#mayMiss) {
          throw new Error(`There is a gap: ${JSON.stringify(reading.gap)}`);
        }
        const { from, to } = reading.gap;
        expect([from, to]).toEqual([this.seen.length + 1, from]); // one number
        this.seen.push(JSON.stringify({ kind: "gap" }));
        continue;
      }
      for (const entry of reading.entries) {
        expect(entry.seq).toBe(this.seen.length + 1);
        this.seen.push(entry.text.toString());
      }
    }
  }

  get events(): Record<string, unknown>[] {
    return this.seen.map((text) => JSON.parse(text) as Record<string, unknown>);
  }

  /** What the kernel printed. */
  get lines(): string[] {
    return this.events.flatMap(({ kind, header, content }) => {
      const { msg_type } = (header ?? {}) as { msg_type?: string };
      if (kind !== "jupyter" || msg_type !== "stream") return [];
      return [(content as { text: string }).text];
    });
  }

  /** The states of an execution, in order. */
  statesOf(id: string): unknown[] {
    return this.events
      .filter(({ execution_id }) => execution_id === id)
      .map(({ state }) => state);
  }

  get statuses(): unknown[] {
    return this.events
      .filter(({ kind }) => kind === "status")
      .map(({ status }) => status);
  }
}

export const written = (session: Session) =>
  eventually(
    "everything is written",
    () => session.journal.last === session.journal.next - 1 || undefined,
  );

export async function upToDate(
  client: Client,
  session: Session,
): Promise<void> {
  await written(session);
  await client.read(session);
}
