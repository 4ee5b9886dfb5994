/**
 * An operation is one value: its route, its input, its output and its errors.
 * The router, the REST routes, the OpenAPI document, the client's types and the
 * mocks are all derived from it.
 */
import { type Reason, reasons } from "./reasons.ts";
import type { Access } from "./scopes.ts";

/**
 * Any schema, reduced to its input and output types. The type is structural on
 * purpose: `z.ZodType` in a constraint makes the compiler compare schemas in
 * depth, once per operation.
 */
export interface Schema<In = unknown, Out = unknown> {
  readonly _zod: { readonly input: In; readonly output: Out };
}
export type InputOf<S extends Schema> = S["_zod"]["input"];
export type OutputOf<S extends Schema> = S["_zod"]["output"];

export type Method = "GET" | "PUT" | "POST" | "PATCH" | "DELETE";
/** Method and path, with `{name}` for each input field that the path carries. */
export type Route = `${Method} /${string}`;

export interface OperationDetails {
  /** Absent if REST does not offer the operation. A subscription with a route is served as server-sent events. */
  readonly route?: Route;
  readonly summary: string;
  readonly description?: string;
  /** The scope that a caller needs. */
  readonly access: Access;
  /** HTTP status of success. Default: 200. */
  readonly status?: 200 | 201 | 202 | 204;
  /** The path of the new resource, with `{name}` for members of the output: the header `Location`. */
  readonly location?: string;
  /** How REST answers a success, where that depends on the output: by the value of its member `by`. */
  readonly outcomes?: {
    readonly by: string;
    readonly cases: Readonly<Record<string, Outcome>>;
  };
  /** The input fields that REST also takes from the query of an operation with a body. */
  readonly inQuery?: readonly string[];
  /** The errors that this operation may answer with: a promise to callers. */
  readonly errors?: readonly Reason[];
  /** `startup`: failures have the StartupError shape (the output and the exit code of the kernel). `jupyter`: they have Jupyter Server's shape. */
  readonly failure?: "startup" | "jupyter";
  /** HTTP statuses of failures that differ from the table of reasons. */
  readonly statuses?: Readonly<Partial<Record<Reason, number>>>;
  /** Example bodies for the API page. */
  readonly examples?: { readonly input?: unknown; readonly output?: unknown };
}

export interface Outcome {
  /** HTTP status. */
  readonly status: number;
  /** As `location` of an operation. */
  readonly location?: string;
  readonly description: string;
}

export interface Operation extends OperationDetails {
  readonly kind: "query" | "mutation" | "subscription";
  readonly input: Schema;
  readonly output: Schema;
}

/** Operations by name, in groups: `contract.sessions.start`. */
export type Contract = Record<string, Record<string, Operation>>;

type Definition<I extends Schema, O extends Schema> = OperationDetails & {
  readonly input: I;
  readonly output: O;
};

/** An operation that reads and changes nothing. */
export function query<I extends Schema, O extends Schema>(
  definition: Definition<I, O>,
) {
  return { kind: "query", ...definition } as const;
}

/** An operation that changes something. */
export function mutation<I extends Schema, O extends Schema>(
  definition: Definition<I, O>,
) {
  return { kind: "mutation", ...definition } as const;
}

/** An operation that sends events. `output` is one event. Events are numbered, and a reader resumes after a number. */
export function subscription<I extends Schema, O extends Schema>(
  definition: Definition<I, O>,
) {
  return { kind: "subscription", ...definition } as const;
}

/**
 * The HTTP status of a failure. For a failed start, Kallichore's clients know
 * one status only (500), whatever the reason. A caller without access, or with
 * an unknown session, gets the usual status.
 */
export function statusOf(
  { failure, statuses = {}, errors: promised = [] }: Operation,
  reason: Reason,
): number {
  const own = statuses[reason];
  if (own !== undefined) return own;
  const [, status] = reasons[reason];
  const isStartup = failure === "startup" && promised.includes(reason);
  return isStartup && status !== 404 ? 500 : status;
}

/** The method and the path of a route. */
export function partsOf(route: Route): { method: Method; path: string } {
  const space = route.indexOf(" ");
  return {
    method: route.slice(0, space) as Method,
    path: route.slice(space + 1),
  };
}
