/**
 * What comes by the WebSocket, looked at before anybody is handed it: tRPC
 * throws over what it cannot read, where nobody can catch it. What is left has
 * the shape of an answer. What is none, but says which request it is for, is
 * an answer that says so; of what does not even say that, the connection is no
 * good.
 */
export type Frame =
  | { readonly sign: "PING" | "PONG" }
  | { readonly answer: Answer }
  /** To nobody here. */
  | { readonly answer: undefined }
  | { readonly fault: string };

export type Answer = { readonly id: string | number } & (
  | { readonly result: Result }
  | { readonly error: { readonly code: number; readonly message: string } }
);

interface Result {
  readonly type?: "started" | "stopped" | "data";
  /** Of an event: its position. */
  readonly id?: string;
  readonly data?: unknown;
}

/** Stands where an event should be that is not JSON. */
export const BROKEN = Symbol("not JSON");

export function readFrame(data: unknown): Frame {
  if (data === "PING" || data === "PONG") return { sign: data };
  if (typeof data !== "string") return { fault: "it is no text" };
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return ofBeginning(data.slice(0, MOST_BEGINNING));
  }
  if (!isRecord(value)) return { fault: "it is no answer" };
  const { id, method } = value;
  if (typeof method === "string" || id === null) return { answer: undefined };
  if (typeof id !== "string" && typeof id !== "number") {
    return { fault: "it is no answer" };
  }
  return { answer: answerOf(id, value) };
}

const MOST_BEGINNING = 400; // characters
const REQUEST = /^\{"id":(\d{1,15}|"[\w-]{1,64}"),/;
const EVENT = /^\{"id":[^,]*,"result":\{"type":"data","id":"([\w:-]{1,100})"/;
export const NOT_JSON = "it is not JSON";

/** Broken: it may still say whose it is. */
function ofBeginning(text: string): Frame {
  const [, asked] = REQUEST.exec(text) ?? [];
  if (asked === undefined) return { fault: NOT_JSON };
  const id = JSON.parse(asked) as string | number;
  const [, position] = EVENT.exec(text) ?? [];
  if (position === undefined) return { answer: unreadable(id, NOT_JSON) };
  const event = { id: position, data: BROKEN };
  return {
    answer: { id, result: { type: "data", id: position, data: event } },
  };
}

function answerOf(
  id: string | number,
  { result, error }: Readonly<Record<string, unknown>>,
): Answer {
  if (isRecord(error)) {
    const { code, message } = error;
    const isError = typeof code === "number" && typeof message === "string";
    return isError
      ? { id, error: { ...error, code, message } }
      : unreadable(id, "it is no error of tRPC's");
  }
  if (!isRecord(result)) return unreadable(id, "it has no result");
  const { type = "data", id: position, data } = result;
  switch (type) {
    case "started":
    case "stopped":
      return { id, result: { type } };
    case "data":
      return {
        id,
        result: {
          type,
          data,
          ...(typeof position === "string" && { id: position }),
        },
      };
    default:
      return unreadable(id, "its type is unknown");
  }
}

/** In words of JSON-RPC, a parse error. */
function unreadable(id: string | number, why: string): Answer {
  const message = `What the server answered cannot be read: ${why}`;
  return { id, error: { code: -32700, message } };
}

export function isRecord(
  value: unknown,
): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
