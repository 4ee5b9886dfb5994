/**
 * What the server's answers lean on, without a machine beneath: sessions and
 * journals are the real ones, kernels are mocked, and nothing is looked up,
 * measured or logged.
 */
import { failure, NO_POLICY } from "../contract/index.ts";
import type { Log } from "../src/log/log.ts";
import { Guard } from "../src/log/guard.ts";
import { Faults } from "../src/log/faults.ts";
import type {
  KernelspecSource,
  Service,
  SessionRequest,
} from "../src/server/answers/service.ts";
import { changed } from "../src/session/policy.ts";
import type { SessionSpec } from "../src/session/session.ts";
import { DiskBudget } from "../src/journal/disk-budget.ts";
import { MemoryBudget } from "../src/journal/memory-budget.ts";
import { Supervisor } from "../src/supervisor/supervisor.ts";
import {
  kernelspecOf,
  type MockKernels,
  MockProvisioner,
} from "./provisioner.ts";

export interface MemoryServiceOptions {
  readonly kernels: MockKernels;
  /** Ids of sessions that were given none. */
  readonly ids: () => string;
  readonly shutDown: (reason: string) => void;
}

export function memoryService({
  kernels,
  ids,
  shutDown,
}: MemoryServiceOptions): {
  readonly service: Service;
  readonly provisioner: MockProvisioner;
} {
  const provisioner = new MockProvisioner(kernels);
  const kernelspecs = kernelspecsOf(kernels);
  const limits = {
    journal_memory_bytes: 64 * 1024 * 1024,
    server_memory_bytes: 256 * 1024 * 1024,
    journal_disk_bytes: 0,
    server_disk_bytes: 0,
    reader_buffer_bytes: 1024 * 1024,
    reader_patience_ms: 60_000,
  };
  const faults = new Faults(accidents);
  const service: Service = {
    supervisor: new Supervisor({
      provisioner,
      log: accidents,
      faults,
      journal: {
        memory: limits.journal_memory_bytes,
        disk: limits.journal_disk_bytes,
        budget: new MemoryBudget(limits.server_memory_bytes),
        diskBudget: new DiskBudget(limits.server_disk_bytes),
        directory: () => "", // which is asked for only where there is a disk
      },
    }),
    kernelspecs,
    resolveSpec: (request) => resolveSpec(request, kernelspecs, ids),
    workingDirectory: (path) => Promise.resolve({ path }),
    idle: {
      hours: undefined,
      nudge() {},
      heartbeat() {},
      [Symbol.dispose]() {},
    },
    usage: { interval_ms: 1000, [Symbol.dispose]() {} },
    telemetry: {},
    log: accidents,
    faults,
    guard: new Guard(accidents),
    limits,
    reportedVersion: "0.1.69",
    version: "0.0.0-mock",
    logLevel: "info",
    shutDown,
  };
  return { service, provisioner };
}

export function kernelspecsOf(
  kernels: MockKernels,
  program?: string,
): KernelspecSource {
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

/** As the server does it, but that no program is looked for. */
async function resolveSpec(
  request: SessionRequest,
  kernelspecs: KernelspecSource,
  ids: () => string,
): Promise<SessionSpec> {
  const spec =
    request.kernel_name === undefined
      ? undefined
      : await kernelspecs.find(request.kernel_name);
  return {
    session_id: request.session_id ?? `${spec?.name ?? "session"}-${ids()}`,
    kernel_name: spec?.name,
    workspace_id: request.workspace_id ?? undefined,
    labels: request.labels ?? {},
    policy: changed(NO_POLICY, request.policy),
    argv: request.argv ?? spec?.argv ?? [],
    display_name: request.display_name ?? spec?.display_name ?? "",
    language: request.language ?? spec?.language ?? "",
    username: request.username ?? "tester",
    interrupt_mode: request.interrupt_mode ?? spec?.interrupt_mode ?? "signal",
    session_mode: request.session_mode ?? "console",
    working_directory: request.working_directory ?? "",
    notebook_uri: request.notebook_uri ?? undefined,
    input_prompt: request.input_prompt ?? "",
    continuation_prompt: request.continuation_prompt ?? "",
    env: request.env ?? [],
    spec_env: spec?.env,
    connection_timeout: request.connection_timeout ?? 30,
    protocol_version: request.protocol_version ?? "5.3",
    startup_environment: request.startup_environment ?? "none",
    startup_environment_arg: request.startup_environment_arg ?? undefined,
    key: ids(),
  };
}

/** A log where no library for logs is. It tells accidents only: what a client hears of one is that the log says more. */
const members = {
  child: () => accidents,
  level: "error",
  error: (details: unknown, message?: string) =>
    console.error(message ?? "", details),
};
const accidents = new Proxy(members, {
  get: (known, name): unknown => Reflect.get(known, name) ?? (() => {}),
}) as unknown as Log;
