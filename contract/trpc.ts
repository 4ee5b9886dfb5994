/** The contract as the type of a tRPC router. Types only: no tRPC code is loaded. */
import type {
  TRPCBuiltRouter,
  TRPCDefaultErrorShape,
  TRPCMutationProcedure,
  TRPCQueryProcedure,
  TRPCSubscriptionProcedure,
} from "@trpc/server";
import type { ErrorBody, StartupErrorBody } from "./error-body.ts";
import type { InputOf, Operation, OutputOf } from "./operation.ts";

/** The `error.data` of a failed call: tRPC's fields and ours. */
export interface ErrorShape extends TRPCDefaultErrorShape {
  data: TRPCDefaultErrorShape["data"] & {
    /** The failure in the shape of the REST body. */
    failure: ErrorBody;
    /** The exit code and the output of a kernel whose start failed. */
    startup?: Omit<StartupErrorBody, "error">;
  };
}

/** An event and its position, `<journal_id>:<seq>`. A client that resumes sends the position as `lastEventId`. */
export interface Tracked<T> {
  readonly id: string;
  readonly data: T;
}

interface Definition<O extends Operation, Output> {
  meta: object;
  input: InputOf<O["input"]>;
  output: Output;
  errorShape: ErrorShape;
}

type ProcedureOf<O extends Operation> = O["kind"] extends "query"
  ? TRPCQueryProcedure<Definition<O, OutputOf<O["output"]>>>
  : O["kind"] extends "mutation"
    ? TRPCMutationProcedure<Definition<O, OutputOf<O["output"]>>>
    : TRPCSubscriptionProcedure<
        Definition<
          O,
          AsyncIterable<Tracked<OutputOf<O["output"]>>, void, unknown>
        >
      >;

export type RouterOf<
  C extends Record<string, Record<string, Operation>>,
  Context extends object = object,
> = TRPCBuiltRouter<
  {
    ctx: Context;
    meta: object;
    errorShape: ErrorShape;
    transformer: false;
  },
  {
    [G in keyof C]: { [N in keyof C[G]]: ProcedureOf<C[G][N]> };
  }
>;
