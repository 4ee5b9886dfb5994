/**
 * The calls in one frame, or in one request, of a tRPC client: each input is
 * looked at before it is parsed, and of what may be large nothing is parsed.
 */
import {
  contract,
  type Contract,
  failure,
  type Operation,
  SupervisorError,
} from "../../contract/index.ts";
import { limits } from "../../contract/limits.ts";
import { clientInput, textOf } from "./client-input.ts";

/** Bytes. Smaller frames are parsed as a whole. */
const SMALL = 64 * 1024;

/** A frame's message, or its messages, as the adapter takes them. An input that is refused is the failure itself. Throws `bad_request`, `too_large`. */
export function* callsIn(frame: Buffer): Generator<void, unknown> {
  if (frame.length <= SMALL) {
    yield* textOf(frame, { values: limits.batch_values });
    return JSON.parse(frame.toString()) as unknown;
  }
  const { kind, items } = yield* textOf(frame, { items: true });
  if (kind !== "array") return yield* callIn(frame);
  if (items.length > 2 * limits.batch_calls) throw tooMany();
  const calls: unknown[] = [];
  for (const item of items) {
    calls.push(yield* callIn(item));
    yield;
  }
  return calls;
}

/** The inputs of a request's calls, by their places. A failure is the input of all. */
export function* inputsIn(
  body: Buffer,
  paths: readonly string[],
  isBatch: boolean,
): Generator<void, readonly unknown[]> {
  try {
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
  } catch (error) {
    if (!(error instanceof SupervisorError)) throw error;
    return paths.map(() => error);
  }
}

function tooMany(): SupervisorError {
  const why = `A batch may have ${limits.batch_calls} calls`;
  return failure("bad_request", { why });
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

/** The names of a call, parsed; `params` and `input` are looked at by themselves. */
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
