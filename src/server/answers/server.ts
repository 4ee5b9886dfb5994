/** The answers to the operations of the server itself. */
import {
  type contract,
  failure,
  type InputOf,
} from "../../../contract/index.ts";
import type { Session } from "../../session/session.ts";
import type { AnswersTo } from "./implement.ts";
import type { Service } from "./service.ts";

type WarmKernels = InputOf<
  typeof contract.server.configuration.output
>["warm_kernels"][number];

/** Kallichore's limit: 16 bits. */
const MAX_HOURS = 65_535;
/** More frequent samples have no use. */
const MIN_SAMPLE_MS = 100;

export const server: AnswersTo<typeof contract.server> = {
  status({ service: { supervisor, reportedVersion, processId, version } }) {
    const { sessions, started, server_id, uptime_ms } = supervisor;
    const busy = sessions.filter(({ status }) => status === "busy");
    return {
      sessions: sessions.length,
      active: sessions.filter(({ isRunning }) => isRunning).length,
      busy: busy.length > 0,
      // Since the last change of a session's status; without sessions, since the start of the server.
      idle_seconds:
        busy.length > 0 ? 0 : seconds(Math.min(uptime_ms, ...agesOf(sessions))),
      busy_seconds: seconds(Math.max(0, ...agesOf(busy))),
      uptime_seconds: seconds(uptime_ms),
      version: reportedVersion,
      process_id: processId,
      started: started.toISOString(),
      server_id,
      restoring: supervisor.restoring,
      server_version: version,
      mcp: { active: false, port: 0, request_count: 0, workspaces: [] },
    };
  },

  async configuration({ service }) {
    const { idle, usage, logLevel, limits } = service;
    return {
      ...(idle.hours !== undefined && { idle_shutdown_hours: idle.hours }),
      resource_sample_interval_ms: usage.interval_ms,
      log_level: logLevel,
      limits: { ...limits },
      warm_kernels: await describeWarm(service),
    };
  },

  configure({ input, service }) {
    const { idle_shutdown_hours, resource_sample_interval_ms, log_level } =
      input;
    // All values are checked before any is set.
    if (isGiven(idle_shutdown_hours) && idle_shutdown_hours > MAX_HOURS) {
      const why = `idle_shutdown_hours is ${idle_shutdown_hours}; it must be at most ${MAX_HOURS}`;
      throw failure("bad_configuration", { why });
    }
    if (
      isGiven(resource_sample_interval_ms) &&
      resource_sample_interval_ms < 0
    ) {
      const why = `resource_sample_interval_ms is ${resource_sample_interval_ms}; it must be 0 (off) or more`;
      throw failure("bad_configuration", { why });
    }
    if (isGiven(idle_shutdown_hours)) {
      service.idle.hours =
        idle_shutdown_hours < 0 ? undefined : idle_shutdown_hours;
    }
    if (isGiven(resource_sample_interval_ms)) {
      service.usage.interval_ms =
        resource_sample_interval_ms === 0
          ? 0
          : Math.max(resource_sample_interval_ms, MIN_SAMPLE_MS);
    }
    if (isGiven(log_level)) service.logLevel = log_level;
    return null;
  },

  heartbeat({ input, service: { idle } }) {
    idle.heartbeat(input.process_id ?? undefined);
    return null;
  },

  shutdown({ service }) {
    service.shutDown("a client requested its end");
    return null;
  },
};

/** With the memory that they use now. */
async function describeWarm({
  warm: { state },
  sampleUsage,
}: Service): Promise<WarmKernels[]> {
  if (state.length === 0) return [];
  const roots = state
    .flatMap(({ pids }) => pids)
    .filter((pid) => pid !== undefined)
    .map((pid) => ({ pid }));
  const usages = await sampleUsage(roots);
  return state.map(
    ({ kernel_name, working_directory, count, pids, problem }) => ({
      kernel_name,
      working_directory: working_directory ?? null,
      count,
      ready: pids.map((pid) => ({
        process_id: pid ?? null,
        memory_bytes: usages.get(pid ?? 0)?.memory_bytes ?? null,
      })),
      problem: problem ?? null,
    }),
  );
}

function isGiven<T>(value: T | null | undefined): value is T {
  return value !== null && value !== undefined;
}

function seconds(ms: number): number {
  return Math.floor(ms / 1000);
}

function agesOf(sessions: readonly Session[]): number[] {
  return sessions.map(({ statusAge_ms }) => statusAge_ms);
}
