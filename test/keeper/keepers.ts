/** A keeper in the test's process, with fake kernels, and servers that attach to it. */
import type { Duplex } from "node:stream";
import { onTestFinished } from "vitest";
import { EventStore } from "../../src/keeper/event-log.ts";
import { Keeper, type KeeperOptions } from "../../src/keeper/keeper.ts";
import { KeeperLink, type KeeperLinkOptions } from "../../src/keeper/link.ts";
import { keptProvisioner } from "../../src/keeper/provisioner.ts";
import type {
  Hooks,
  Kernel,
  Provisioner,
  Recipe,
} from "../../src/kernel/kernel.ts";
import { Faults } from "../../src/log/faults.ts";
import { silentLog } from "../../src/log/log.ts";
import { temporaryFolder } from "../harness.ts";
import { FakeProvisioner } from "../session/fake-kernel.ts";
import { recordingHooks, type RecordingHooks } from "./recording-hooks.ts";
import { duplexPair, RawServer } from "./streams.ts";

export const SECRET = "the-secret-of-the-keeper";
const log = silentLog();

export const RECIPE: Recipe = {
  session_id: "s",
  argv: ["fake"],
  language: "fake",
  env: [],
  spec_env: undefined,
  working_directory: "/",
  key: "",
  username: "tester",
  interrupt_mode: "signal",
  protocol_version: "5.3",
  startup_environment: "none",
  startup_environment_arg: undefined,
  connection: undefined,
  timeout_ms: 20_000,
};

export function runId(digit: number): string {
  return String(digit % 10).repeat(32);
}

export class TestKeeper {
  readonly keeper: Keeper;
  readonly store: EventStore;
  readonly faults = new Faults(log);
  readonly kernels = new FakeProvisioner();
  /** The environments of the provisioners that were asked for. */
  readonly envs: Readonly<Record<string, string>>[] = [];
  readonly released: string[] = [];
  /** The streams that are open. */
  readonly streams: Duplex[] = [];
  /** Whether no stream can be opened. */
  isUnreachable = false;
  /** Why the keeper is said to be gone. */
  goneWhy: string | undefined;
  /** Whether the keeper has ended. */
  isOver = false;

  constructor({
    memory = 64 * 1024 * 1024,
    disk = 0,
    ...options
  }: Partial<KeeperOptions> & { memory?: number; disk?: number } = {}) {
    const folder = temporaryFolder();
    this.store = new EventStore({
      memory,
      disk,
      directory: () => folder,
      faults: this.faults,
    });
    this.keeper = new Keeper({
      secret: SECRET,
      store: this.store,
      log,
      faults: this.faults,
      idleTimeout_ms: 3_600_000,
      provisionerOf: (env) => {
        this.envs.push(env);
        return {
          launch: (...args) => this.kernels.launch(...args),
          adopt: (...args) => this.kernels.adopt(...args),
          reserve: () => this.kernels.reserve(),
          release: (session_id) => this.released.push(session_id),
        };
      },
      ...options,
    });
    void this.keeper.ended.then(() => (this.isOver = true));
    onTestFinished(() => this.keeper.end("the test has ended"));
  }

  /** A stream to the keeper. */
  connect(): Duplex {
    const [mine, its] = duplexPair();
    if (this.isUnreachable) {
      setImmediate(() => mine.destroy(new Error("unreachable")));
      return mine;
    }
    this.streams.push(mine);
    this.keeper.accept(its);
    return mine;
  }

  /** Cuts all streams, as a network does. */
  cut(): void {
    for (const stream of this.streams.splice(0)) stream.destroy();
  }

  raw(magic?: Uint8Array): RawServer {
    return new RawServer(this.connect(), magic);
  }

  /** A server that has attached. */
  async server(
    epoch = 1,
    options: Partial<KeeperLinkOptions> = {},
  ): Promise<TestKeptServer> {
    const link = await KeeperLink.open({
      connect: () => this.connect(),
      secret: SECRET,
      epoch,
      log,
      whyGone: () => this.goneWhy,
      ...options,
    });
    onTestFinished(() => link.close());
    return new TestKeptServer(link);
  }
}

/** A started run, as a session sees it. */
export interface StartedRun extends RecordingHooks {
  readonly kernel: Kernel;
}

export class TestKeptServer {
  readonly link: KeeperLink;
  readonly faults = new Faults(log);
  readonly provisioner: Provisioner;

  constructor(link: KeeperLink) {
    this.link = link;
    this.provisioner = keptProvisioner({
      link,
      env: { HOME: "/home/tester", NOTHING: undefined },
      faults: this.faults,
    });
  }

  async start(
    more: Partial<Recipe> = {},
    hooks?: Partial<Hooks>,
  ): Promise<StartedRun> {
    const recording = recordingHooks();
    const kernel = await this.provisioner.launch(
      { ...RECIPE, run_id: runId(1), ...more },
      { ...recording.hooks, ...hooks },
      new AbortController().signal,
    );
    return { kernel, ...recording };
  }

  resume(after: number, run_id = runId(1)): Promise<StartedRun> {
    return this.start({ run_id, resume: { after } });
  }

  /** Dies without a word. */
  die(streams: Duplex[]): void {
    for (const stream of streams.splice(0)) stream.destroy();
    this.link.close();
  }
}
