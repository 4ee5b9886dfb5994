/** The output of `trpc-to-openapi` for the contract. It needs a router, whose procedures are never called. */
import { initTRPC } from "@trpc/server";
import { generateOpenApiDocument, type OpenApiMeta } from "trpc-to-openapi";
import * as z from "zod";
import type { oas31 } from "zod-openapi";
import * as errors from "../../contract/error-body.ts";
import * as kernelspecs from "../../contract/kernelspecs.ts";
import * as messages from "../../contract/messages.ts";
import * as server from "../../contract/server.ts";
import * as sessions from "../../contract/sessions.ts";
import type { Routed } from "./routed.ts";
import { tidied } from "./tidied.ts";

export interface Generated {
  readonly schemas: Readonly<Record<string, oas31.SchemaObject>>;
  readonly paths: oas31.PathsObject;
}

const t = initTRPC.meta<OpenApiMeta>().create();

export function generated(operations: readonly Routed[]): Generated {
  const router = routerOf(operations);
  // Schemas that only the hand-written parts use, or that the conversion splits, are
  // requested by name. A schema that is found already would otherwise appear twice.
  const found = documentOf(router, {}).schemas;
  const missing = Object.entries(named(operations)).filter(
    ([name]) => !(name in found),
  );
  return documentOf(router, Object.fromEntries(missing));
}

function documentOf(
  router: ReturnType<typeof routerOf>,
  defs: Record<string, z.ZodType>,
): Generated {
  const { paths, components } = tidied(
    generateOpenApiDocument(router, {
      title: "",
      version: "",
      baseUrl: "/",
      defs,
    }),
  );
  return {
    paths: paths ?? {},
    schemas: (components?.schemas ?? {}) as Generated["schemas"],
  };
}

/** The converter refuses subscriptions, so they are queries here: their input is described in the same way. */
function routerOf(operations: readonly Routed[]) {
  const procedures = operations.map(
    ({ procedure, operation, method, path }) => {
      const described = t.procedure
        .meta({
          openapi: { method, path: path as `/${string}`, errorResponses: [] },
        })
        .input(operation.input as z.ZodType)
        .output(operation.output as z.ZodType);
      return [
        procedure,
        operation.kind === "mutation"
          ? described.mutation(() => undefined)
          : described.query(() => undefined),
      ];
    },
  );
  return t.router(
    Object.fromEntries(procedures) as Parameters<typeof t.router>[0],
  );
}

/** The schemas of the contract that have a name. */
function named(operations: readonly Routed[]): Record<string, z.ZodType> {
  const exported = [errors, kernelspecs, messages, server, sessions].flatMap(
    (file) => Object.values<unknown>(file),
  );
  const values = [
    ...exported,
    ...operations.map(({ operation }) => operation.input),
  ];
  return Object.fromEntries(
    values.flatMap((value) => {
      if (!(value instanceof z.ZodType)) return [];
      const id = value.meta()?.id;
      return id === undefined ? [] : [[id, value] as const];
    }),
  );
}
