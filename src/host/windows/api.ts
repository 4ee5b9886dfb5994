/**
 * The Windows API functions that Node does not offer: events, jobs, handles
 * that a child inherits. They are called through koffi, an optional package
 * that is loaded when the first kernel starts on Windows, and never on other
 * systems.
 *
 * This file has the calls; `job.ts` explains their purpose. A call that fails
 * throws an error with the system's error number.
 */
import type * as Koffi from "koffi";

/** A handle. Only 32 bits of it are significant, also on 64-bit Windows. */
export type Handle = number;

/** An entry in the system's list of processes. */
export interface ListedProcess {
  readonly pid: number;
  readonly parent: number;
  readonly threads: number;
}

export interface MeasuredProcess {
  /** When the process started, in units of 100 ns; identifies the process together with the pid. */
  readonly startTime: number;
  /** User and system time, in units of 100 ns. */
  readonly cpuTime: number;
  /** The working set, in bytes. */
  readonly memory: number;
}

export interface WindowsApi {
  /** An event that is not set and resets itself after a wait. */
  createEvent(): Handle;
  setEvent(event: Handle): void;
  /** Whether the event is set; if so, resets it. */
  takeSignal(event: Handle): boolean;
  /** A handle of this process that a child may have: it only allows to wait for the end of this process. */
  openSelf(): Handle;
  /** A handle that allows to put the process into a job and to check its handles. */
  openProcess(pid: number): Handle;
  setInheritable(handle: Handle, isInheritable: boolean): void;
  /** Whether the handle's value refers to the same object in `process` as in this process. */
  isShared(handle: Handle, process: Handle): boolean;
  /** A job whose processes are killed when its last handle is closed or when this process ends. */
  createJob(): Handle;
  assign(job: Handle, process: Handle): void;
  /** The number of processes in the job. */
  countOf(job: Handle): number;
  terminate(job: Handle, exit_code: number): void;
  /** All processes of the machine. */
  processes(): ListedProcess[];
  /** `undefined` if there is no such process, or if this process may not see it. */
  measure(pid: number): MeasuredProcess | undefined;
  close(handle: Handle): void;
}

let loading: Promise<WindowsApi> | undefined;

/** Rejects, each time with the same error, if koffi is not installed or does not run. */
export function windowsApi(): Promise<WindowsApi> {
  loading ??= windowsApiFrom(() => import("koffi"));
  return loading;
}

/** The API through the package that `load` returns. */
export async function windowsApiFrom(
  load: () => Promise<typeof Koffi>,
): Promise<WindowsApi> {
  try {
    const koffi = await load();
    return kernel32((name) => koffi.load(name));
  } catch (cause) {
    throw new Error(
      "The optional package koffi, which calls the Windows API, could not be loaded",
      { cause },
    );
  }
}

const SYNCHRONIZE = 0x0010_0000;
const PROCESS_TERMINATE = 0x0001;
const PROCESS_DUP_HANDLE = 0x0040;
const PROCESS_SET_QUOTA = 0x0100;
const PROCESS_QUERY_LIMITED_INFORMATION = 0x1000;
const HANDLE_FLAG_INHERIT = 1;
const DUPLICATE_SAME_ACCESS = 2;
const WAIT_OBJECT_0 = 0;
const JOB_BASIC_ACCOUNTING = 1;
const JOB_EXTENDED_LIMITS = 9;
const JOB_LIMIT_KILL_ON_CLOSE = 0x2000;
const TH32CS_SNAPPROCESS = 2;
const INVALID_HANDLE = -1;

/** The sizes of the structures and the offsets of the fields that are read, on 64-bit Windows. */
const EXTENDED_LIMITS = { size: 144, LimitFlags: 16 } as const;
const ACCOUNTING = { size: 48, ActiveProcesses: 40 } as const;
const PROCESS_ENTRY = {
  size: 568,
  th32ProcessID: 8,
  cntThreads: 28,
  th32ParentProcessID: 32,
} as const;
const MEMORY_COUNTERS = { size: 72, WorkingSetSize: 16 } as const;

type Call = (...values: readonly unknown[]) => unknown;

function kernel32(load: (name: string) => Koffi.LibraryHandle): WindowsApi {
  if (process.arch === "ia32") {
    throw new Error(
      "32-bit Windows is not supported: its structures have other sizes",
    );
  }
  const library = load("kernel32.dll");
  const compare: Call = load("kernelbase.dll").func(
    "int CompareObjectHandles(intptr_t one, intptr_t other)",
  );
  const functions = new Map<string, Call>();

  /** A function is looked up at its first call, so that a function that is missing on some Windows does not break the others. */
  const call = (declaration: string, values: readonly unknown[]): number => {
    let found = functions.get(declaration);
    if (found === undefined) {
      found = library.func(declaration) as Call;
      functions.set(declaration, found);
    }
    return Number(found(...values));
  };
  const lastError = (declaration: string): Error => {
    const name = /(\w+)\(/.exec(declaration)?.[1] ?? declaration;
    const number = call("uint32_t GetLastError()", []);
    return new Error(`${name} failed with the Windows error ${number}`);
  };
  const callOrThrow = (
    declaration: string,
    values: readonly unknown[],
  ): void => {
    if (call(declaration, values) === 0) throw lastError(declaration);
  };
  const handleFrom = (
    declaration: string,
    values: readonly unknown[],
  ): Handle => {
    const handle = call(declaration, values);
    if (handle === 0 || handle === INVALID_HANDLE) throw lastError(declaration);
    return handle;
  };
  const open = (access: number, pid: number): Handle =>
    handleFrom(
      "intptr_t OpenProcess(uint32_t access, int inherit, uint32_t pid)",
      [access, 0, pid],
    );
  const close = (handle: Handle): void => {
    call("int CloseHandle(intptr_t handle)", [handle]);
  };
  const takeSignal = (event: Handle): boolean => {
    const waited = call(
      "uint32_t WaitForSingleObject(intptr_t handle, uint32_t milliseconds)",
      [event, 0],
    );
    return waited === WAIT_OBJECT_0;
  };

  return {
    createEvent(): Handle {
      return handleFrom(
        "intptr_t CreateEventW(void *attributes, int manual, int initial, void *name)",
        [null, 0, 0, null],
      );
    },

    setEvent(event: Handle): void {
      callOrThrow("int SetEvent(intptr_t event)", [event]);
    },

    takeSignal,

    openSelf(): Handle {
      return open(SYNCHRONIZE, process.pid);
    },

    openProcess(pid: number): Handle {
      return open(
        PROCESS_SET_QUOTA | PROCESS_TERMINATE | PROCESS_DUP_HANDLE,
        pid,
      );
    },

    setInheritable(handle: Handle, isInheritable: boolean): void {
      callOrThrow(
        "int SetHandleInformation(intptr_t handle, uint32_t mask, uint32_t flags)",
        [handle, HANDLE_FLAG_INHERIT, isInheritable ? HANDLE_FLAG_INHERIT : 0],
      );
    },

    isShared(handle: Handle, process: Handle): boolean {
      const found = Buffer.alloc(8);
      const isThere = call(
        "int DuplicateHandle(intptr_t from, intptr_t handle, intptr_t to, void *found, uint32_t access, int inherit, uint32_t options)",
        [process, handle, CURRENT_PROCESS, found, 0, 0, DUPLICATE_SAME_ACCESS],
      );
      if (isThere === 0) return false;
      const theirs = Number(found.readBigInt64LE());
      const isSame = compare(handle, theirs);
      close(theirs);
      return isSame !== 0;
    },

    createJob(): Handle {
      const job = handleFrom(
        "intptr_t CreateJobObjectW(void *attributes, void *name)",
        [null, null],
      );
      const limits = Buffer.alloc(EXTENDED_LIMITS.size);
      limits.writeUInt32LE(JOB_LIMIT_KILL_ON_CLOSE, EXTENDED_LIMITS.LimitFlags);
      try {
        callOrThrow(
          "int SetInformationJobObject(intptr_t job, int what, void *information, uint32_t size)",
          [job, JOB_EXTENDED_LIMITS, limits, limits.length],
        );
      } catch (error) {
        close(job);
        throw error;
      }
      return job;
    },

    assign(job: Handle, process: Handle): void {
      callOrThrow(
        "int AssignProcessToJobObject(intptr_t job, intptr_t process)",
        [job, process],
      );
    },

    countOf(job: Handle): number {
      const accounting = Buffer.alloc(ACCOUNTING.size);
      callOrThrow(
        "int QueryInformationJobObject(intptr_t job, int what, void *information, uint32_t size, void *needed)",
        [job, JOB_BASIC_ACCOUNTING, accounting, accounting.length, null],
      );
      return accounting.readUInt32LE(ACCOUNTING.ActiveProcesses);
    },

    terminate(job: Handle, exit_code: number): void {
      callOrThrow("int TerminateJobObject(intptr_t job, uint32_t exit_code)", [
        job,
        exit_code >>> 0,
      ]);
    },

    processes(): ListedProcess[] {
      const snapshot = handleFrom(
        "intptr_t CreateToolhelp32Snapshot(uint32_t what, uint32_t pid)",
        [TH32CS_SNAPPROCESS, 0],
      );
      const found: ListedProcess[] = [];
      const entry = Buffer.alloc(PROCESS_ENTRY.size);
      entry.writeUInt32LE(entry.length);
      const first = "int Process32FirstW(intptr_t snapshot, void *entry)";
      const next = "int Process32NextW(intptr_t snapshot, void *entry)";
      for (
        let isThere = call(first, [snapshot, entry]);
        isThere !== 0;
        isThere = call(next, [snapshot, entry])
      ) {
        found.push({
          pid: entry.readUInt32LE(PROCESS_ENTRY.th32ProcessID),
          parent: entry.readUInt32LE(PROCESS_ENTRY.th32ParentProcessID),
          threads: entry.readUInt32LE(PROCESS_ENTRY.cntThreads),
        });
      }
      close(snapshot);
      return found;
    },

    measure(pid: number): MeasuredProcess | undefined {
      let handle: Handle;
      try {
        handle = open(PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE, pid);
      } catch {
        return undefined; // it has ended, or belongs to another user
      }
      const created = Buffer.alloc(8);
      const exited = Buffer.alloc(8);
      const system = Buffer.alloc(8);
      const user = Buffer.alloc(8);
      const memory = Buffer.alloc(MEMORY_COUNTERS.size);
      memory.writeUInt32LE(memory.length);
      // An ended process can be opened while another process holds a handle of it. Its handle is then set.
      const isMeasured =
        !takeSignal(handle) &&
        call(
          "int GetProcessTimes(intptr_t process, void *created, void *exited, void *system, void *user)",
          [handle, created, exited, system, user],
        ) !== 0 &&
        call(
          "int K32GetProcessMemoryInfo(intptr_t process, void *counters, uint32_t size)",
          [handle, memory, memory.length],
        ) !== 0;
      close(handle);
      if (!isMeasured) return undefined;
      return {
        startTime: Number(created.readBigUInt64LE()),
        cpuTime: Number(system.readBigUInt64LE() + user.readBigUInt64LE()),
        memory: Number(memory.readBigUInt64LE(MEMORY_COUNTERS.WorkingSetSize)),
      };
    },

    close,
  };
}

/** What `GetCurrentProcess` returns: a pseudo-handle that means the calling process. */
const CURRENT_PROCESS: Handle = -1;
