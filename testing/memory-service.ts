/**
 * The services that the server's answers need, without a machine: sessions and
 * journals are the real ones, kernels are mocked, and nothing is looked up,
 * measured or logged.
 */
import { failure, NO_LIMITS, NO_POLICY } from "../contract/index.ts";
import type { Log } from "../src/log/log.ts";
import { guardOf } from "../src/log/guard.ts";
import { Faults } from "../src/log/faults.ts";
import type { HostFacts } from "../src/host/host.ts";
import type { Service } from "../src/server/answers/service.ts";
import { ServerEvents } from "../src/server/events.ts";
import { DiskBudget } from "../src/journal/disk-budget.ts";
import { MemoryBudget } from "../src/journal/memory-budget.ts";
import { Supervisor } from "../src/supervisor/supervisor.ts";
import { type KeptInMemory, keptInMemory } from "./memory-keep.ts";
import {
  kernelspecOf,
  type MockKernels,
  MockProvisioner,
} from "./provisioner.ts";

export interface MemoryServiceOptions {
  readonly kernels: MockKernels;
  /** Makes ids for sessions that are created without one. */
  readonly ids: () => string;
  readonly shutDown: (reason: string) => void;
  readonly basePath: string;
  /** Whether sessions outlive a restart of the server. */
  readonly isKeeping: boolean;
}

export function memoryService({
  kernels,
  ids,
  shutDown,
  basePath,
  isKeeping,
}: MemoryServiceOptions): {
  readonly service: Service;
  readonly provisioner: MockProvisioner;
  /** Present if the server keeps sessions. */
  readonly kept: KeptInMemory | undefined;
} {
  const provisioner = new MockProvisioner(kernels);
  const kept = isKeeping ? keptInMemory(provisioner) : undefined;
  const kernelspecs = kernelspecsOf(kernels);
  const limits = {
    journal_memory_bytes: 64 * 1024 * 1024,
    server_memory_bytes: 256 * 1024 * 1024,
    journal_disk_bytes: 0,
    server_disk_bytes: 0,
    reader_buffer_bytes: 1024 * 1024,
    reader_timeout_ms: 60_000,
  };
  const faults = new Faults(consoleLog);
  const service: Service = {
    supervisor: new Supervisor({
      provisioner,
      keeping: kept?.keeping,
      log: consoleLog,
      faults,
      journal: {
        memory: limits.journal_memory_bytes,
        disk: limits.journal_disk_bytes,
        budget: new MemoryBudget(limits.server_memory_bytes),
        diskBudget: new DiskBudget(limits.server_disk_bytes),
        directory: () => "", // never called, because no journal uses the disk
      },
    }),
    kernelspecs,
    host: noHost,
    policy: NO_POLICY,
    sessionLimits: NO_LIMITS,
    newId: ids,
    warm: {
      state: [],
      begin() {},
      [Symbol.asyncDispose]: () => Promise.resolve(),
    },
    sampleUsage: () => Promise.resolve(new Map()),
    connectionFiles: undefined,
    idle: {
      hours: undefined,
      noteActivity() {},
      heartbeat() {},
      [Symbol.dispose]() {},
    },
    usage: { interval_ms: 1000, [Symbol.dispose]() {} },
    telemetry: {},
    events: new ServerEvents(),
    log: consoleLog,
    faults,
    guard: guardOf(consoleLog),
    limits,
    basePath,
    processId: process.pid,
    reportedVersion: "0.1.69",
    version: "0.0.0-mock",
    logLevel: "info",
    shutDown,
  };
  service.supervisor.onChange((session) => service.events.changed(session));
  return { service, provisioner, kept };
}

export function kernelspecsOf(
  kernels: MockKernels,
  program?: string,
): Service["kernelspecs"] {
  const all = Object.entries(kernels).map(([name, kernel]) =>
    kernelspecOf(name, kernel, program),
  );
  return {
    list: () =>
      Promise.resolve({
        default: all[0]?.name ?? null,
        kernelspecs: all,
        problems: [],
      }),
    find: (name) => {
      const found = all.find((spec) => spec.name === name.toLowerCase());
      if (found !== undefined) return Promise.resolve(found);
      const known = all.map((spec) => spec.name).join(", ");
      return Promise.reject(failure("kernelspec_not_found", { name, known }));
    },
  };
}

/** A host without a machine: every program and every directory exists. */
const noHost: HostFacts = {
  userName: () => "tester",
  workingDirectory: (path) => Promise.resolve({ path }),
  environment: () => ({}),
  whyNoCpuLimit: () => undefined,
  findProgram: (file) => Promise.resolve({ file, path: "" }),
};

/** A log without a log library. It prints only internal errors, because their messages to clients refer to the log. */
const members = {
  child: () => consoleLog,
  level: "error",
  error: (details: unknown, message?: string) =>
    console.error(message ?? "", details),
};
const consoleLog = new Proxy(members, {
  get: (known, name): unknown => Reflect.get(known, name) ?? (() => {}),
}) as unknown as Log;
