/** Launches kernels on a host, and adopts those already running. Which sockets each session's kernels are told to bind is chosen here. */
import type { ConnectionInfo } from "../../contract/index.ts";
import type { Reservation } from "../host/address.ts";
import { deadline } from "../time/signals.ts";
import { type IpcSupport, ipcSupport, type KernelSockets } from "./ipc.ts";
import type { Hooks, Kernel, Provisioner, Recipe } from "./kernel.ts";
import {
  connectionOf,
  launch,
  type LaunchOptions,
  type SocketChoice,
} from "./launch.ts";
import { RunningKernel } from "./running-kernel.ts";
import { answerFailure, stepFailure } from "./start-failure.ts";

/** Most kernels of which it is remembered whether they use Unix sockets. */
const KNOWN_LIMIT = 1_000;

export interface HostProvisionerOptions extends LaunchOptions {
  readonly sockets: KernelSockets;
}

export class HostProvisioner implements Provisioner {
  readonly #options: HostProvisionerOptions;
  /** Per session: ports or sockets that clients were told of, or that its kernel uses. */
  readonly #reserved = new Map<string, Reservation>();
  /** By command: whether such a kernel has bound Unix sockets. */
  readonly #known = new Map<string, "able" | "unable">();

  constructor(options: HostProvisionerOptions) {
    this.#options = options;
  }

  /** Always ports: whoever asks before the start may run the kernel elsewhere, or know nothing else. */
  async reserve({ session_id, key }: Recipe): Promise<ConnectionInfo> {
    try {
      const reservation = await this.#options.host.reservePorts();
      return connectionOf(this.#keep(session_id, reservation), key);
    } catch (cause) {
      throw stepFailure("no_connection_info", { session_id }, cause);
    }
  }

  release(session_id: string): void {
    this.#reserved.get(session_id)?.[Symbol.dispose]();
    this.#reserved.delete(session_id);
    this.#options.host.removeFiles(session_id);
  }

  async launch(
    recipe: Recipe,
    hooks: Hooks,
    signal: AbortSignal,
  ): Promise<Kernel> {
    using time = deadline([signal], recipe.timeout_ms);
    return await launch(recipe, hooks, {
      ...this.#options,
      sockets: this.#choiceFor(recipe),
      deadline: time.signal,
    });
  }

  async adopt(
    recipe: Recipe,
    connection: ConnectionInfo,
    hooks: Hooks,
    signal: AbortSignal,
  ): Promise<Kernel> {
    const { host, transport, log, faults } = this.#options;
    let kernel: RunningKernel | undefined;
    hooks.launched({
      pid: undefined,
      environment: {},
      working_directory: recipe.working_directory,
      connection_file: undefined,
      kill: undefined,
    });
    using time = deadline([signal], recipe.timeout_ms);
    try {
      kernel = new RunningKernel({
        recipe,
        connection,
        process: undefined,
        platform: host.platform,
        transport,
        hooks,
        log,
        faults,
      });
      await kernel.introduce(time.signal);
      return kernel;
    } catch (error) {
      kernel?.close();
      throw answerFailure(recipe, error);
    }
  }

  #choiceFor(recipe: Recipe): SocketChoice {
    const supportOf = () => this.#supportOf(recipe);
    return {
      reserve: () => this.#reservationFor(recipe),
      release: () => this.release(recipe.session_id),
      get support() {
        return supportOf();
      },
      learn: (support) => this.#learn(recipe, support),
    };
  }

  async #reservationFor(recipe: Recipe): Promise<Reservation> {
    const { session_id } = recipe;
    const { host, log } = this.#options;
    const kept = this.#reserved.get(session_id);
    if (kept !== undefined) return kept;
    if (this.#wantsIpc(recipe)) {
      const reservation = await host.reserveSockets();
      if (reservation !== undefined) return this.#keep(session_id, reservation);
      if (this.#wanted(recipe) === "ipc") {
        throw new Error("no Unix socket can be made for it");
      }
      log.warn(
        { session: session_id },
        "No Unix socket can be made for the kernel: it gets TCP ports, to which every user of this machine can connect",
      );
    }
    return this.#keep(session_id, await host.reservePorts());
  }

  #keep(session_id: string, reservation: Reservation): Reservation {
    this.release(session_id);
    this.#reserved.set(session_id, reservation);
    return reservation;
  }

  #wantsIpc(recipe: Recipe): boolean {
    const { host } = this.#options;
    if (host.platform === "win32" || this.#wanted(recipe) === "tcp") {
      return false;
    }
    return this.#supportOf(recipe) !== "unable";
  }

  #wanted(recipe: Recipe): KernelSockets {
    return recipe.kernel_sockets ?? this.#options.sockets;
  }

  #supportOf(recipe: Recipe): IpcSupport {
    if (this.#wanted(recipe) === "ipc") return "required";
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

function commandOf({ argv }: Recipe): string {
  return JSON.stringify(argv);
}
