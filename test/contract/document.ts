/** The committed OpenAPI document, and checks of values against its schemas. */
import { readFileSync } from "node:fs";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import type { oas31 } from "zod-openapi";

export const text = readFileSync(
  new URL("../../contract/openapi.json", import.meta.url),
  "utf8",
);

export const document = JSON.parse(text) as oas31.OpenAPIObject;

export interface Described {
  readonly method: string;
  readonly path: string;
  /** The position in the document, as a JSON pointer. */
  readonly pointer: string;
  readonly operation: oas31.OperationObject;
}

export const operations: readonly Described[] = Object.entries(
  document.paths ?? {},
).flatMap(([path, item]) =>
  Object.entries(item as Record<string, oas31.OperationObject>).map(
    ([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      pointer: `/paths/${escaped(path)}/${method}`,
      operation,
    }),
  ),
);

/** Resolves a reference; any other value is returned unchanged. */
export function resolved<T extends object>(
  value: T | oas31.ReferenceObject,
): T {
  return "$ref" in value ? (at(value.$ref.slice(1)) as T) : value;
}

/** Keyed by status. */
export function responsesOf({
  responses = {},
}: oas31.OperationObject): Record<
  string,
  oas31.ResponseObject | oas31.ReferenceObject
> {
  return responses;
}

/** Throws if the pointer does not exist. */
export function at(pointer: string): unknown {
  let value: unknown = document;
  for (const part of pointer.split("/").slice(1)) {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    value = (value as Record<string, unknown> | undefined)?.[key];
  }
  if (value === undefined) throw new Error(`Nothing at ${pointer}`);
  return value;
}

/** Checks values against the schema at a pointer. */
export function validator(pointer: string): ValidateFunction {
  const known = validators.get(pointer);
  if (known !== undefined) return known;
  const made = ajv.compile({ $ref: `document#${pointer}` });
  validators.set(pointer, made);
  return made;
}
const validators = new Map<string, ValidateFunction>();

export function escaped(part: string): string {
  return part.replaceAll("~", "~0").replaceAll("/", "~1");
}

const ajv = new Ajv2020({
  strict: false,
  validateSchema: false, // the document around the schemas is not a schema
  allErrors: true,
  allowUnionTypes: true,
});
addFormats.default(ajv);
ajv.addSchema(document, "document");
