/**
 * The responses of failures: grouped by status, with an example for each reason, in
 * the form that the operation uses for its failures.
 */
import type * as z from "zod";
import type { oas31 } from "zod-openapi";
import {
  errors,
  failure,
  type Operation,
  type Reason,
  statusOf,
} from "../../contract/index.ts";
import { jupyterBodyOf } from "../../src/server/respond.ts";

type Responses = Readonly<
  Record<string, oas31.ResponseObject | oas31.ReferenceObject>
>;

/** One response for each reason. An operation refers to it if no other reason has the same status. */
export function failureResponses(): Record<string, oas31.ResponseObject> {
  const reasons = Object.keys(errors) as Reason[];
  return Object.fromEntries(
    reasons.map((reason) => [reason, response([reason], "Error")]),
  );
}

/** All responses of an operation besides its output. */
export function failuresOf(operation: Operation, hasBody: boolean): Responses {
  const { access, errors: own = [], input } = operation;
  const hasInput = (input as z.ZodType).def.type !== "void";
  const reasons: readonly Reason[] = [
    ...(access === "open" ? [] : (["unauthorized"] as const)),
    "forbidden",
    ...(hasInput ? (["bad_request"] as const) : []),
    ...(hasBody ? (["too_large"] as const) : []),
    ...own,
    "internal",
  ];
  return responses(reasons, operation);
}

export function responses(
  reasons: readonly Reason[],
  operation?: Operation,
): Responses {
  const statusFor = (reason: Reason) =>
    operation === undefined
      ? errors[reason].status
      : statusOf(operation, reason);
  const statuses = new Set(reasons.map(statusFor));
  return Object.fromEntries(
    [...statuses].map((status): [number, Responses[string]] => {
      const group = [...new Set(reasons)].filter(
        (reason) => statusFor(reason) === status,
      );
      const isStartup =
        operation?.failure === "startup" && !neverStartup.has(status);
      const schema =
        operation?.failure === "jupyter"
          ? "JupyterError"
          : isStartup
            ? "StartupError"
            : "Error";
      return group.length === 1 && schema === "Error"
        ? [status, { $ref: `#/components/responses/${group.join()}` }]
        : [status, response(group, schema)];
    }),
  );
}

/** Statuses of failures before the start of a kernel is tried. */
const neverStartup: ReadonlySet<number> = new Set([401, 403, 404]);

function response(
  reasons: readonly Reason[],
  schema: ErrorSchema,
): oas31.ResponseObject {
  return {
    description: reasons.map(describe).join(", "),
    headers: { "x-span-id": { $ref: "#/components/headers/x-span-id" } },
    content: {
      "application/json": {
        schema: { $ref: `#/components/schemas/${schema}` },
        examples: Object.fromEntries(
          reasons.map((reason) => [reason, { value: example(reason, schema) }]),
        ),
      },
    },
  };
}

/** The reason, with Kallichore's number if it has one. */
function describe(reason: Reason): string {
  const { code } = errors[reason];
  return code.startsWith("KS-") ? `\`${reason}\` (${code})` : `\`${reason}\``;
}

type ErrorSchema = "Error" | "StartupError" | "JupyterError";

function example(reason: Reason, schema: ErrorSchema) {
  const why = because[reason] ?? "...";
  // Each message uses the members that it needs.
  const failed = failure(
    reason,
    { ...details, why },
    { startup: startup[reason] },
  );
  if (schema === "JupyterError") return jupyterBodyOf(failed);
  return schema === "Error" ? failed.body : failed.startupBody;
}

const details = {
  session_id: "a",
  kernel_id: "0b1f6f5e-3d0a-4a8e-9a51-6f2a6f0c9d11",
  program: "/opt/python/bin/python3",
  path: "",
  name: "julia-1.12",
  known: "python3, ir",
  method: "PATCH",
  allow: "GET, DELETE",
  limit: 67_108_864,
  port: 8888,
  execution_id: "5f0c",
};

const because: Partial<Record<Reason, string>> = {
  process_not_found: "there is no process 4711",
  start_failed: "spawn /opt/python/bin/python3 EACCES",
  connection_failed: "connect ECONNREFUSED 127.0.0.1:41641",
  connection_timeout: "connected after 0.2 s, no answer after 30 s",
  exited_during_start: "exit status 1",
  interrupt_failed: "it has no running kernel",
  restart_failed: "it is being restarted already",
  exited_before_handshake: "exit status 1",
  handshake_failed: "the kernel did not register within 30 s",
  no_connection_info: "listen EADDRNOTAVAIL 127.0.0.1",
  bad_configuration: "idle_shutdown_hours is 70000; it must be at most 65535",
  forbidden:
    "The Host header names another machine: use localhost, or allow the name with --allow-host",
  bad_request:
    "✖ Invalid input: expected string, received undefined\n  → at code",
  bad_message: "buffers.0 is not base64",
  kernel_exited: "exit status 137",
  no_answer: "complete_request within 10 s",
  execution_timeout: "10 s",
  kernel_unreachable: "its kernel exited",
  too_busy: "1000 requests already wait",
};

const startup: Partial<
  Record<Reason, { readonly exit_code: number; readonly output: string }>
> = {
  exited_during_start: {
    exit_code: 1,
    output: "/usr/bin/python3: No module named ipykernel_launcher\n",
  },
  exited_before_handshake: {
    exit_code: 1,
    output: "/usr/bin/python3: No module named ipykernel_launcher\n",
  },
};
