/**
 * The replacement for signals and process groups on Windows. A job contains a
 * kernel and its descendants, so that they can be ended together. An event
 * interrupts a kernel that waits for it.
 *
 * A job ends when this process ends, for whatever reason, and kills the
 * kernel's whole process tree. The kernel's handles are inheritable only during
 * its start, so that no other kernel inherits them. The runtime decides whether
 * a child inherits handles, and later versions may not allow it. So the job
 * checks, and a kernel never gets the numbers of handles that it does not have.
 */
import type { ChildProcess } from "node:child_process";
import type { Log } from "../../log/log.ts";
import type { Variables } from "../environment.ts";
import type { SignalOutcome } from "../signal-outcome.ts";
import { type Handle, windowsApi, type WindowsApi } from "./api.ts";

/** How long a kernel that waits for the event may take to notice it. */
const WAKE_TIMEOUT_MS = 100;

/** The exit code of a killed kernel, for which other systems report a signal. */
const KILLED_EXIT_CODE = -1;

/**
 * Makes a job for each kernel. If jobs or events are not available, it logs a
 * warning once; kernels are then ended by pid or interrupted by message.
 * `load` loads the Windows API; it is `undefined` on other systems.
 */
export function kernelJobs(
  log: Log,
  load = process.platform === "win32" ? windowsApi : undefined,
) {
  const logged = new Set<string>();
  let canInherit = true;
  const warnOnce = (what: string, error?: unknown): void => {
    if (logged.has(what)) return;
    logged.add(what);
    log.warn({ err: error }, what);
  };
  return async (requested: {
    readonly interrupts: boolean;
  }): Promise<KernelJob | undefined> => {
    if (load === undefined) return undefined;
    try {
      return new KernelJob(await load(), {
        interrupts: requested.interrupts && canInherit,
        watchesParent: canInherit,
        onNotInherited: () => {
          canInherit = false;
          warnOnce(
            "This version of Node does not let child processes inherit handles: kernels are interrupted by message",
          );
        },
      });
    } catch (error) {
      warnOnce(
        "Kernels are ended by taskkill, and interrupted by message",
        error,
      );
      return undefined;
    }
  };
}

export interface KernelJobOptions {
  /** Whether the kernel will be interrupted by an event. */
  readonly interrupts: boolean;
  /** Whether the kernel gets a handle by which it can notice the end of this process. */
  readonly watchesParent: boolean;
  /** Called if a kernel did not inherit its handles. */
  readonly onNotInherited: () => void;
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
      if (options.watchesParent) this.#parent = api.openSelf();
      if (options.interrupts) this.#event = api.createEvent();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    this.#variables = {
      ...(this.#event !== undefined && {
        JPY_INTERRUPT_EVENT: String(this.#event),
        IPY_INTERRUPT_EVENT: String(this.#event), // the name that older kernels use
      }),
      ...(this.#parent !== undefined && {
        JPY_PARENT_PID: String(this.#parent), // a handle to wait for, not a pid
      }),
    };
  }

  /** The variables that give the kernel its handles; final after the start. */
  get variables(): Variables {
    return this.#variables;
  }

  /**
   * Calls `start` to start the kernel with its handles, and puts the kernel
   * into the job. Throws the errors of `start`. If Windows refuses the job, the
   * kernel runs without it.
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
    const hasHandles =
      child.pid === undefined || this.#addToJob(child.pid, handles);
    this.#close("parent"); // the kernel has inherited its own
    if (hasHandles) return child;
    // The kernel has not run a line of its program yet.
    child.kill();
    this.#close("event");
    this.#variables = {};
    this.#options.onNotInherited();
    const second = start({});
    if (second.pid !== undefined) this.#addToJob(second.pid, []);
    return second;
  }

  /** Called in the same turn of the event loop as the start. Returns whether the kernel has these handles. */
  #addToJob(pid: number, handles: readonly Handle[]): boolean {
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
      this.#hasKernel = false; // this process is in a job that allows no nested job: the kernel is ended by its pid
    }
    const hasAll = handles.every((handle) =>
      this.#api.isShared(handle, kernel),
    );
    this.#api.close(kernel);
    return hasAll;
  }

  /**
   * Resolves with `unsupported` if the kernel has no event, or if it does not
   * wait for the event now. The event stays set, so that a later wait still
   * receives the interrupt.
   */
  async interrupt(): Promise<SignalOutcome> {
    if (!this.#signal()) return "unsupported";
    await new Promise((resolve) => setTimeout(resolve, WAKE_TIMEOUT_MS));
    if (this.#event === undefined) return "gone";
    const isReceived = !this.#api.takeSignal(this.#event);
    return isReceived || !this.#signal() ? "sent" : "unsupported";
  }

  #signal(): boolean {
    if (this.#event === undefined) return false;
    this.#api.setEvent(this.#event);
    return true;
  }

  /** Kills all processes in the job; `undefined` if the kernel is not in it. */
  kill(): SignalOutcome | undefined {
    if (!this.#hasKernel) return undefined;
    if (this.#isDisposed || this.#api.countOf(this.#job) === 0) return "gone";
    this.#api.terminate(this.#job, KILLED_EXIT_CODE);
    return "sent";
  }

  /** Closes the job, which kills the processes that are still in it. */
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
