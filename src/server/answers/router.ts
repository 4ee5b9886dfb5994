/**
 * The contract as a tRPC router: a loop over the operations and their answers.
 * REST calls the same procedures, so validation and failures are the same.
 */
import {
  initTRPC,
  type TRPC_ERROR_CODE_KEY,
  TRPCError,
  tracked,
} from "@trpc/server";
import * as z from "zod";
import {
  type AppRouter,
  contract,
  type Contract,
  failure,
  type Operation,
  SupervisorError,
  fromPosition,
} from "../../../contract/index.ts";
import { stringify } from "../../jupyter/raw-json.ts";
import { unreadIn } from "./client-input.ts";
import {
  type Answers,
  type OperationCall,
  hasTrustedShape,
} from "./implement.ts";
import { encodeInPieces, isLarge } from "./large-answer.ts";
import { assertPermitted } from "../permit.ts";
import type { Principal } from "../../session/principal.ts";
import type { Service } from "./service.ts";
import {
  type RequestQueue,
  requestScheduler,
} from "../../time/request-scheduler.ts";
import { entriesOf, type SubscriptionItem } from "./subscription.ts";

/** How a subscription is sent on one connection. */
export interface SubscriptionEncoder {
  /** The items in the form that the connection sends. It waits while the client is slow. */
  encode(
    subscription: AsyncIterable<SubscriptionItem>,
    signal: AbortSignal,
  ): AsyncIterable<unknown>;
}

export interface Context {
  readonly service: Service;
  /** The client that sent the request. */
  readonly by: Principal;
  /** Schedules the calls of a request that has many, in turn with other requests. */
  readonly fairSchedule?: RequestQueue | undefined;
  /** Set on connections that can send many events at once. */
  readonly subscriptionEncoder?: SubscriptionEncoder | undefined;
  /** The inputs of a request's calls, if they were read before. */
  readonly inputs?: readonly unknown[] | undefined;
  /** Returns the placeholder for JSON that goes into the answer as it is written. `undefined`: the answer holds parsed values. */
  readonly raw?: ((json: string) => unknown) | undefined;
  /** The same for a large answer, in pieces. */
  readonly large?: ((json: readonly Buffer[]) => unknown) | undefined;
}

const t = initTRPC.context<Context>().create({
  isDev: false, // stack traces stay here
  allowOutsideOfServer: true, // mocked kernels are served in browsers too
  errorFormatter({ shape, error }) {
    const failed = toFailure(error);
    return {
      ...shape,
      message: failed.message,
      data: {
        ...shape.data,
        failure: failed.body,
        ...(failed.startup !== undefined && { startup: failed.startup }),
      },
    };
  },
});

/**
 * Runs each call in its turn, with the input if that was read before, and encodes
 * the answer. Waiting for the turn comes first: the adapter begins all calls of
 * a batch at once, and anything before the wait would run for all of them
 * without a pause.
 */
const scheduledProcedure = t.procedure
  .use(async ({ ctx, next, path, type }) => {
    const began = performance.now();
    await (ctx.fairSchedule?.() ?? requestScheduler.next());
    const result = await next();
    const isSubscription = type === "subscription";
    // A subscription has only begun here, unless it was refused.
    if (!isSubscription || !result.ok) {
      reportOperation(ctx, path, began, result.ok ? undefined : result.error);
    }
    if (isSubscription || !result.ok || result.data === undefined)
      return result;
    const { raw, large } = ctx;
    const { data } = result;
    if (large !== undefined && isLarge(data)) {
      return {
        ...result,
        data: large(await requestScheduler.run(encodeInPieces(data))),
      };
    }
    return raw === undefined
      ? result
      : { ...result, data: raw(stringify(data)) };
  })
  .use(async ({ ctx, next, getRawInput, batchIndex }) => {
    const inputValue =
      ctx.inputs === undefined ? await getRawInput() : ctx.inputs[batchIndex];
    if (inputValue instanceof SupervisorError) throw toTRPC(inputValue);
    return next({ ctx: { inputValue } });
  })
  .use(({ ctx: { inputValue }, next }) =>
    next({ getRawInput: () => Promise.resolve(inputValue) }),
  );

/** `answers`: the server's, or a mock's. */
export function routerOf(answers: Answers): AppRouter {
  const groups = Object.entries(contract as Contract).map(
    ([group, operations]) => {
      const procedures = Object.entries(operations).map(
        ([name, operation]) =>
          [name, procedure(operation, answerOf(answers, group, name))] as const,
      );
      return [group, Object.fromEntries(procedures)] as const;
    },
  );
  // The loop loses the types. The type `Answers` has checked that each answer fits its operation.
  return t.router(Object.fromEntries(groups)) as unknown as AppRouter;
}

/** Reports to telemetry how an operation was answered. */
function reportOperation(
  { by, service: { telemetry } }: Context,
  name: string,
  began: number,
  error: unknown,
): void {
  telemetry.operation?.({
    name,
    failure: error === undefined ? null : toFailure(error).reason,
    duration_ms: performance.now() - began,
    caller: by.kind,
    client: by.client,
    span_id: by.span_id,
  });
}

type AnyAnswer = (call: OperationCall<unknown>) => unknown;

function answerOf(answers: Answers, group: string, name: string): AnyAnswer {
  const found = (
    answers as unknown as Record<string, Record<string, AnyAnswer>>
  )[group]?.[name];
  if (found === undefined) throw new Error(`No answer to ${group}.${name}`);
  return found;
}

function procedure(operation: Operation, answer: AnyAnswer) {
  const input = scheduledProcedure.input(operation.input as z.ZodType);
  const output = operation.output as z.ZodType;
  const checked = (answered: unknown) =>
    hasTrustedShape(answered) ? answered : output.parse(answered);
  const run = async (operationCall: OperationCall<unknown>) => {
    try {
      assertPermitted(
        operationCall.by,
        operation.access,
        messageTypeIn(operationCall.input),
      );
      return await answer(operationCall);
    } catch (error) {
      throw toTRPC(error);
    }
  };
  switch (operation.kind) {
    case "query":
      return input.output(checked).query((call) => run(operationCallOf(call)));
    case "mutation":
      return input
        .output(checked)
        .mutation((call) => run(operationCallOf(call)));
    case "subscription":
      // The answer comes before the first event, so that every door can refuse a request.
      return input.subscription(async (call) => {
        const operationCall = operationCallOf(call);
        const subscription = (await run(
          operationCall,
        )) as AsyncIterable<SubscriptionItem>;
        return subscribed(subscription, operationCall.signal, call);
      });
  }
}

/** The events of a subscription, as the door sends them. Its end is reported to telemetry. */
async function* subscribed(
  subscription: AsyncIterable<SubscriptionItem>,
  signal: AbortSignal,
  { ctx, path }: { readonly ctx: Context; readonly path: string },
) {
  const began = performance.now();
  let error: unknown;
  try {
    yield* ctx.subscriptionEncoder === undefined
      ? trackedEvents(subscription, ctx.raw)
      : ctx.subscriptionEncoder.encode(subscription, signal);
  } catch (caught) {
    error = caught;
    throw caught;
  } finally {
    reportOperation(ctx, path, began, error);
  }
}

/** The type of the message that is the input, in either form. The input has been validated before. */
function messageTypeIn(input: unknown): string | undefined {
  const { msg_type, header } = (input ?? {}) as {
    readonly msg_type?: string;
    readonly header?: { readonly msg_type?: string };
  };
  return msg_type ?? header?.msg_type;
}

function operationCallOf({
  input,
  ctx,
  signal,
}: {
  input: unknown;
  ctx: Context & { readonly inputValue?: unknown };
  signal?: AbortSignal | undefined;
}): OperationCall<unknown> {
  return {
    input,
    service: ctx.service,
    by: ctx.by,
    unread: unreadIn(ctx.inputValue),
    signal: signal ?? new AbortController().signal,
  };
}

/** One event at a time, for transports that cannot send more at once: server-sent events, in-process calls. */
async function* trackedEvents(
  subscription: AsyncIterable<SubscriptionItem>,
  raw: Context["raw"],
) {
  for await (const item of subscription) {
    const { journal_id } = item;
    for (const { seq, text } of entriesOf(item)) {
      const id = fromPosition({ journal_id, seq });
      yield tracked(id, encodeEvent(seq, text, raw));
    }
  }
}

/** The event as it is written, or as a value. An event that is too long for a string, or that the JSON parser refuses, becomes a gap with its number. */
function encodeEvent(
  seq: number,
  text: Buffer,
  raw: (json: string) => unknown = JSON.parse,
): unknown {
  try {
    return raw(text.toString());
  } catch {
    return { kind: "gap", seq, from: seq, to: seq };
  }
}

/** The error as a failure of the contract, which every door can send. */
export function toFailure(error: unknown): SupervisorError {
  if (error instanceof SupervisorError) return error;
  if (!(error instanceof TRPCError)) {
    return failure("internal", {}, { cause: error });
  }
  if (error.cause instanceof SupervisorError) return error.cause;
  if (error.cause instanceof z.core.$ZodError && error.code === "BAD_REQUEST") {
    const why = describeIssues(error.cause);
    return failure("bad_request", { why }, { cause: error });
  }
  switch (error.code) {
    case "INTERNAL_SERVER_ERROR":
      return failure("internal", {}, { cause: error });
    case "NOT_FOUND":
      return failure("not_found", { path: error.message }, { cause: error });
    case "UNAUTHORIZED":
      return failure("unauthorized", {}, { cause: error });
    default:
      return failure("bad_request", { why: error.message }, { cause: error });
  }
}

/** A text of the first issues, and the number of the others. */
function describeIssues({ issues }: z.core.$ZodError): string {
  const first = new z.core.$ZodError(issues.slice(0, MAX_ISSUES));
  const more = issues.length - MAX_ISSUES;
  const text = z.prettifyError(first).slice(0, MAX_WHY_LENGTH);
  return more > 0 ? `${text}\n… and ${more} more` : text;
}

const MAX_ISSUES = 20;
const MAX_WHY_LENGTH = 4_000; // characters

/** Logs an internal error. The answer to the client refers to the log. */
export function logInternalError(
  service: Service,
  error: Error,
  path: string | undefined,
): void {
  if ((error as { code?: string }).code !== "INTERNAL_SERVER_ERROR") return;
  const failed = toFailure(error);
  if (failed.reason !== "internal") return;
  service.guard.report(failed.cause ?? error, path ?? "an operation");
}

function toTRPC(error: unknown): TRPCError {
  const failed = toFailure(error);
  return new TRPCError({
    code: codes[failed.status] ?? "INTERNAL_SERVER_ERROR",
    message: failed.message,
    cause: failed,
  });
}

const codes: Readonly<Record<number, TRPC_ERROR_CODE_KEY>> = {
  400: "BAD_REQUEST",
  401: "UNAUTHORIZED",
  403: "FORBIDDEN",
  404: "NOT_FOUND",
  405: "METHOD_NOT_SUPPORTED",
  408: "TIMEOUT",
  409: "CONFLICT",
  413: "PAYLOAD_TOO_LARGE",
  429: "TOO_MANY_REQUESTS",
  500: "INTERNAL_SERVER_ERROR",
  502: "BAD_GATEWAY",
  503: "SERVICE_UNAVAILABLE",
  504: "GATEWAY_TIMEOUT",
};
