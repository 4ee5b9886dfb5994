/**
 * Reads and checks the data that the WebSocket receives.
 *
 * Data that is not a valid answer but has the id of a request becomes an error
 * answer to that request. Data without such an id is a fault of the connection.
 */
export type Frame =
  | { readonly sign: "PING" | "PONG" }
  | { readonly answer: Answer }
  /** A message that no caller here waits for. */
  | { readonly answer: undefined }
  | { readonly fault: string };

export type Answer = { readonly id: string | number } & (
  | { readonly result: Result }
  | { readonly error: { readonly code: number; readonly message: string } }
);

interface Result {
  readonly type?: "started" | "stopped" | "data";
  /** The position, if it is an event. */
  readonly id?: string;
  readonly data?: unknown;
}

/** Replaces the data of an event that is not JSON. */
export const BROKEN = Symbol("not JSON");

export function readFrame(data: unknown): Frame {
  if (data === "PING" || data === "PONG") return { sign: data };
  if (typeof data !== "string") return { fault: "it is not text" };
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return partialFrame(data.slice(0, MAX_BEGINNING));
  }
  if (!isRecord(value)) return { fault: "it is not an answer" };
  const { id, method } = value;
  if (typeof method === "string" || id === null) return { answer: undefined };
  if (typeof id !== "string" && typeof id !== "number") {
    return { fault: "it is not an answer" };
  }
  return { answer: answerOf(id, value) };
}

const MAX_BEGINNING = 400; // characters
const REQUEST = /^\{"id":(\d{1,15}|"[\w-]{1,64}"),/;
const EVENT = /^\{"id":[^,]*,"result":\{"type":"data","id":"([\w:-]{1,100})"/;
export const NOT_JSON = "it is not JSON";

/** Reads the id of the request, and the position, from the beginning of data that is not JSON. */
function partialFrame(text: string): Frame {
  const [, requestId] = REQUEST.exec(text) ?? [];
  if (requestId === undefined) return { fault: NOT_JSON };
  const id = JSON.parse(requestId) as string | number;
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
      : unreadable(id, "its error is not tRPC's");
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

/** An error answer with the code of a JSON-RPC parse error. */
function unreadable(id: string | number, why: string): Answer {
  const message = `The answer of the server cannot be read: ${why}`;
  return { id, error: { code: -32700, message } };
}

export function isRecord(
  value: unknown,
): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
