/**
 * What an operation is: one value that says how it is asked, what goes in,
 * what comes out and what can go wrong. The router, the REST routes, the
 * OpenAPI document, the client's types and the mocks are all read off it.
 */
import { type Reason, reasons } from "./reasons.ts";
import type { Access } from "./scopes.ts";

/**
 * Any schema, seen from outside. Structural on purpose: `z.ZodType` in a
 * constraint makes the compiler compare schemas in depth, once an operation.
 */
export interface Schema<In = unknown, Out = unknown> {
  readonly _zod: { readonly input: In; readonly output: Out };
}
export type InputOf<S extends Schema> = S["_zod"]["input"];
export type OutputOf<S extends Schema> = S["_zod"]["output"];

export type Method = "GET" | "PUT" | "POST" | "DELETE";
/** As in an HTTP log, with `{name}` for what the path carries of the input. */
export type Route = `${Method} /${string}`;

export interface OperationTerms {
  /** Absent where REST has no word for it; a subscription with a route is served as server-sent events. */
  readonly route?: Route;
  readonly summary: string;
  readonly description?: string;
  /** Who may ask. */
  readonly access: Access;
  /** HTTP status of success; 200 unless said. */
  readonly status?: 200 | 201 | 202;
  /** What this operation may answer besides its output: a promise to callers. */
  readonly errors?: readonly Reason[];
  /** `startup`: failures wear the StartupError shape (what the kernel printed, how it exited). */
  readonly failure?: "startup";
  /** Example bodies for the API page. */
  readonly examples?: { readonly input?: unknown; readonly output?: unknown };
}

export interface Operation extends OperationTerms {
  readonly kind: "query" | "mutation" | "subscription";
  readonly input: Schema;
  readonly output: Schema;
}

/** Operations by name, in groups: `contract.sessions.start`. */
export type Contract = Record<string, Record<string, Operation>>;

type Definition<I extends Schema, O extends Schema> = OperationTerms & {
  readonly input: I;
  readonly output: O;
};

/** Asks and changes nothing. */
export function query<I extends Schema, O extends Schema>(
  definition: Definition<I, O>,
) {
  return { kind: "query", ...definition } as const;
}

/** Changes something. */
export function mutation<I extends Schema, O extends Schema>(
  definition: Definition<I, O>,
) {
  return { kind: "mutation", ...definition } as const;
}

/** Keeps talking. `output` is one event; events are numbered, and a reader resumes after a number. */
export function subscription<I extends Schema, O extends Schema>(
  definition: Definition<I, O>,
) {
  return { kind: "subscription", ...definition } as const;
}

/**
 * The HTTP status of a failure. Kallichore's clients know one for a start that
 * failed, whatever the reason; who is no client, or names no session, is told
 * so as everywhere.
 */
export function statusOf(
  { failure, errors: promised = [] }: Operation,
  reason: Reason,
): number {
  const [, status] = reasons[reason];
  const isStartup = failure === "startup" && promised.includes(reason);
  return isStartup && status !== 404 ? 500 : status;
}

/** The two halves of a route. */
export function partsOf(route: Route): { method: Method; path: string } {
  const space = route.indexOf(" ");
  return {
    method: route.slice(0, space) as Method,
    path: route.slice(space + 1),
  };
}
