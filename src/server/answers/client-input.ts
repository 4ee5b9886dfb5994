/**
 * Reads the input of an operation from the text that a client sent. The text is
 * checked in short steps before any of it is parsed. Large fields are not
 * parsed at all: the kernel gets their bytes as they are. The same holds for
 * objects that are meant for the kernel, however small: their integers may be
 * larger than 2^53, and their names may be `__proto__`.
 */
import { contract, failure, type Operation } from "../../../contract/index.ts";
import { limits } from "../../../contract/limits.ts";
import {
  clientBuffers,
  type RawMembers,
} from "../../jupyter/client-message.ts";
import { countUnits, indexObject } from "../../jupyter/large-json.ts";
import {
  BadText,
  type JsonText,
  jsonText,
  type TextBounds,
} from "../../jupyter/json-text.ts";
import { joined } from "../../jupyter/pieces.ts";

/** Bytes. Smaller texts are parsed as a whole. */
const SMALL = 64 * 1024;

/** By operation: the fields that are not parsed if they are large, and how their values begin. */
const largeFields = new Map<
  Operation,
  Readonly<Record<string, "{" | "[" | '"'>>
>([
  [contract.sessions.send, { content: "{", metadata: "{", buffers: "[" }],
  [contract.sessions.request, { content: "{" }],
  [contract.sessions.execute, { code: '"' }],
  [contract.executions.create, { code: '"' }],
  [contract.jupyter.execute, { code: '"' }],
]);
/** Objects that the kernel gets as the client wrote them. */
const objectsAsWritten = new Map<Operation, readonly (keyof UnreadInput)[]>([
  [contract.sessions.send, ["header", "parent_header", "content", "metadata"]],
  [contract.sessions.request, ["content"]],
  [contract.sessions.execute, ["metadata"]],
  [contract.executions.create, ["metadata", "user_expressions"]],
  [contract.jupyter.execute, ["metadata"]],
]);

/** Whether the operation has input that goes to the kernel as it is written. */
export function hasUnreadFields(operation: Operation | undefined): boolean {
  return operation !== undefined && objectsAsWritten.has(operation);
}

/** The value that replaces a field that is not parsed. */
const empty = { "{": {}, "[": [], '"': "" } as const;
const typeNames = { "{": "an object", "[": "a list", '"': "a string" } as const;

/** The key of the unparsed parts in an input. JSON cannot contain a symbol, and a schema ignores it. */
const UNREAD = Symbol("unread");

/** The unparsed parts of an input, which the kernel gets as the client wrote them. */
export function unreadIn(input: unknown): UnreadInput {
  const { [UNREAD]: unread = {} } = (input ?? {}) as { [UNREAD]?: UnreadInput };
  return unread;
}

export interface UnreadInput extends RawMembers {
  readonly code?: UnreadCode | undefined;
  readonly user_expressions?: Uint8Array | undefined;
}

export interface UnreadCode {
  /** The JSON string as it arrived. */
  readonly jsonString: Buffer;
  /** The beginning of an object whose first member is the code. The buffer has room for the other members. */
  readonly contentStart: Buffer;
}

/** The text before the code in `contentStart`. */
export const CODE = Buffer.from('{"code":');
/** Bytes for the other members. They are parsed and encoded again: a number that is written as `1e20` becomes longer. */
const ROOM = 8 * limits.input_bytes;

/** The input's value; fields that are not parsed are empty in it. `undefined` if there is no text. Throws `bad_request`, `too_large`, `bad_message`. */
export function* clientInput(
  text: Buffer,
  operation: Operation | undefined,
): Generator<void, unknown> {
  if (text.length === 0) return undefined;
  const shapes =
    operation === undefined ? undefined : largeFields.get(operation);
  const names = Object.keys(shapes ?? {});
  const uncounted = new Set(names);
  const read = yield* textOf(text, { values: limits.input_values, uncounted });
  const { members } = read;
  const large = new Map<string, Buffer>();
  for (const [name, shape] of Object.entries(shapes ?? {})) {
    const bytes = members.get(name);
    if (text.length <= SMALL) break;
    if (bytes === undefined || bytes.length <= SMALL / 4) continue;
    if (String.fromCharCode(bytes[0] ?? 0) !== shape) {
      throw failure("bad_request", {
        why: `${name} is not ${typeNames[shape]}`,
      });
    }
    yield* assertUtf8(bytes, name);
    if (shape === "{") yield* indexObject(bytes);
    if (shape === '"') yield* countUnits(bytes);
    large.set(name, bytes);
    members.delete(name);
  }
  const small = smallObjects(members, operation);
  if (large.size === 0) {
    const value = parsed(text);
    return small.length === 0
      ? value
      : { ...(value as object), [UNREAD]: Object.fromEntries(small) };
  }
  const value = parsed(objectText(members)) as Record<string, unknown>;
  for (const name of large.keys()) {
    const shape = shapes?.[name];
    if (shape !== undefined) value[name] = empty[shape];
  }
  const { code, buffers, ...objects } = Object.fromEntries(large);
  const unread: UnreadInput = {
    ...Object.fromEntries(small),
    ...objects,
    code:
      code === undefined
        ? undefined
        : { jsonString: code, contentStart: yield* joined([CODE, code], ROOM) },
    buffers: buffers === undefined ? undefined : yield* clientBuffers(buffers),
  };
  return { ...value, [UNREAD]: unread };
}

/** Copies of the objects that the kernel gets as the client wrote them; copies, because they live longer than the text. Bytes that are not UTF-8 become U+FFFD, as in parsed fields. */
function smallObjects(
  members: ReadonlyMap<string, Buffer>,
  operation: Operation | undefined,
): (readonly [string, Buffer])[] {
  const names =
    operation === undefined ? [] : (objectsAsWritten.get(operation) ?? []);
  return names.flatMap((name) => {
    const bytes = members.get(name);
    const isObject = bytes?.[0] === OPENING_BRACE;
    return isObject ? [[name, Buffer.from(bytes.toString())] as const] : [];
  });
}

const OPENING_BRACE = 0x7b;

/**
 * Checks the text. Throws `bad_request` if it is not JSON, is nested too deep, or
 * has too many values; `found` then has the parts before the fault.
 */
export function* textOf(
  text: Buffer,
  bounds: Omit<TextBounds, "depth">,
  found?: JsonText,
): Generator<void, JsonText> {
  try {
    return yield* jsonText(text, { depth: limits.depth, ...bounds }, found);
  } catch (cause) {
    if (!(cause instanceof BadText)) throw cause;
    const fault = cause.reason === "not_json" ? "is not JSON" : "was refused";
    const why = `The input ${fault}: ${cause.message}`;
    throw failure("bad_request", { why }, { cause });
  }
}

/** A field that is not parsed is passed on unchanged, so it must be valid UTF-8. */
function* assertUtf8(bytes: Buffer, name: string): Generator<void> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for (let at = 0; at < bytes.length; at += SMALL) {
      decoder.decode(bytes.subarray(at, at + SMALL), { stream: true });
      yield;
    }
    decoder.decode();
  } catch (cause) {
    throw failure("bad_request", { why: `${name} is not UTF-8` }, { cause });
  }
}

function parsed(text: Buffer): unknown {
  if (text.length > limits.input_bytes) {
    throw failure("too_large", { limit: limits.input_bytes });
  }
  return JSON.parse(text.toString());
}

function objectText(members: ReadonlyMap<string, Buffer>): Buffer {
  const pieces: Buffer[] = [];
  for (const [name, bytes] of members) {
    const before = pieces.length === 0 ? "{" : ",";
    pieces.push(Buffer.from(`${before}${JSON.stringify(name)}:`), bytes);
  }
  pieces.push(Buffer.from(pieces.length === 0 ? "{}" : "}"));
  return Buffer.concat(pieces);
}
