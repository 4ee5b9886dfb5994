/**
 * Launches kernels as local processes, and adopts those already running.
 *
 * A launch is: ports or a registration socket, a private connection file, the
 * environment, the process, its first answer. Whatever fails on the way, what
 * was started is killed and reaped, and what was made is removed.
 */
import { type ConnectionInfo, failure } from "../../contract/index.ts";
import type { Log } from "../log/log.ts";
import type { Faults } from "../log/faults.ts";
import { Deadline } from "../time/signals.ts";
import type { Hooks, Kernel, Provisioner, Recipe } from "./kernel.ts";
import { ipcSupport, type KernelSockets } from "./ipc.ts";
import {
  connectionOf,
  HeldExit,
  Launch,
  messageOf,
  startFailure,
} from "./launch.ts";
import { type IpcReservation, reserveIpc } from "../host/unix-sockets.ts";
import { type PortReservation, reservePorts } from "../host/ports.ts";
import { RunningKernel } from "./running-kernel.ts";
import type { RuntimeFiles } from "../host/runtime-files.ts";
import type { KernelTransport } from "../zmq/transport.ts";
import { KernelJobs } from "../host/windows/job.ts";

/** How often a launch is tried with new ports when the kernel found its own taken. */
const PORT_TRIES = 3;
/** Most kernels of which it is remembered whether they use Unix sockets. */
const KNOWN_LIMIT = 1_000;

export interface LocalProvisionerOptions {
  readonly transport: KernelTransport;
  readonly files: RuntimeFiles;
  readonly log: Log;
  readonly faults: Faults;
  /** What kernels inherit. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly sockets: KernelSockets;
}

export type Reservation = PortReservation | IpcReservation;

export interface LaunchOptions extends LocalProvisionerOptions {
  readonly jobs: KernelJobs;
}

export class LocalProvisioner implements Provisioner {
  readonly #options: LaunchOptions;
  /** Per session: ports or sockets that clients were told of, or that its kernel uses. */
  readonly #reserved = new Map<string, Reservation>();
  /** By command: whether such a kernel has bound Unix sockets. */
  readonly #known = new Map<string, "able" | "unable">();

  constructor(options: LocalProvisionerOptions) {
    this.#options = { ...options, jobs: new KernelJobs(options.log) };
  }

  /** Always ports: whoever asks before the start may run the kernel elsewhere, or know nothing else. */
  async reserve({ session_id, key }: Recipe): Promise<ConnectionInfo> {
    try {
      const reservation = await reservePorts();
      this.#keep(session_id, reservation);
      return connectionOf(reservation, key);
    } catch (cause) {
      const why = messageOf(cause);
      throw failure("no_connection_info", { session_id, why }, { cause });
    }
  }

  release(session_id: string): void {
    this.#reserved.get(session_id)?.[Symbol.dispose]();
    this.#reserved.delete(session_id);
    this.#options.files.remove(session_id);
  }

  async launch(
    recipe: Recipe,
    hooks: Hooks,
    signal: AbortSignal,
  ): Promise<Kernel> {
    using time = new Deadline([signal], recipe.timeout_ms);
    const deadline = time.signal;
    for (let tries = 1; ; tries += 1) {
      const held = new HeldExit(hooks);
      const launch = new Launch(recipe, held.hooks, {
        ...this.#options,
        reserve: () => this.#reservationFor(recipe),
        support: this.#supportOf(recipe),
        isLast: tries === PORT_TRIES,
      });
      try {
        const kernel = await launch.run(deadline);
        if (launch.usesIpc) this.#learn(recipe, "able");
        held.tell();
        return kernel;
      } catch (error) {
        const { misfit } = launch;
        if (misfit === undefined || deadline.aborted || tries === PORT_TRIES) {
          held.tell();
          throw error;
        }
        this.release(recipe.session_id);
        if (misfit === "ipc") {
          this.#learn(recipe, "unable");
          tries = 0; // its ports are yet to be tried
        }
        this.#options.log.warn({ session: recipe.session_id }, AGAIN[misfit]);
      }
    }
  }

  async adopt(
    recipe: Recipe,
    connection: ConnectionInfo,
    hooks: Hooks,
    signal: AbortSignal,
  ): Promise<Kernel> {
    const { transport, log, faults } = this.#options;
    let kernel: RunningKernel | undefined;
    hooks.launched({
      pid: undefined,
      environment: {},
      working_directory: recipe.working_directory,
      connection_file: undefined,
      kill: undefined,
    });
    using time = new Deadline([signal], recipe.timeout_ms);
    try {
      kernel = new RunningKernel({
        recipe,
        connection,
        process: undefined,
        transport,
        hooks,
        log,
        faults,
      });
      await kernel.introduce(time.signal);
      return kernel;
    } catch (error) {
      kernel?.close();
      throw startFailure(recipe, error, "answer `kernel_info_request`");
    }
  }

  async #reservationFor(recipe: Recipe): Promise<Reservation> {
    const { session_id } = recipe;
    const kept = this.#reserved.get(session_id);
    if (kept !== undefined) return kept;
    if (this.#wantsIpc(recipe)) {
      const reservation = await reserveIpc(this.#options.files);
      if (reservation !== undefined) return this.#keep(session_id, reservation);
      if (this.#wanted(recipe) === "ipc") {
        throw new Error("no Unix socket can be made for it");
      }
      this.#options.log.warn(
        { session: session_id },
        "No Unix socket can be made for the kernel: it gets TCP ports, to which every user of this machine can connect",
      );
    }
    return this.#keep(session_id, await reservePorts());
  }

  #keep<T extends Reservation>(session_id: string, reservation: T): T {
    this.release(session_id);
    this.#reserved.set(session_id, reservation);
    return reservation;
  }

  #wantsIpc(recipe: Recipe): boolean {
    const wanted = this.#wanted(recipe);
    if (process.platform === "win32" || wanted === "tcp") return false;
    return wanted === "ipc" || this.#supportOf(recipe) !== "unable";
  }

  #wanted(recipe: Recipe): KernelSockets {
    return recipe.kernel_sockets ?? this.#options.sockets;
  }

  #supportOf(recipe: Recipe): "able" | "unable" | "unknown" {
    if (this.#wanted(recipe) === "ipc") return "able";
    return this.#known.get(commandOf(recipe)) ?? ipcSupport(recipe);
  }

  #learn(recipe: Recipe, support: "able" | "unable"): void {
    this.#known.set(commandOf(recipe), support);
    const [oldest] = this.#known.keys();
    if (this.#known.size > KNOWN_LIMIT && oldest !== undefined) {
      this.#known.delete(oldest);
    }
  }
}

/** What the log says of a launch that is tried once more. */
const AGAIN = {
  ports:
    "Another program has a port that was meant for the kernel: starting the kernel once more, with others",
  ipc: "The kernel has not bound its Unix sockets: starting it once more, with TCP ports, to which every user of this machine can connect",
} as const;

function commandOf({ argv }: Recipe): string {
  return JSON.stringify(argv);
}
