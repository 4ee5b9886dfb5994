/**
 * Adapts JSON Schema to generators of clients: integers have a format in place of
 * the limits of JavaScript, and keywords without effect are left out. Objects allow
 * additional members, because a later server may send more.
 */
type Json = Readonly<Record<string, unknown>>;

export function tidied<T>(value: T): T {
  return tidy(value) as T;
}

function tidy(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(tidy);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(sized(value)).flatMap(([key, part]) => {
      if (key === "properties" && isEmptyBut(part)) return [];
      if (key === "propertyNames" && isEmptyBut(part, "type")) return [];
      if (key === "additionalProperties" && part === false) return [];
      if (key === "additionalProperties" && isEmptyBut(part)) {
        return [[key, true]];
      }
      return [[key, tidy(part)]];
    }),
  );
}

function sized(schema: Json): Json {
  if (schema["type"] !== "integer") return schema;
  const { minimum, maximum, ...rest } = schema;
  const lowest = minimum ?? rest["exclusiveMinimum"];
  const isInt32 =
    Number(lowest) >= -2_147_483_648 && Number(maximum) <= 2_147_483_647;
  return {
    ...rest,
    format: isInt32 ? "int32" : "int64",
    ...(isLimit(minimum) && { minimum }),
    ...(isLimit(maximum) && { maximum }),
  };
}

/** Whether the bound is smaller than the largest safe integer of JavaScript. */
function isLimit(bound: unknown): boolean {
  return Math.abs(Number(bound)) < Number.MAX_SAFE_INTEGER;
}

function isEmptyBut(part: unknown, key?: string): boolean {
  return (
    isObject(part) && Object.keys(part).every((present) => present === key)
  );
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null;
}
