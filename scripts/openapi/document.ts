/**
 * The OpenAPI document of the contract.
 *
 * `trpc-to-openapi` converts the schemas to JSON Schema. This file adds what it does
 * not generate (statuses, failures, names, examples), by a loop over the contract.
 */
import type * as z from "zod";
import type { oas31 } from "zod-openapi";
import project from "../../package.json" with { type: "json" };
import {
  channels,
  documentation,
  eventStream,
  pathHeader,
  spanId,
} from "./by-hand.ts";
import { failureResponses, failuresOf } from "./failures.ts";
import { generated, type Generated } from "./generated.ts";
import { pruned } from "./pruned.ts";
import { type Routed, routedOperations, verbOf } from "./routed.ts";
import { bodyIn, bodyOf, namedSchemas } from "./schemas.ts";
import {
  description,
  headers,
  inHeaderOrQuery,
  parameterExamples,
  securitySchemes,
  tags,
} from "./words.ts";

export function openApiDocument(): oas31.OpenAPIObject {
  const operations = routedOperations();
  const made = generated(operations);
  const schemas = namedSchemas(made, operations);
  const paths: oas31.PathsObject = {};
  for (const routed of operations) {
    const verb = verbOf(routed.method);
    (paths[routed.path] ??= {})[verb] = toOperation(routed, made, schemas);
  }
  return pruned({
    openapi: "3.1.0",
    info: {
      title: "Kallichore",
      version: project.version,
      description,
      license: { name: project.license, identifier: project.license },
    },
    servers: [{ url: "/", description: "The server of this document" }],
    security: [{ token: [] }],
    tags,
    paths: { ...paths, ...channels, ...documentation },
    components: {
      schemas,
      responses: failureResponses(),
      headers,
      securitySchemes,
    },
  });
}

function toOperation(
  routed: Routed,
  made: Generated,
  schemas: Record<string, oas31.SchemaObject>,
): oas31.OperationObject {
  const { operation, operationId, procedure, group } = routed;
  const { access, summary, description, kind } = operation;
  const parameters = parametersOf(routed, made);
  const body = bodyOf(made, routed, schemas);
  return {
    operationId,
    "x-trpc-procedure": procedure,
    tags: [group],
    summary,
    ...(description !== undefined && { description }),
    ...(access === "open" && { security: [] }),
    ...(kind === "subscription" && { security: inHeaderOrQuery }),
    ...(parameters.length > 0 && { parameters }),
    ...(body !== undefined && {
      requestBody: {
        required: body.isRequired,
        content: {
          "application/json": {
            schema: body.isRequired ? body.schema : orNull(body.schema),
            ...exampleOf(operation.examples?.input),
          },
        },
      },
    }),
    responses: {
      ...successes(routed, made),
      ...failuresOf(operation, body !== undefined),
    },
  };
}

/** An optional body may also be the JSON literal `null`. */
function orNull(schema: oas31.ReferenceObject): oas31.SchemaObject {
  return { anyOf: [schema, { type: "null" }] };
}

function parametersOf(
  routed: Routed,
  made: Generated,
): oas31.ParameterObject[] {
  const { operation, path, method } = routed;
  const all = (made.paths[path]?.[verbOf(method)]?.parameters ??
    []) as oas31.ParameterObject[];
  const { shape } = objectIn(operation.input as z.ZodType);
  const inQuery = (operation.inQuery ?? []).map((name) =>
    inQueryOf(name, routed, made),
  );
  return [
    ...all.map((parameter) => {
      const { name, required = false } = parameter;
      const described = (shape[name] as z.ZodType | undefined)?.description;
      return {
        name,
        in: parameter.in,
        required,
        ...(described !== undefined && { description: described }),
        schema: typeOf(parameter),
        ...exampleOf(parameterExamples[name]),
      };
    }),
    ...inQuery,
  ];
}

/** A member of the body that the address may carry instead. */
function inQueryOf(
  name: string,
  routed: Routed,
  made: Generated,
): oas31.ParameterObject {
  const { properties = {} } = bodyIn(made, routed) ?? {};
  const { description, ...schema } = properties[name] as oas31.SchemaObject;
  return {
    name,
    in: "query",
    required: false,
    ...(description !== undefined && { description }),
    schema,
  };
}

/** The object schema of an input, which is optional if no member is required. */
function objectIn(input: z.ZodType): z.ZodObject {
  const { def } = input as z.ZodOptional<z.ZodType> | z.ZodObject;
  return (def.type === "optional" ? def.innerType : input) as z.ZodObject;
}

/** The type of a parameter, without its description, and without `null`, which an address cannot express. */
function typeOf({ schema = {} }: oas31.ParameterObject): oas31.SchemaObject {
  const { anyOf = [], ...type } = schema as oas31.SchemaObject;
  delete type.description;
  const [first] = anyOf.filter(
    (one) => !("type" in one && one.type === "null"),
  );
  return { ...type, ...first };
}

function successes(
  routed: Routed,
  made: Generated,
): Record<string, oas31.ResponseObject> {
  const { status = 200, outcomes } = routed.operation;
  const response = success(routed, made);
  if (outcomes === undefined) return { [status]: response };
  return Object.fromEntries(
    Object.values(outcomes.cases).map(({ status, description, location }) => [
      status,
      {
        ...response,
        description,
        headers: {
          ...response.headers,
          ...(location !== undefined && { Location: pathHeader }),
        },
      },
    ]),
  );
}

function success(
  { operation, path, method }: Routed,
  made: Generated,
): oas31.ResponseObject {
  const { output, kind, status, examples } = operation;
  const schemaOfOutput = output as z.ZodType;
  if (status === 204) return { description: "Done", headers: spanId };
  if (kind === "subscription") {
    return eventStream(String(schemaOfOutput.meta()?.id));
  }
  if (schemaOfOutput.def.type === "null") {
    // Not `{ "type": "null" }`: most generators cannot make a type of it.
    return {
      description: "Done; the body is the JSON literal `null`",
      headers: spanId,
    };
  }
  const response = made.paths[path]?.[verbOf(method)]?.responses?.["200"] as
    oas31.ResponseObject | undefined;
  const schema = response?.content?.["application/json"]?.schema ?? {};
  return {
    description: status === 202 ? "Accepted" : "Success",
    headers: spanId,
    content: {
      "application/json": { schema, ...exampleOf(examples?.output) },
    },
  };
}

function exampleOf(example: unknown): { example?: unknown } {
  return example === undefined ? {} : { example };
}
