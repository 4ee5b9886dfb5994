/**
 * What stands on Windows for signals and process groups: a job, in which a
 * kernel and all that comes of it is one thing to end, and an event, by which
 * a kernel that waits for it is interrupted.
 *
 * A job ends with us, whichever way we end, and takes the kernel's whole tree
 * along. The handles that the kernel is to have are inheritable for the one
 * moment of its start, so that no other kernel has them. Whether a child
 * inherits them is the runtime's to say, and later ones may say no: so it is
 * looked, and a kernel never hears of handles that it does not have.
 */
import type { ChildProcess } from "node:child_process";
import type { Log } from "../../log/log.ts";
import type { Variables } from "../environment.ts";
import type { SignalOutcome } from "../signal-outcome.ts";
import { type Handle, windowsApi, type WindowsApi } from "./api.ts";

/** How long a kernel that waits for the event may take to wake up. */
const WAKE_MS = 100;

/** As Windows is to tell it: what a signal is elsewhere. */
const KILLED = -1;

/**
 * Makes a job for each kernel, and says once where there can be none, or less
 * than all: a kernel is then ended by its pid, or interrupted by message.
 * `load` is how Windows is called; `undefined` on other systems.
 */
export function kernelJobs(
  log: Log,
  load = process.platform === "win32" ? windowsApi : undefined,
) {
  const said = new Set<string>();
  let handsOn = true;
  const say = (what: string, error?: unknown): void => {
    if (said.has(what)) return;
    said.add(what);
    log.warn({ err: error }, what);
  };
  return async (asked: {
    readonly interrupts: boolean;
  }): Promise<KernelJob | undefined> => {
    if (load === undefined) return undefined;
    try {
      return new KernelJob(await load(), {
        interrupts: asked.interrupts && handsOn,
        hasParent: handsOn,
        withheld: () => {
          handsOn = false;
          say(
            "This Node hands no handles on to its children: kernels are interrupted by message",
          );
        },
      });
    } catch (error) {
      say("Kernels are ended by taskkill, and interrupted by message", error);
      return undefined;
    }
  };
}

export interface KernelJobOptions {
  /** Whether the kernel is to be interrupted by an event. */
  readonly interrupts: boolean;
  /** Whether the kernel is to notice our end by itself, too. */
  readonly hasParent: boolean;
  /** Told when a kernel did not inherit what it was to have. */
  readonly withheld: () => void;
}

export class KernelJob implements Disposable {
  readonly #api: WindowsApi;
  readonly #options: KernelJobOptions;
  readonly #job: Handle;
  #event: Handle | undefined;
  #parent: Handle | undefined;
  #variables: Variables = {};
  #hasKernel = false;
  #isDisposed = false;

  constructor(api: WindowsApi, options: KernelJobOptions) {
    this.#api = api;
    this.#options = options;
    this.#job = api.createJob();
    try {
      if (options.hasParent) this.#parent = api.openSelf();
      if (options.interrupts) this.#event = api.createEvent();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    this.#variables = {
      ...(this.#event !== undefined && {
        JPY_INTERRUPT_EVENT: String(this.#event),
        IPY_INTERRUPT_EVENT: String(this.#event), // as older kernels know it
      }),
      ...(this.#parent !== undefined && {
        JPY_PARENT_PID: String(this.#parent), // a handle to wait for, and no pid
      }),
    };
  }

  /** By which the kernel knows its handles; final once it was started. */
  get variables(): Variables {
    return this.#variables;
  }

  /**
   * Starts the kernel by `start`, with its handles, and takes it in. Throws
   * what `start` does; that Windows refuses a job is no reason not to have a
   * kernel.
   */
  contain(start: (variables: Variables) => ChildProcess): ChildProcess {
    const handles = [this.#event, this.#parent].filter(
      (handle) => handle !== undefined,
    );
    for (const handle of handles) this.#api.setInheritable(handle, true);
    let child: ChildProcess;
    try {
      child = start(this.#variables);
    } finally {
      for (const handle of handles) this.#api.setInheritable(handle, false);
    }
    const hasAll = child.pid === undefined || this.#takeIn(child.pid, handles);
    this.#close("parent"); // the kernel has its own by now
    if (hasAll) return child;
    // It has not run a line of its program yet.
    child.kill();
    this.#close("event");
    this.#variables = {};
    this.#options.withheld();
    const second = start({});
    if (second.pid !== undefined) this.#takeIn(second.pid, []);
    return second;
  }

  /** In the same turn as the start. Returns whether the kernel has these handles. */
  #takeIn(pid: number, handles: readonly Handle[]): boolean {
    let kernel: Handle;
    try {
      kernel = this.#api.openProcess(pid);
    } catch {
      return true; // it has ended already
    }
    try {
      this.#api.assign(this.#job, kernel);
      this.#hasKernel = true;
    } catch {
      this.#hasKernel = false; // we live in a job that allows no other: the kernel is ended by its pid
    }
    const hasAll = handles.every((handle) =>
      this.#api.isShared(handle, kernel),
    );
    this.#api.close(kernel);
    return hasAll;
  }

  /**
   * Resolves with `unsupported` where the kernel has no event, or nobody in it
   * waits for the event now; should somebody do so later, that is in time.
   */
  async interrupt(): Promise<SignalOutcome> {
    if (!this.#signal()) return "unsupported";
    await new Promise((resolve) => setTimeout(resolve, WAKE_MS));
    if (this.#event === undefined) return "gone";
    const isHeard = !this.#api.takeSignal(this.#event);
    return isHeard || !this.#signal() ? "sent" : "unsupported";
  }

  #signal(): boolean {
    if (this.#event === undefined) return false;
    this.#api.setEvent(this.#event);
    return true;
  }

  /** Ends all that is in the job; `undefined` where the kernel is not in it. */
  kill(): SignalOutcome | undefined {
    if (!this.#hasKernel) return undefined;
    if (this.#isDisposed || this.#api.countOf(this.#job) === 0) return "gone";
    this.#api.terminate(this.#job, KILLED);
    return "sent";
  }

  /** Ends who is still in it. */
  [Symbol.dispose](): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#close("event");
    this.#close("parent");
    this.#api.close(this.#job);
  }

  #close(which: "event" | "parent"): void {
    const handle = which === "event" ? this.#event : this.#parent;
    if (which === "event") this.#event = undefined;
    else this.#parent = undefined;
    if (handle !== undefined) this.#api.close(handle);
  }
}
