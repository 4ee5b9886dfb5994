/**
 * Reads the calls in one frame, or in one request, of a tRPC client: each input is
 * checked before it is parsed, and large fields are not parsed.
 */
import {
  contract,
  type Contract,
  failure,
  type Operation,
  SupervisorError,
} from "../../../../contract/index.ts";
import { limits } from "../../../../contract/limits.ts";
import { TRPC_ERROR_CODES_BY_KEY } from "@trpc/server/rpc";
import { type JsonText, nothingFound } from "../../../jupyter/json-text.ts";
import {
  clientInput,
  hasUnreadFields,
  textOf,
} from "../../answers/client-input.ts";
import type { Service } from "../../answers/service.ts";
import { joined } from "../../../jupyter/pieces.ts";
import { requestScheduler } from "../../../time/request-scheduler.ts";

/** Bytes. Smaller frames are parsed as a whole. */
const SMALL = 64 * 1024;

/** A frame's message, or its messages, as the adapter takes them. An input that is refused is the failure itself. Throws `bad_request`, `too_large`. */
function* callsIn(frame: Buffer, found: JsonText): Generator<void, unknown> {
  const bounds = {
    items: limits.frame_calls,
    ...(frame.length <= SMALL && { values: limits.batch_values }),
  };
  const { kind, items } = yield* textOf(frame, bounds, found);
  if (frame.length <= SMALL) {
    const calls = JSON.parse(frame.toString()) as unknown;
    if (![calls].flat().some(callHasUnreadFields)) return calls;
  }
  if (kind !== "array") return yield* callIn(frame);
  const calls: unknown[] = [];
  for (const item of items) {
    calls.push(yield* callIn(item));
    yield;
  }
  return calls;
}

/** Whether parts of the call's input go to the kernel as they are written. */
function callHasUnreadFields(call: unknown): boolean {
  const { params } = (call ?? {}) as { readonly params?: { path?: unknown } };
  return hasUnreadFields(operationAt(String(params?.path)));
}

/**
 * Reads a frame, and passes its calls to the adapter, which takes a buffer and
 * calls its `toString`. A refused frame is counted and answered.
 */
export function* forwardCalls(
  received: Buffer | readonly Buffer[],
  { faults, guard }: Pick<Service, "faults" | "guard">,
  adapter: {
    /** Bytes that wait for the client. */
    readonly bufferedAmount: number;
    readonly emit: (frame: Buffer) => void;
    readonly send: (text: string) => void;
  },
): Generator<void, void> {
  let calls: unknown;
  const frame = Buffer.isBuffer(received) ? received : yield* joined(received);
  const found = nothingFound();
  try {
    calls = yield* callsIn(frame, found);
  } catch (error) {
    if (!(error instanceof SupervisorError)) guard.report(error, "a frame");
    faults.count("tRPC frame refused", "it is not a call");
    if (adapter.bufferedAmount > MAX_UNSENT_BYTES) return; // a client that does not read gets no answer
    const id = idIn(found);
    if (id !== undefined && error instanceof SupervisorError) {
      adapter.send(errorResponse(id, error));
      return;
    }
    calls = error;
  }
  for (const some of portionsIn(calls)) {
    try {
      const toString = () => ({ calls: some }); // the adapter passes this to its decoder
      adapter.emit(Object.assign(Buffer.alloc(0), { toString }));
    } catch (error) {
      guard.report(error, "a frame");
    }
    yield;
  }
}

/** Calls that begin in one turn: a client may send thousands at once, and other clients should not wait for all of them. */
const CALLS_AT_ONCE = 50;

function portionsIn(calls: unknown): unknown[] {
  if (!Array.isArray(calls) || calls.length <= CALLS_AT_ONCE) return [calls];
  const all: readonly unknown[] = calls;
  return Array.from(
    { length: Math.ceil(all.length / CALLS_AT_ONCE) },
    (_, at) => all.slice(at * CALLS_AT_ONCE, (at + 1) * CALLS_AT_ONCE),
  );
}

/** The limit on unread answers to refused frames. */
const MAX_UNSENT_BYTES = 1024 * 1024;

/** The id of the call that was being read: clients write it first. */
function idIn({ kind, members }: JsonText): string | undefined {
  const id = members.get("id");
  if (kind !== "object" || id === undefined || id.length > 100)
    return undefined;
  return /^["\d]/.test(id.toString()) ? id.toString() : undefined;
}

/** In the adapter's form. */
function errorResponse(
  id: string,
  { message, body, status }: SupervisorError,
): string {
  const isLarge = status === 413;
  const error = {
    message,
    code: TRPC_ERROR_CODES_BY_KEY[
      isLarge ? "PAYLOAD_TOO_LARGE" : "BAD_REQUEST"
    ],
    data: {
      code: isLarge ? "PAYLOAD_TOO_LARGE" : "BAD_REQUEST",
      httpStatus: status,
      failure: body,
    },
  };
  return `{"id":${id},"error":${JSON.stringify(error)}}`;
}

/** For the adapter's decoder: the calls that were read; `undefined` for a text. Throws the failure of a refused frame. */
export function callsOf(data: unknown): unknown {
  if (typeof data !== "object") return undefined;
  const { calls } = data as { readonly calls: unknown };
  if (calls instanceof Error) throw calls;
  return calls ?? null;
}

/** Whether it is a keep-alive message of the adapter, which is not part of the protocol. */
export function isKeepAlive(data: Buffer | readonly Buffer[]): boolean {
  return (
    Buffer.isBuffer(data) &&
    data.length === 4 &&
    /^P[IO]NG$/.test(data.toString())
  );
}

/** The inputs of a request's calls, in order. A failure is the input of all. `undefined`: the adapter refuses the request in any case. */
export async function inputsFor(
  procedures: string,
  isBatch: boolean,
  read: () => Promise<Buffer>,
): Promise<readonly unknown[] | undefined> {
  const paths = isBatch ? decoded(procedures).split(",") : [procedures];
  if (paths.length > limits.batch_calls) return undefined;
  try {
    return await requestScheduler.run(inputsIn(await read(), paths, isBatch));
  } catch (error) {
    if (error instanceof SupervisorError) return paths.map(() => error);
    throw error;
  }
}

/** A path of procedures, as the adapter reads it. */
export function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

function* inputsIn(
  body: Buffer,
  paths: readonly string[],
  isBatch: boolean,
): Generator<void, readonly unknown[]> {
  const members =
    isBatch && body.length > 0
      ? (yield* textOf(body, {})).members
      : new Map([["0", body]]);
  const inputs: unknown[] = [];
  for (const [index, path] of paths.entries()) {
    const text = members.get(String(index)) ?? Buffer.alloc(0);
    inputs.push(yield* inputIn(text, path));
    yield;
  }
  return inputs;
}

function* callIn(text: Buffer): Generator<void, unknown> {
  const { members } = yield* textOf(text, {});
  const call = smallIn(members);
  const bytes = members.get("params");
  if (bytes === undefined) return call;
  const inParams = (yield* textOf(bytes, {})).members;
  const params = smallIn(inParams);
  const input = inParams.get("input");
  const { path } = params;
  if (input === undefined || typeof path !== "string") {
    return { ...call, params };
  }
  return { ...call, params: { ...params, input: yield* inputIn(input, path) } };
}

/** The small members of a call, parsed. `params` and `input` are read elsewhere. */
function smallIn(
  members: ReadonlyMap<string, Buffer>,
): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const name of ["id", "jsonrpc", "method", "path", "lastEventId"]) {
    const bytes = members.get(name);
    if (bytes === undefined) continue;
    if (bytes.length > 1024) {
      throw failure("bad_request", { why: `\`${name}\` is too long` });
    }
    values[name] = JSON.parse(bytes.toString());
  }
  return values;
}

function* inputIn(text: Buffer, path: string): Generator<void, unknown> {
  try {
    return yield* clientInput(text, operationAt(path));
  } catch (error) {
    if (error instanceof SupervisorError) return error;
    throw error;
  }
}

function operationAt(path: string): Operation | undefined {
  const [group = "", name = ""] = path.split(".");
  const operations = contract as Contract;
  if (!Object.hasOwn(operations, group)) return undefined;
  const members = operations[group] ?? {};
  return Object.hasOwn(members, name) ? members[name] : undefined;
}
