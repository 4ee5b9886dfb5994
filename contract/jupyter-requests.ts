/**
 * Code below Jupyter's addresses, without a WebSocket: a client sends it, and
 * asks for its outputs until it is complete. A request is an execution of the
 * session. Source: `jupyter_server_nbmodel` 0.2, `handlers.py`.
 */
import * as z from "zod";
import { ExecutionId } from "./execution-state.ts";
import { jupyterShape as shape, OneKernel } from "./jupyter.ts";
import { mutation, query } from "./operation.ts";
import { MissingOutputs, Output } from "./output.ts";
import { Addressable } from "./text.ts";

const wait = z.coerce
  .number<number | string>()
  .min(0)
  .max(3600)
  .optional()
  .describe(
    "Seconds. Answers when the code is complete or requests input, and after this time in any case. Default: 0",
  );

const OneRequest = OneKernel.extend({ request_id: ExecutionId });

export const JupyterRequest = z
  .object({
    request_id: z.string(),
    kernel_id: z.string(),
    request_status: z.enum(["queued", "running", "input", "complete"]),
    pending: z.boolean().describe("Whether it is not complete"),
    input_request: z
      .object({ prompt: z.string(), password: z.boolean() })
      .meta({ id: "JupyterInputRequest" })
      .optional()
      .describe("What the code requests, if its status is `input`"),
    status: z
      .enum(["ok", "error"])
      .optional()
      .describe("How the code ended, if it is complete"),
    execution_count: z.int().nullable().optional(),
    outputs: z
      .array(Output)
      .optional()
      .describe("All outputs in the notebook format, if it is complete"),
    ...z.object(MissingOutputs).partial().shape,
  })
  .meta({ id: "JupyterRequest" });
export type JupyterRequest = z.infer<typeof JupyterRequest>;

/** How REST answers, by the request's status. */
const outcomes = {
  by: "request_status",
  cases: {
    queued: {
      status: 202,
      location: "/api/kernels/{kernel_id}/requests/{request_id}",
      description: "It waits or runs: ask again at `Location`",
    },
    running: {
      status: 202,
      location: "/api/kernels/{kernel_id}/requests/{request_id}",
      description: "It waits or runs: ask again at `Location`",
    },
    input: {
      status: 300,
      location: "/api/kernels/{kernel_id}/input",
      description: "The code requests input: send it to `Location`",
    },
    complete: { status: 200, description: "It is complete" },
  },
} as const;

export const jupyterRequests = {
  execute: mutation({
    ...shape,
    route: "POST /api/kernels/{kernel_id}/execute",
    summary: "Run code without a WebSocket",
    access: "execute",
    description:
      "Answers at once with the address of the request (202), or with `wait` as the request's own address does. The code runs after what was sent before it, and continues when the client disconnects. Choose the `request_id` yourself to make the call safe to repeat: code whose id is known is not run twice.",
    input: OneKernel.extend({
      code: z.string(),
      metadata: z
        .record(z.string(), z.unknown())
        .nullish()
        .describe(
          "The metadata of the `execute_request`, such as `cell_id` and `document_id`",
        ),
      silent: z.boolean().nullish().describe("Default: false"),
      store_history: z
        .boolean()
        .nullish()
        .describe("Default: false with `silent`, else true"),
      allow_stdin: z.boolean().nullish().describe("Default: true"),
      stop_on_error: z.boolean().nullish().describe("Default: true"),
      request_id: Addressable.max(255)
        .nullish()
        .describe("Default: a new UUID"),
      previous_request_id: Addressable.max(255)
        .nullish()
        .describe(
          "The request that the client sent before this one. If it has not arrived, the answer is 409, and the code is not run",
        ),
      wait,
    }),
    inQuery: ["wait"],
    output: JupyterRequest,
    outcomes,
    statuses: { ...shape.statuses, session_not_running: 409 },
    errors: [
      "kernel_not_found",
      "session_not_running",
      "kernel_unreachable",
      "too_busy",
      "execution_state",
      "execution_not_found",
      "execution_aborted",
    ],
    examples: { input: { code: "6 * 7" } },
  }),

  request: query({
    ...shape,
    route: "GET /api/kernels/{kernel_id}/requests/{request_id}",
    summary: "How far code is, and its outputs",
    access: "observe",
    description:
      "Any code of the kernel can be asked for by the `msg_id` of its request, whichever client sent it. The last hundred that are complete are kept.",
    input: OneRequest.extend({ wait }),
    output: JupyterRequest,
    outcomes,
    errors: ["kernel_not_found", "execution_not_found", "execution_aborted"],
  }),

  cancel_request: mutation({
    ...shape,
    route: "DELETE /api/kernels/{kernel_id}/requests/{request_id}",
    summary: "End code",
    access: "execute",
    description:
      "Code that waits is not run. Code that runs is interrupted. Code that is complete stays as it is.",
    input: OneRequest,
    output: z.null(),
    status: 204,
    statuses: { ...shape.statuses, interrupt_failed: 409 },
    errors: [
      "kernel_not_found",
      "execution_not_found",
      "execution_state",
      "interrupt_failed",
    ],
  }),

  answer_input: mutation({
    ...shape,
    route: "POST /api/kernels/{kernel_id}/input",
    summary: "Send the input that code requests",
    access: "execute",
    description:
      "Answers the code that requests input, whichever client sent it. The first answer counts.",
    input: OneKernel.extend({
      input: z.string(),
      request_id: ExecutionId.nullish().describe(
        "The code that is meant. Default: the one that requests input",
      ),
    }),
    output: z.null(),
    status: 201,
    errors: [
      "kernel_not_found",
      "execution_not_found",
      "execution_state",
      "kernel_unreachable",
    ],
    examples: { input: { input: "yes" } },
  }),
};
