/** The contract as a tRPC router's type. Types only: nothing of tRPC is loaded. */
import type {
  TRPCBuiltRouter,
  TRPCDefaultErrorShape,
  TRPCMutationProcedure,
  TRPCQueryProcedure,
  TRPCSubscriptionProcedure,
} from "@trpc/server";
import type { ErrorBody, StartupErrorBody } from "./error-body.ts";
import type { InputOf, Operation, OutputOf } from "./operation.ts";

/** What a failed call carries in `error.data` beside what tRPC puts there. */
export interface ErrorShape extends TRPCDefaultErrorShape {
  data: TRPCDefaultErrorShape["data"] & {
    /** The failure as REST would have said it. */
    failure: ErrorBody;
    /** What a failed start left behind. */
    startup?: Omit<StartupErrorBody, "error">;
  };
}

/** An event and its position, `<journal_id>:<seq>`, which a client that comes back sends as `lastEventId`. */
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
