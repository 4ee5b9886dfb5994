/**
 * The operations of Jupyter Server's REST API, for clients that know no other:
 * JupyterLab, VS Code, gateways. A session is a kernel there. Source: Jupyter
 * Server 2.x, `jupyter_server/services/api/api.yaml`.
 */
import * as z from "zod";
import { mutation, query } from "./operation.ts";
import { startReasons } from "./reasons.ts";
import { Addressable, SystemText, VariableName } from "./text.ts";

/** A success without a body. */
const Nothing = z.null();

const KernelId = Addressable.max(1024).describe(
  "The kernel's `kernel_id`; the session's `session_id` does as well",
);
export const OneKernel = z.looseObject({ kernel_id: KernelId });
const OneSession = z.looseObject({ jupyter_session_id: Addressable.max(1024) });

export const JupyterKernel = z
  .looseObject({
    id: z.string().describe("A UUID, kept when the kernel is restarted"),
    name: z.string().describe("The kernelspec; empty for a kernel without one"),
    last_activity: z
      .string()
      .describe("ISO 8601 in UTC, with milliseconds and `Z`"),
    execution_state: z.enum([
      "unknown",
      "starting",
      "idle",
      "busy",
      "restarting",
      "autorestarting",
      "dead",
    ]),
    connections: z.int().describe("Clients that are connected to its channels"),
    reason: z.string().optional().describe("Why it is dead"),
    session_id: z.string().describe("The session that runs the kernel"),
    started_at: z.string().optional().describe("When the kernel was started"),
    pid: z.int().optional().describe("Only while a process of ours runs"),
    exit: z
      .object({
        code: z.int().describe("-1 if a signal ended the process"),
        signal: z.string().nullable(),
        oom: z
          .literal(true)
          .optional()
          .describe(
            "It was killed because there was no memory left, or because it used more than its session may. Absent if the first is not known",
          ),
        limit: z
          .enum(["memory", "run_time"])
          .optional()
          .describe("The limit of the session that has ended it"),
      })
      .meta({ id: "JupyterKernelExit" })
      .optional()
      .describe("How its process ended; only while it is dead"),
    usage: z
      .object({
        cpu: z.int().describe("Percent of one core, of all its processes"),
        rss: z.int().describe("Bytes of memory, of all its processes"),
      })
      .meta({ id: "JupyterKernelUsage" })
      .optional()
      .describe("The last sample; there are samples while a client reads"),
    queue: z.int().describe("Code that waits to run"),
    pending_input: z
      .object({
        request_id: z.string().describe("The `msg_id` of the code that waits"),
        prompt: z.string(),
        password: z.boolean().describe("Whether the answer is not to be shown"),
      })
      .meta({ id: "JupyterPendingInput" })
      .optional()
      .describe("What its code asks the user, until that is answered"),
  })
  .meta({ id: "JupyterKernel" });
export type JupyterKernel = z.infer<typeof JupyterKernel>;

export const JupyterSession = z
  .looseObject({
    id: z.string(),
    path: z.string().describe("What the client names the document"),
    name: z.string(),
    type: z.string().describe("`notebook`, `console`, `file`, …"),
    kernel: JupyterKernel,
    notebook: z
      .object({ path: z.string(), name: z.string() })
      .meta({ id: "JupyterNotebook" })
      .optional()
      .describe("Path and name again, for older clients of notebooks"),
  })
  .meta({ id: "JupyterSession" });
export type JupyterSession = z.infer<typeof JupyterSession>;

const JupyterKernelspec = z
  .looseObject({
    name: z.string(),
    spec: z
      .looseObject({
        argv: z.array(z.string()),
        env: z.record(z.string(), z.string()),
        display_name: z.string(),
        language: z.string(),
        interrupt_mode: z.enum(["signal", "message"]),
        metadata: z.record(z.string(), z.unknown()),
      })
      .meta({ id: "JupyterKernelspecFile" }),
    resources: z
      .record(z.string(), z.string())
      .describe("Logos and scripts: name to the path of its address"),
  })
  .meta({ id: "JupyterKernelspec" });

/** The kernel of a session that is made or changed. */
const WantedKernel = z
  .looseObject({
    id: Addressable.max(1024).nullish().describe("Of a kernel that runs"),
    name: z.string().nullish().describe("A kernelspec to start one from"),
  })
  .meta({ id: "JupyterKernelChoice" })
  .nullish();

const named = {
  path: z.string().nullish(),
  name: z.string().nullish(),
  type: z.string().nullish(),
  kernel: WantedKernel,
  notebook: z
    .looseObject({ path: z.string().nullish(), name: z.string().nullish() })
    .meta({ id: "JupyterNotebookName" })
    .nullish()
    .describe("Older clients' form of `path` and `name`"),
};

/** What clients of Jupyter know: no token is 403. */
const statuses = { unauthorized: 403 } as const;
export const jupyterShape = { failure: "jupyter", statuses } as const;
const shape = jupyterShape;
const startup = [
  "kernelspec_not_found",
  "bad_kernelspec",
  "program_not_found",
  "shutting_down",
  "resource_limit",
  ...startReasons,
] as const;

export const jupyter = {
  version: query({
    ...shape,
    route: "GET /api",
    summary: "Which API this is",
    access: "open",
    input: z.void(),
    output: z
      .object({
        version: z.string().describe("Of the Jupyter Server that it is like"),
      })
      .meta({ id: "JupyterVersion" }),
  }),

  status: query({
    ...shape,
    route: "GET /api/status",
    summary: "How much the server has to do",
    access: "observe",
    input: z.void(),
    output: z
      .object({
        started: z.string(),
        last_activity: z.string(),
        kernels: z.int(),
        connections: z.int(),
      })
      .meta({ id: "JupyterStatus" }),
  }),

  identity: query({
    ...shape,
    route: "GET /api/me",
    summary: "Who the client is, and what it may do",
    access: "observe",
    input: z.looseObject({
      permissions: z
        .string()
        .optional()
        .describe(
          'JSON: resources to the actions that are asked about, such as `{"kernels":["read"]}`',
        ),
    }),
    output: z
      .object({
        identity: z
          .object({
            username: z.string(),
            name: z.string(),
            display_name: z.string(),
            initials: z.string().nullable(),
            avatar_url: z.string().nullable(),
            color: z.string().nullable(),
          })
          .meta({ id: "JupyterUser" }),
        permissions: z.record(z.string(), z.array(z.string())),
      })
      .meta({ id: "JupyterIdentity" }),
    errors: ["bad_request"],
  }),

  kernelspecs: query({
    ...shape,
    route: "GET /api/kernelspecs",
    summary: "List kernelspecs as Jupyter Server does",
    access: "observe",
    input: z.void(),
    output: z
      .object({
        default: z.string(),
        kernelspecs: z.record(z.string(), JupyterKernelspec),
      })
      .meta({ id: "JupyterKernelspecs" }),
  }),

  kernelspec: query({
    ...shape,
    route: "GET /api/kernelspecs/{name}",
    summary: "Describe a kernelspec as Jupyter Server does",
    access: "observe",
    input: z.looseObject({ name: Addressable.max(1024) }),
    output: JupyterKernelspec,
    errors: ["kernelspec_not_found", "bad_kernelspec"],
  }),

  kernels: query({
    ...shape,
    route: "GET /api/kernels",
    summary: "List kernels",
    access: "observe",
    description:
      "Sessions whose kernel runs or has died. A session whose kernel was shut down is not listed.",
    input: z.void(),
    output: z.array(JupyterKernel),
  }),

  start_kernel: mutation({
    ...shape,
    route: "POST /api/kernels",
    summary: "Start a kernel",
    access: "control",
    description:
      "Makes a session and starts it. Answers when the kernel is ready, or after two seconds with a kernel that still starts. A `kernel_id` whose kernel runs is answered with that kernel.",
    input: z.looseObject({
      name: z
        .string()
        .nullish()
        .describe("A kernelspec; default: the server's default kernelspec"),
      path: SystemText.nullish().describe(
        "The directory that the kernel starts in, or a file in it; default: the server's own",
      ),
      kernel_id: Addressable.max(1024).nullish(),
      env: z
        .record(VariableName, SystemText)
        .nullish()
        .describe("Variables of the kernel, beside those of the server"),
    }),
    output: JupyterKernel,
    status: 201,
    location: "/api/kernels/{id}",
    errors: startup,
    examples: { input: { name: "python3" } },
  }),

  kernel: query({
    ...shape,
    route: "GET /api/kernels/{kernel_id}",
    summary: "Describe a kernel",
    access: "observe",
    input: OneKernel,
    output: JupyterKernel,
    errors: ["kernel_not_found"],
  }),

  delete_kernel: mutation({
    ...shape,
    route: "DELETE /api/kernels/{kernel_id}",
    summary: "Shut a kernel down and delete its session",
    access: "control",
    input: OneKernel,
    output: Nothing,
    status: 204,
    errors: ["kernel_not_found"],
  }),

  interrupt_kernel: mutation({
    ...shape,
    route: "POST /api/kernels/{kernel_id}/interrupt",
    summary: "Interrupt a kernel",
    access: "execute",
    input: OneKernel,
    output: Nothing,
    status: 204,
    statuses: { ...statuses, interrupt_failed: 409 },
    errors: ["kernel_not_found", "interrupt_failed"],
  }),

  restart_kernel: mutation({
    ...shape,
    route: "POST /api/kernels/{kernel_id}/restart",
    summary: "Restart a kernel",
    access: "control",
    description: "Two restarts at one time are one.",
    input: OneKernel,
    output: JupyterKernel,
    errors: ["kernel_not_found", "restart_failed", ...startup],
  }),

  emit_event: mutation({
    ...shape,
    route: "POST /api/events",
    summary: "Emit an event to the clients that listen to events",
    access: "control",
    description:
      "Clients listen with a WebSocket to `/api/events/subscribe`. Nothing is kept.",
    input: z.looseObject({
      schema_id: z.string().min(1).max(1024).describe("Names what `data` has"),
      version: z.union([z.string(), z.int()]).describe("Of the schema"),
      data: z.record(z.string(), z.unknown()),
      timestamp: z.iso.datetime({ offset: true }).nullish(),
    }),
    output: Nothing,
    status: 204,
    errors: ["bad_request"],
    examples: {
      input: {
        schema_id: "https://example.org/saved/v1",
        version: "1",
        data: { path: "analysis.ipynb" },
      },
    },
  }),

  sessions: query({
    ...shape,
    route: "GET /api/sessions",
    summary: "List the documents that have a kernel",
    access: "observe",
    input: z.void(),
    output: z.array(JupyterSession),
  }),

  start_session: mutation({
    ...shape,
    route: "POST /api/sessions",
    summary: "Give a document a kernel",
    access: "control",
    description:
      "A `path` that has a session already is answered with that session.",
    input: z.looseObject(named),
    output: JupyterSession,
    status: 201,
    location: "/api/sessions/{id}",
    statuses: { ...statuses, kernelspec_not_found: 501 },
    errors: ["bad_request", "kernel_not_found", ...startup],
    examples: {
      input: {
        path: "analysis.ipynb",
        name: "analysis.ipynb",
        type: "notebook",
        kernel: { name: "python3" },
      },
    },
  }),

  session: query({
    ...shape,
    route: "GET /api/sessions/{jupyter_session_id}",
    summary: "Describe a document's session",
    access: "observe",
    input: OneSession,
    output: JupyterSession,
    errors: ["jupyter_session_not_found"],
  }),

  change_session: mutation({
    ...shape,
    route: "PATCH /api/sessions/{jupyter_session_id}",
    summary: "Rename a document, or give it another kernel",
    access: "control",
    description:
      "A kernel that no document has any more is shut down and deleted.",
    input: OneSession.extend(named),
    output: JupyterSession,
    statuses: {
      ...statuses,
      kernelspec_not_found: 501,
      kernel_not_found: 400,
    },
    errors: [
      "bad_request",
      "jupyter_session_not_found",
      "kernel_not_found",
      ...startup,
    ],
    examples: { input: { path: "report.ipynb", name: "report.ipynb" } },
  }),

  delete_session: mutation({
    ...shape,
    route: "DELETE /api/sessions/{jupyter_session_id}",
    summary: "End a document's session",
    access: "control",
    description:
      "Its kernel is shut down and deleted, unless another document has it.",
    input: OneSession,
    output: Nothing,
    status: 204,
    errors: ["jupyter_session_not_found"],
  }),
};
