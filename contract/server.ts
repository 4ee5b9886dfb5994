/** The operations on the server itself: its status, its configuration, its shutdown. */
import * as z from "zod";
import { mutation, query } from "./operation.ts";

const int32 = z.int().min(-2147483648).max(2147483647);

/** Kallichore's report about its MCP listener. This server has no such listener. */
const McpStatus = z
  .looseObject({
    active: z.boolean().describe("Whether there is an MCP listener"),
    port: z.int().describe("Port of the listener; 0 if there is none"),
    request_count: z
      .int()
      .describe("Tool calls since the listener was started"),
    workspaces: z
      .array(z.looseObject({}))
      .describe("The workspaces that have registered"),
  })
  .meta({ id: "McpStatus" });

export const ServerStatus = z
  .looseObject({
    sessions: z.int(),
    active: z
      .int()
      .describe("The number of sessions that were started and have not exited"),
    busy: z.boolean(),
    idle_seconds: z.int().describe("0 while busy"),
    busy_seconds: z.int(),
    uptime_seconds: z.int(),
    version: z
      .string()
      .describe("The Kallichore version that this server is compatible with"),
    process_id: z.int(),
    started: z.string(),
    server_id: z
      .string()
      .describe(
        "A new id at every start of the server; a server that keeps sessions keeps its id",
      ),
    restoring: z
      .int()
      .describe(
        "The number of kept sessions that are not attached to their kernels yet, after a start of the server",
      ),
    server_version: z.string().describe("The version of this server"),
    mcp: McpStatus,
  })
  .meta({ id: "ServerStatus" });
export type ServerStatus = z.infer<typeof ServerStatus>;

export const LogLevel = z
  .enum(["trace", "debug", "info", "warn", "error"])
  .meta({ id: "LogLevel" });
export type LogLevel = z.infer<typeof LogLevel>;

export const Limits = z
  .looseObject({
    journal_memory_bytes: z
      .int()
      .describe(
        "The most bytes that one session's journal keeps in memory. Entries that wait for a slow disk may take three times as many, while all journals together use less than three quarters of `server_memory_bytes`",
      ),
    server_memory_bytes: z
      .int()
      .describe("The most bytes that all journals together keep in memory"),
    journal_disk_bytes: z
      .int()
      .describe(
        "The most bytes that one session's journal keeps on disk in addition to memory. Beyond it, the oldest entries are deleted. 0: none",
      ),
    server_disk_bytes: z
      .int()
      .describe(
        "The most bytes that all journals together keep on disk. Beyond it, the oldest entries of the largest journal are deleted. 0: none",
      ),
    reader_buffer_bytes: z
      .int()
      .describe(
        "The most bytes that may wait in the server for one reader that does not read",
      ),
    reader_timeout_ms: z
      .int()
      .describe(
        "The time after which a reader that accepts none of the waiting data is disconnected; it may resume",
      ),
  })
  .meta({ id: "Limits" });

/** The warm kernels of one kernelspec: they are started before a session asks for one. */
export const WarmKernels = z
  .looseObject({
    kernel_name: z.string(),
    working_directory: z
      .string()
      .nullable()
      .describe("Where they start; `null`: in the server's own directory"),
    count: z.int().describe("How many there should be"),
    ready: z
      .array(
        z
          .object({
            process_id: z.int().nullable(),
            memory_bytes: z
              .int()
              .nullable()
              .describe("Resident memory of the process tree, if known"),
          })
          .meta({ id: "WarmKernel" }),
      )
      .describe("Those that a session could take now"),
    problem: z
      .string()
      .nullable()
      .describe("Why there are fewer, if a start failed or a kernel died"),
  })
  .meta({ id: "WarmKernels" });

export const ServerConfiguration = z
  .looseObject({
    // Values outside of these limits are refused later, as `bad_configuration`.
    idle_shutdown_hours: int32
      .meta({ maximum: 65_535 })
      .nullish()
      .describe(
        "Negative: never; 0: 30 seconds after the last session is idle",
      ),
    resource_sample_interval_ms: int32
      .meta({ minimum: 0 })
      .nullish()
      .describe("0: off; a value below 100 counts as 100"),
    log_level: LogLevel.nullish(),
  })
  // Not `ServerConfiguration`: generated Go clients already have a type of that name.
  .meta({ id: "ConfigurationChange" });

export const server = {
  status: query({
    route: "GET /status",
    summary: "Get the status of the server",
    access: "open",
    input: z.void(),
    output: ServerStatus,
  }),

  configuration: query({
    route: "GET /server_configuration",
    summary: "Get the server's configuration",
    access: "observe",
    input: z.void(),
    output: ServerConfiguration.extend({
      limits: Limits,
      warm_kernels: z.array(WarmKernels),
    }).meta({ id: "CurrentConfiguration" }),
  }),

  configure: mutation({
    route: "POST /server_configuration",
    summary: "Change the server's configuration",
    access: "admin",
    description: "A field that is not given keeps its value.",
    input: ServerConfiguration,
    output: z.null(),
    errors: ["bad_configuration"],
    examples: { input: { idle_shutdown_hours: 8, log_level: "debug" } },
  }),

  heartbeat: mutation({
    route: "POST /client_heartbeat",
    summary: "Report that a client is alive",
    access: "observe",
    description:
      "Postpones the idle shutdown while the process with this id is alive.",
    input: z
      .looseObject({ process_id: int32.nullish() })
      .meta({ id: "ClientHeartbeat" }),
    output: z.null(),
    examples: { input: { process_id: 4711 } },
  }),

  shutdown: mutation({
    route: "POST /shutdown",
    summary: "Shut down all kernels, then the server",
    access: "admin",
    description:
      "Answers at once. The shutdown ends within a bounded time: kernels that do not exit are killed.",
    input: z.void(),
    output: z.null(),
  }),
};
