/**
 * Values from a JSON Schema of the document: valid ones, and ones with a change
 * somewhere.
 */
import fc from "fast-check";
import type { oas31 } from "zod-openapi";
import { resolved } from "../contract/document.ts";

type Schema = oas31.SchemaObject | oas31.ReferenceObject;

/** Values that the schema describes; `instead` replaces the values of properties, by name. */
export function valuesOf(
  schema: Schema,
  instead: Readonly<Record<string, fc.Arbitrary<unknown>>> = {},
): fc.Arbitrary<unknown> {
  const plain = resolved<oas31.SchemaObject>(schema);
  if (plain.const !== undefined) return fc.constant(plain.const);
  if (plain.enum !== undefined)
    return fc.constantFrom(...(plain.enum as unknown[]));
  const { anyOf, oneOf = anyOf, required = [] } = plain;
  if (oneOf !== undefined) {
    return fc.oneof(...oneOf.map((member) => valuesOf(member, instead)));
  }
  const choices = requiredEitherWay(plain);
  if (choices.length > 0) {
    return fc.oneof(
      ...choices.map((more) =>
        objectsOf({ ...plain, required: [...required, ...more] }, instead),
      ),
    );
  }
  const types = [plain.type ?? []].flat();
  if (types.length === 0) return fc.jsonValue();
  return fc.oneof(...types.map((type) => valuesOfType(type, plain, instead)));
}

/** The properties that `if` and `else` require: the types of OpenAPI have neither. */
function requiredEitherWay(
  schema: oas31.SchemaObject,
): readonly (readonly string[])[] {
  const { if: condition, else: otherwise } = schema as {
    readonly if?: oas31.SchemaObject;
    readonly else?: oas31.SchemaObject;
  };
  return [condition, otherwise].flatMap((choice) =>
    choice?.required === undefined ? [] : [choice.required],
  );
}

function valuesOfType(
  type: oas31.SchemaObjectType,
  schema: oas31.SchemaObject,
  instead: Readonly<Record<string, fc.Arbitrary<unknown>>>,
): fc.Arbitrary<unknown> {
  switch (type) {
    case "null":
      return fc.constant(null);
    case "boolean":
      return fc.boolean();
    case "integer":
    case "number": {
      const { exclusiveMinimum } = schema;
      const least =
        typeof exclusiveMinimum === "number"
          ? exclusiveMinimum + 1
          : (schema.minimum ?? Number.MIN_SAFE_INTEGER);
      return fc
        .maxSafeInteger()
        .map((value) =>
          Math.min(
            Math.max(value, least),
            schema.maximum ?? Number.MAX_SAFE_INTEGER,
          ),
        );
    }
    case "string": {
      const { pattern, minLength = 0, maxLength } = schema;
      if (pattern !== undefined) return fc.stringMatching(new RegExp(pattern));
      const size = { minLength, ...(maxLength !== undefined && { maxLength }) };
      return fc.oneof(
        fc.string(size),
        fc.string({ ...size, unit: "grapheme" }),
        fc.string({ ...size, unit: "binary" }),
      );
    }
    case "array":
      return fc.array(valuesOf(schema.items ?? {}, instead), { maxLength: 4 });
    case "object":
      return objectsOf(schema, instead);
  }
}

function objectsOf(
  { properties = {}, required = [], additionalProperties }: oas31.SchemaObject,
  instead: Readonly<Record<string, fc.Arbitrary<unknown>>>,
): fc.Arbitrary<object> {
  const members = Object.fromEntries(
    Object.entries(properties).map(([name, property]) => [
      name,
      instead[name] ?? valuesOf(property, instead),
    ]),
  );
  const known: fc.Arbitrary<object> = fc.record(members, {
    requiredKeys: required,
  });
  if (additionalProperties === undefined || additionalProperties === false)
    return known;
  const more = additionalProperties === true ? {} : additionalProperties;
  return fc
    .tuple(
      fc.dictionary(
        fc.string().filter((name) => !(name in properties)),
        valuesOf(more, instead),
        { maxKeys: 2 },
      ),
      known,
    )
    .map(([others, own]) => ({ ...others, ...own }));
}

/** The value, with a member somewhere in it removed or replaced. */
export function mutationsOf(
  values: fc.Arbitrary<unknown>,
  replacements: fc.Arbitrary<unknown> = fc.jsonValue(),
): fc.Arbitrary<unknown> {
  return fc
    .tuple(
      values,
      fc.array(fc.nat(), { minLength: 1, maxLength: 3 }),
      fc.option(replacements, { nil: undefined }),
    )
    .map(([value, way, replacement]) => changed(value, way, replacement));
}

function changed(
  value: unknown,
  [step, ...way]: readonly number[],
  replacement: unknown,
): unknown {
  if (step === undefined || typeof value !== "object" || value === null) {
    return replacement;
  }
  if (Array.isArray(value)) {
    const at = step % (value.length + 1);
    const members: unknown[] = value;
    return [
      ...members.slice(0, at),
      changed(members[at], way, replacement),
      ...members.slice(at + 1),
    ];
  }
  const entries = Object.entries(value);
  const at = step % (entries.length + 1);
  return Object.fromEntries(
    entries.map(([key, member], index) => [
      key,
      index === at ? changed(member, way, replacement) : member,
    ]),
  );
}
