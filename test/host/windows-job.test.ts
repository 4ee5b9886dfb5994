/** Jobs and events with a fake Windows API; `test/windows` tests the real one. */
import type { ChildProcess } from "node:child_process";
import { describe, expect, test } from "vitest";
import { silentLog } from "../../src/log/log.ts";
import type { Handle, WindowsApi } from "../../src/host/windows/api.ts";
import { windowsApiFrom } from "../../src/host/windows/api.ts";
import { kernelJobs } from "../../src/host/windows/job.ts";
import { windowsProcesses } from "../../src/host/windows/processes.ts";

const KERNEL = 4711;

/** Handles by kind, the calls on them, and how Windows behaves. */
class Windows implements WindowsApi {
  readonly open = new Map<Handle, string>();
  readonly inheritable = new Set<Handle>();
  readonly done: string[] = [];
  handsOn = true;
  allowsJobs = true;
  /** Whether a process waits for the event, and so takes its signal. */
  hasListener = true;
  members = 0;
  #next = 100;
  #signalled = false;

  createEvent = () => this.#opened("event");
  openSelf = () => this.#opened("parent");
  createJob = () => this.#opened("job");
  openProcess = () => this.#opened("kernel");

  setEvent(): void {
    this.done.push("signal");
    this.#signalled = !this.hasListener;
  }

  takeSignal(): boolean {
    const was = this.#signalled;
    this.#signalled = false;
    return was;
  }

  setInheritable(handle: Handle, isInheritable: boolean): void {
    if (isInheritable) this.inheritable.add(handle);
    else this.inheritable.delete(handle);
  }

  isShared = () => this.handsOn;

  assign(): void {
    if (!this.allowsJobs) throw new Error("AssignProcessToJobObject failed");
    this.members += 1;
  }

  countOf = () => this.members;

  terminate(_job: Handle, exit_code: number): void {
    this.done.push(`terminate ${exit_code}`);
    this.members = 0;
  }

  processes = () => [];
  measure = () => undefined;

  close(handle: Handle): void {
    expect(this.open.delete(handle)).toBe(true); // each is closed once
  }

  get kinds(): string[] {
    return [...this.open.values()].sort();
  }

  #opened(kind: string): Handle {
    this.open.set(this.#next, kind);
    return this.#next++;
  }
}

function child(onKill: () => void = () => {}): ChildProcess {
  return { pid: KERNEL, kill: onKill } as unknown as ChildProcess;
}

async function jobOf(windows: Windows, interrupts = true) {
  const make = kernelJobs(silentLog(), () => Promise.resolve(windows));
  const job = await make({ interrupts });
  if (job === undefined) throw new Error("no job");
  return job;
}

describe("a kernel's job", () => {
  test("makes its handles inheritable at the start, and at no other time", async () => {
    const windows = new Windows();
    using job = await jobOf(windows);
    expect(windows.inheritable.size).toBe(0);
    let during: string[] = [];
    job.contain((variables) => {
      during = [...windows.inheritable].map(
        (handle) => windows.open.get(handle) ?? "",
      );
      const { JPY_INTERRUPT_EVENT, JPY_PARENT_PID } = variables;
      expect(windows.open.get(Number(JPY_INTERRUPT_EVENT))).toBe("event");
      expect(windows.open.get(Number(JPY_PARENT_PID))).toBe("parent");
      return child();
    });
    expect(during.sort()).toEqual(["event", "parent"]);
    expect(windows.inheritable.size).toBe(0);
    expect(windows.kinds).toEqual(["event", "job"]);
  });

  test("has no event for a kernel that is interrupted by message", async () => {
    using job = await jobOf(new Windows(), false);
    job.contain(() => child());
    expect(Object.keys(job.variables)).toEqual(["JPY_PARENT_PID"]);
    expect(await job.interrupt()).toBe("unsupported");
  });

  test("makes the handles private again if the start throws, and closes all at the end", async () => {
    const windows = new Windows();
    const job = await jobOf(windows);
    expect(() =>
      job.contain(() => {
        throw new Error("spawn EINVAL");
      }),
    ).toThrow("EINVAL");
    expect(windows.inheritable.size).toBe(0);
    job[Symbol.dispose]();
    job[Symbol.dispose]();
    expect(windows.kinds).toEqual([]);
  });

  test("interrupts by the event", async () => {
    const windows = new Windows();
    using job = await jobOf(windows);
    job.contain(() => child());
    expect(await job.interrupt()).toBe("sent");
  });

  test("leaves the event set for a kernel that waits later, and reports that a message is needed", async () => {
    const windows = new Windows();
    using job = await jobOf(windows);
    job.contain(() => child());
    windows.hasListener = false;
    expect(await job.interrupt()).toBe("unsupported");
    expect(windows.done).toEqual(["signal", "signal"]);
    expect(windows.takeSignal()).toBe(true);
  });

  test("gives the outcome gone if the kernel ends during the interrupt", async () => {
    const job = await jobOf(new Windows());
    job.contain(() => child());
    const outcome = job.interrupt();
    job[Symbol.dispose]();
    expect(await outcome).toBe("gone");
  });

  test("kills its processes, as a signal would", async () => {
    const windows = new Windows();
    using job = await jobOf(windows);
    job.contain(() => child());
    expect(job.kill()).toBe("sent");
    expect(windows.done).toEqual(["terminate -1"]);
    expect(job.kill()).toBe("gone");
  });

  test("leaves a kernel that cannot be in a job to taskkill", async () => {
    const windows = new Windows();
    windows.allowsJobs = false;
    using job = await jobOf(windows);
    job.contain(() => child());
    expect(job.kill()).toBeUndefined();
    expect(await job.interrupt()).toBe("sent");
  });
});

describe("a Node whose children inherit no handles", () => {
  test("starts the kernel again, without handles, and no other with them", async () => {
    const windows = new Windows();
    windows.handsOn = false;
    const jobs = kernelJobs(silentLog(), () => Promise.resolve(windows));
    using job = await jobs({ interrupts: true });
    const starts: string[][] = [];
    let kills = 0;
    job?.contain((variables) => {
      starts.push(Object.keys(variables));
      return child(() => (kills += 1));
    });
    expect(starts).toEqual([
      ["JPY_INTERRUPT_EVENT", "IPY_INTERRUPT_EVENT", "JPY_PARENT_PID"],
      [],
    ]);
    expect(kills).toBe(1);
    expect(job?.variables).toEqual({});
    using next = await jobs({ interrupts: true });
    expect(next?.variables).toEqual({});
    expect(windows.kinds).toEqual(["job", "job"]);
  });
});

describe("without the Windows API", () => {
  test("there are no jobs, and the log reports it once", async () => {
    const lines: unknown[] = [];
    const log = silentLog();
    log.warn = (...words: unknown[]) => void lines.push(words.at(-1));
    const jobs = kernelJobs(log, () =>
      windowsApiFrom(() => Promise.reject(new Error("not installed"))),
    );
    expect(await jobs({ interrupts: true })).toBeUndefined();
    expect(await jobs({ interrupts: true })).toBeUndefined();
    expect(lines).toEqual([
      "Kernels are ended by taskkill, and interrupted by message",
    ]);
  });
});

describe("koffi", () => {
  test("calls the system that it runs on, and finds no Windows API elsewhere", async () => {
    const koffi = await import("koffi");
    const libc = koffi.load(
      process.platform === "darwin" ? "libSystem.dylib" : "libc.so.6",
    );
    const getpid = libc.func("int getpid()") as () => number;
    expect(getpid()).toBe(process.pid);
    await expect(windowsApiFrom(() => import("koffi"))).rejects.toThrow(
      /koffi/,
    );
  });
});

describe("the processes of Windows", () => {
  const table = (
    all: Readonly<Record<number, readonly [parent: number, began: number]>>,
  ) => {
    const windows = new Windows();
    const entries = Object.entries(all);
    return windowsProcesses(
      Object.assign(windows, {
        processes: () =>
          entries.map(([pid, [parent]]) => ({
            pid: Number(pid),
            parent,
            threads: 3,
          })),
        measure: (pid: number) => {
          const began = all[pid]?.[1];
          return began === undefined
            ? undefined
            : { startTime: began, cpuTime: 200_000, memory: 8192 };
        },
      }),
    );
  };

  test("are a tree, parents before children", () => {
    const processes = table({ 8: [4, 1], 12: [8, 2], 16: [12, 3], 20: [4, 4] });
    expect(processes.descendantsOf([8])).toEqual([12, 16]);
    expect(processes.statOf(16)).toMatchObject({
      cpuTicks: 2,
      threads: 3,
      startTime: 3,
    });
    expect(processes.statOf(99)).toBeUndefined();
  });

  test("have no parent that is younger than they are: its pid was reused", () => {
    const processes = table({ 8: [4, 9], 12: [8, 2] });
    expect(processes.descendantsOf([8])).toEqual([]);
  });
});
