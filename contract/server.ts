/** The supervisor's own operations: how it is, how it is set, how it ends. */
import * as z from "zod";
import { mutation, query } from "./operation.ts";

const int32 = z.int().min(-2147483648).max(2147483647);

/** Kallichore's word on its MCP listener, which this server does not have. */
const McpStatus = z
  .looseObject({
    active: z.boolean().describe("Whether there is an MCP listener"),
    port: z.int().describe("Of the listener; 0 where there is none"),
    request_count: z.int().describe("Tool calls since the listener began"),
    workspaces: z.array(z.looseObject({})).describe("Those that registered"),
  })
  .meta({ id: "McpStatus" });

export const ServerStatus = z
  .looseObject({
    sessions: z.int(),
    active: z
      .int()
      .describe("Sessions that are neither never started nor exited"),
    busy: z.boolean(),
    idle_seconds: z.int().describe("0 while busy"),
    busy_seconds: z.int(),
    uptime_seconds: z.int(),
    version: z
      .string()
      .describe("The Kallichore version that we are compatible with"),
    process_id: z.int(),
    started: z.string(),
    server_id: z.string().describe("New with every start of the server"),
    server_version: z.string().describe("Our own version"),
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
      .describe("What one session's journal keeps in memory"),
    server_memory_bytes: z
      .int()
      .describe("What all journals together keep in memory"),
    journal_disk_bytes: z
      .int()
      .describe(
        "What one session's journal keeps on disk, beyond memory; then the oldest is forgotten. 0: none",
      ),
    server_disk_bytes: z
      .int()
      .describe(
        "What all journals together keep on disk; then the oldest of the one that has the most there is forgotten. 0: none",
      ),
    reader_buffer_bytes: z
      .int()
      .describe(
        "What may wait in our process for one reader that does not read",
      ),
    reader_patience_ms: z
      .int()
      .describe(
        "How long a reader may take nothing of what waits for it, before it is cut off; it may resume",
      ),
  })
  .meta({ id: "Limits" });

export const ServerConfiguration = z
  .looseObject({
    // What is beyond these limits is refused as `bad_configuration`, later.
    idle_shutdown_hours: int32
      .meta({ maximum: 65_535 })
      .nullish()
      .describe(
        "Negative: never; 0: 30 seconds after the last session is idle",
      ),
    resource_sample_interval_ms: int32
      .meta({ minimum: 0 })
      .nullish()
      .describe("0: off; below 100 is taken as 100"),
    log_level: LogLevel.nullish(),
  })
  // Not `ServerConfiguration`: generated Go clients have a type of that name.
  .meta({ id: "ConfigurationChange" });

export const server = {
  status: query({
    route: "GET /status",
    summary: "Is the server there, and how is it",
    access: "open",
    input: z.void(),
    output: ServerStatus,
  }),

  configuration: query({
    route: "GET /server_configuration",
    summary: "How the server is set",
    access: "observe",
    input: z.void(),
    output: ServerConfiguration.extend({ limits: Limits }).meta({
      id: "CurrentConfiguration",
    }),
  }),

  configure: mutation({
    route: "POST /server_configuration",
    summary: "Set what is given, leave the rest",
    access: "admin",
    input: ServerConfiguration,
    output: z.null(),
    errors: ["bad_configuration"],
    examples: { input: { idle_shutdown_hours: 8, log_level: "debug" } },
  }),

  heartbeat: mutation({
    route: "POST /client_heartbeat",
    summary: "A client is still there",
    access: "observe",
    description:
      "Puts off the idle shutdown, while the process with this id lives.",
    input: z
      .looseObject({ process_id: int32.nullish() })
      .meta({ id: "ClientHeartbeat" }),
    output: z.null(),
    examples: { input: { process_id: 4711 } },
  }),

  shutdown: mutation({
    route: "POST /shutdown",
    summary: "Shut down every kernel, then the server",
    access: "admin",
    description: "Answers at once; the end is bounded and escalates.",
    input: z.void(),
    output: z.null(),
  }),
};
