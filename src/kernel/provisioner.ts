/** Launches kernels on a host, and adopts kernels that already run. Chooses the sockets that each session's kernels are told to bind. */
import type { Reservation } from "../host/address.ts";
import { deadline } from "../time/signals.ts";
import { type IpcSupport, ipcSupport, type KernelSockets } from "./ipc.ts";
import type { Kernel, Provisioner, Recipe } from "./kernel.ts";
import {
  connectionOf,
  launch,
  type LaunchOptions,
  type SocketChoice,
} from "./launch.ts";
import { type KernelRun, RunningKernel } from "./running-kernel.ts";
import { answerFailure, stepFailure } from "./start-failure.ts";

/** The largest number of commands for which the provisioner remembers whether they support Unix sockets. */
const KNOWN_LIMIT = 1_000;

export interface HostProvisionerOptions extends LaunchOptions {
  readonly sockets: KernelSockets;
}

export function hostProvisioner(options: HostProvisionerOptions): Provisioner {
  const { host, log } = options;
  /** By session: the ports or sockets that its kernel uses, or that a client has requested. */
  const reserved = new Map<string, Reservation>();
  /** By command: whether a kernel with this command has bound Unix sockets. */
  const known = new Map<string, "able" | "unable">();

  const release = (session_id: string): void => {
    reserved.get(session_id)?.[Symbol.dispose]();
    reserved.delete(session_id);
    host.removeFiles(session_id);
  };
  const keep = (session_id: string, reservation: Reservation): Reservation => {
    release(session_id);
    reserved.set(session_id, reservation);
    return reservation;
  };
  const desired = (recipe: Recipe): KernelSockets =>
    recipe.kernel_sockets ?? options.sockets;
  const supportOf = (recipe: Recipe): IpcSupport => {
    if (desired(recipe) === "ipc") return "required";
    return known.get(commandOf(recipe)) ?? ipcSupport(recipe);
  };
  const remember = (recipe: Recipe, support: "able" | "unable"): void => {
    known.set(commandOf(recipe), support);
    const [oldest] = known.keys();
    if (known.size > KNOWN_LIMIT && oldest !== undefined) known.delete(oldest);
  };
  const canUseIpc = (recipe: Recipe): boolean => {
    if (host.platform === "win32" || desired(recipe) === "tcp") return false;
    return supportOf(recipe) !== "unable";
  };
  const reservationFor = async (recipe: Recipe): Promise<Reservation> => {
    const { session_id } = recipe;
    const kept = reserved.get(session_id);
    if (kept !== undefined) return kept;
    if (canUseIpc(recipe)) {
      const reservation = await host.reserveSockets();
      if (reservation !== undefined) return keep(session_id, reservation);
      if (desired(recipe) === "ipc") {
        throw new Error("no Unix socket can be made for the kernel");
      }
      log.warn(
        { session: session_id },
        "No Unix socket can be made for the kernel. It gets TCP ports, to which every user of this machine can connect",
      );
    }
    return keep(session_id, await host.reservePorts());
  };

  return {
    /** Reserves TCP ports: a client that needs them before the start may run the kernel elsewhere, or support only ports. */
    async reserve({ session_id, key }) {
      try {
        const reservation = await host.reservePorts();
        return connectionOf(keep(session_id, reservation), key);
      } catch (cause) {
        throw stepFailure("no_connection_info", { session_id }, cause);
      }
    },
    release,
    async launch(recipe, hooks, signal) {
      using time = deadline([signal], recipe.timeout_ms);
      const sockets: SocketChoice = {
        reserve: () => reservationFor(recipe),
        release: () => release(recipe.session_id),
        get support() {
          return supportOf(recipe);
        },
        remember: (support) => remember(recipe, support),
      };
      const needs = { ...options, sockets, deadline: time.signal };
      return await launch(recipe, hooks, needs);
    },
    adopt: (recipe, connection, hooks, signal) =>
      adopt({ recipe, connection, hooks, ...options }, signal),
  };
}

/** Connects to a kernel that another program started. */
async function adopt(
  {
    host,
    ...run
  }: LaunchOptions & Pick<KernelRun, "recipe" | "connection" | "hooks">,
  signal: AbortSignal,
): Promise<Kernel> {
  const { recipe, hooks } = run;
  hooks.launched({
    pid: undefined,
    environment: {},
    working_directory: recipe.working_directory,
    connection_file: undefined,
    kill: undefined,
  });
  using time = deadline([signal], recipe.timeout_ms);
  let kernel: RunningKernel | undefined;
  try {
    const { platform } = host;
    kernel = new RunningKernel({ ...run, process: undefined, platform });
    await kernel.connect(time.signal);
    return kernel;
  } catch (error) {
    kernel?.close();
    throw answerFailure(recipe, error);
  }
}

function commandOf({ argv }: Recipe): string {
  return JSON.stringify(argv);
}
