/** Gives each schema of the document a name, so that generators make types with readable names. */
import { isDeepStrictEqual } from "node:util";
import type * as z from "zod";
import type { oas31 } from "zod-openapi";
import type { Generated } from "./generated.ts";
import { type Routed, verbOf } from "./routed.ts";

type Schema = oas31.SchemaObject | oas31.ReferenceObject;
type Schemas = Record<string, oas31.SchemaObject>;

/** All schemas by name. A body without a name gets one from its operation: `SessionsExecuteBody`. */
export function namedSchemas(
  made: Generated,
  operations: readonly Routed[],
): Schemas {
  const bodies = operations.flatMap((routed) => {
    const body = bodyIn(made, routed);
    if (body === undefined || nameOf(body, routed, made.schemas)) return [];
    const { operationId } = routed;
    const name = `${operationId.charAt(0).toUpperCase()}${operationId.slice(1)}Body`;
    return [[name, body]];
  });
  const all = {
    ...made.schemas,
    ...(Object.fromEntries(bodies) as Schemas),
  };
  return Object.fromEntries(
    Object.entries(all).map(([name, schema]) => [
      name,
      withDiscriminator(schema, all),
    ]),
  );
}

/** The body of an operation; `undefined` if it has none. */
export function bodyOf(
  made: Generated,
  routed: Routed,
  schemas: Schemas,
):
  | { readonly schema: oas31.ReferenceObject; readonly isRequired: boolean }
  | undefined {
  const body = bodyIn(made, routed);
  if (body === undefined) return undefined;
  const name = nameOf(body, routed, schemas);
  if (name === undefined)
    throw new Error(`${routed.procedure}: its body has no named schema`);
  const schema = schemas[name] ?? {};
  const { required = [] } = schema;
  const $ref = `#/components/schemas/${name}`;
  return {
    schema: { $ref },
    isRequired: required.length > 0 || "else" in schema,
  };
}

/** As it was generated, without a name. */
export function bodyIn(
  { paths }: Generated,
  { operation, path, method }: Routed,
): oas31.SchemaObject | undefined {
  const body = paths[path]?.[verbOf(method)]?.requestBody;
  const content = body as oas31.RequestBodyObject | undefined;
  const schema = content?.content["application/json"]?.schema as
    oas31.SchemaObject | undefined;
  return schema && { ...schema, ...conditionsOf(operation) };
}

/** What the input requires depending on its members. The generator leaves this out of a body. */
function conditionsOf(operation: Routed["operation"]): oas31.SchemaObject {
  const meta = (operation.input as z.ZodType).meta() ?? {};
  const conditions = ["if", "then", "else"].filter((name) => name in meta);
  if (conditions.length === 0) return {};
  return {
    additionalProperties: true, // or linters accept only the members that the conditions name
    ...Object.fromEntries(conditions.map((name) => [name, meta[name]])),
  };
}

/** The name of the input if it has one (the body of a refined schema has lost it), else the name of an equal schema. */
function nameOf(
  body: Schema,
  { operation }: Routed,
  schemas: Schemas,
): string | undefined {
  const own = (operation.input as z.ZodType).meta()?.id;
  if (own !== undefined) return own;
  return Object.keys(schemas).find((name) =>
    isDeepStrictEqual(schemas[name], body),
  );
}

/** Adds the discriminator to a union of named schemas: the property by which they differ. */
function withDiscriminator(
  schema: oas31.SchemaObject,
  schemas: Schemas,
): oas31.SchemaObject {
  const refs = (schema.oneOf ?? []).flatMap((member) =>
    "$ref" in member ? [member.$ref] : [],
  );
  if (refs.length === 0 || refs.length !== schema.oneOf?.length) return schema;
  const constants = refs.map((ref) => {
    const { properties = {} } = schemas[ref.split("/").at(-1) ?? ""] ?? {};
    return Object.entries(properties).flatMap(([name, property]) =>
      "const" in property ? [{ name, value: String(property.const), ref }] : [],
    );
  });
  const propertyName = constants[0]?.find(({ name }) =>
    constants.every((member) => member.some((other) => other.name === name)),
  )?.name;
  if (propertyName === undefined) return schema;
  const mapping = Object.fromEntries(
    constants
      .flat()
      .filter(({ name }) => name === propertyName)
      .map(({ value, ref }) => [value, ref]),
  );
  return { ...schema, discriminator: { propertyName, mapping } };
}
