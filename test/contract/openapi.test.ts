import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import SwaggerParser from "@apidevtools/swagger-parser";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type * as z from "zod";
import type { oas31 } from "zod-openapi";
import {
  type Contract,
  contract,
  partsOf,
  statusOf,
} from "../../contract/index.ts";
import { openApiDocument } from "../../scripts/openapi/document.ts";
import {
  at,
  document,
  escaped,
  operations,
  resolved,
  responsesOf,
  text,
  validator,
} from "./document.ts";

const requested = Object.entries(contract as Contract).flatMap(
  ([group, members]) =>
    Object.entries(members).flatMap(([name, operation]) =>
      operation.route === undefined
        ? []
        : [
            {
              name: `${group}.${name}`,
              operation,
              ...partsOf(operation.route),
            },
          ],
    ),
);

describe("the committed document", () => {
  it("is up to date with the contract", () => {
    expect(JSON.stringify(JSON.parse(text))).toBe(
      JSON.stringify(openApiDocument()),
    );
  });

  it("is a valid OpenAPI 3.1 document to another implementation", async () => {
    const valid = await SwaggerParser.validate(
      JSON.parse(text) as Parameters<typeof SwaggerParser.validate>[0],
    );
    expect(valid.paths).toBeDefined();
  });

  it("has schemas that a strict validator accepts", () => {
    const ajv = new Ajv2020({
      strict: true,
      strictRequired: false,
      strictTypes: false,
      allowUnionTypes: true,
      keywords: ["discriminator", "example", "x-enum-varnames"],
    });
    addFormats.default(ajv);
    const schemas = Object.entries(document.components?.schemas ?? {});
    for (const [name, schema] of schemas) {
      const rooted = JSON.stringify(schema).replaceAll(
        '"#/components/schemas/',
        '"',
      );
      ajv.addSchema(JSON.parse(rooted) as object, name);
    }
    for (const [name] of schemas)
      expect(ajv.getSchema(name)).toBeTypeOf("function");
  });

  it("has no reference without a target", () => {
    const refs = [...text.matchAll(/"\$ref": "#([^"]+)"/g)];
    expect(refs.length).toBeGreaterThan(50);
    for (const [, pointer = ""] of refs)
      expect(() => at(pointer)).not.toThrow();
  });

  const redocly = fileURLToPath(
    new URL("../../node_modules/@redocly/cli/bin/cli.js", import.meta.url),
  );
  it.skipIf(!existsSync(redocly))("causes no warning of a linter", async () => {
    const file = fileURLToPath(
      new URL("../../contract/openapi.json", import.meta.url),
    );
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [redocly, "lint", "--format=json", file],
      {
        env: {
          ...process.env,
          REDOCLY_TELEMETRY: "off",
          REDOCLY_SUPPRESS_UPDATE_NOTICE: "true",
        },
      },
    );
    expect(JSON.parse(stdout)).toMatchObject({ problems: [] });
  });
});

describe("every operation with a route", () => {
  it("is in the document exactly once, at its route", () => {
    const described = operations.flatMap(({ method, path, operation }) => {
      const procedure: unknown = operation["x-trpc-procedure"];
      return typeof procedure === "string"
        ? [`${procedure} ${method} ${path}`]
        : [];
    });
    expect(described.toSorted()).toEqual(
      requested
        .map(({ name, method, path }) => `${name} ${method} ${path}`)
        .toSorted(),
    );
  });

  it("has a unique id that is an identifier in most languages", () => {
    const ids = operations.map(({ operation }) => operation.operationId ?? "");
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) expect(id).toMatch(/^[a-z][A-Za-z0-9]+$/);
  });

  it.each(requested)(
    "$name documents its success and every failure by status",
    ({ operation, method, path }) => {
      const responses = responsesOf(described(method, path));
      expect(Object.keys(responses)).toContain(String(operation.status ?? 200));
      const reasons = [
        ...(operation.errors ?? []),
        ...(operation.access === "open" ? [] : ["unauthorized" as const]),
        "internal" as const,
      ];
      for (const reason of reasons) {
        const response = resolved(
          responses[String(statusOf(operation, reason))] ?? { description: "" },
        );
        const { examples = {}, schema } =
          response.content?.["application/json"] ?? {};
        expect(Object.keys(examples)).toContain(reason);
        expect(
          ["Error", "StartupError", "JupyterError"].map(
            (name) => `#/components/schemas/${name}`,
          ),
        ).toContain((schema as oas31.ReferenceObject).$ref);
      }
    },
  );

  it.each(requested)(
    "$name requires the token exactly if the operation needs it",
    ({ operation, method, path }) => {
      const { security = document.security } = described(method, path);
      if (operation.access === "open") expect(security).toEqual([]);
      else expect(security).toContainEqual({ token: [] });
    },
  );
});

describe("every example", () => {
  const media = operations.flatMap(({ pointer, operation }) => [
    ...Object.keys(
      (operation.requestBody as oas31.RequestBodyObject | undefined)?.content ??
        {},
    ).map((type) => `${pointer}/requestBody/content/${escaped(type)}`),
    ...Object.entries(responsesOf(operation)).flatMap(([status, response]) => {
      const here =
        "$ref" in response
          ? response.$ref.slice(1)
          : `${pointer}/responses/${status}`;
      return Object.keys(resolved(response).content ?? {}).map(
        (type) => `${here}/content/${escaped(type)}`,
      );
    }),
  ]);

  it("matches its schema", () => {
    for (const pointer of new Set(media)) {
      const { example, examples = {} } = at(pointer) as {
        readonly example?: unknown;
        readonly examples?: Record<string, { readonly value: unknown }>;
      };
      const values = [
        ...(example === undefined ? [] : [example]),
        ...Object.values(examples).map(({ value }) => value),
      ];
      const validate = validator(`${pointer}/schema`);
      for (const value of values) {
        expect(
          validate(value),
          `${pointer}: ${JSON.stringify(validate.errors)}`,
        ).toBe(true);
      }
    }
  });
});

describe("the schema of a new session", () => {
  it("accepts exactly the inputs that the contract accepts", () => {
    const whole = {
      session_id: "a",
      kernel_name: "python3",
      argv: ["python3", "{connection_file}"],
      display_name: "Python",
      language: "python",
      username: "me",
      input_prompt: ">",
      continuation_prompt: "+",
      session_mode: "console",
      working_directory: "",
      env: [],
      interrupt_mode: "signal",
      startup_environment: "none",
    };
    const validate = validator("/components/schemas/NewSession");
    const input: z.ZodType = contract.sessions.create.input;
    const keys = Object.keys(whole) as (keyof typeof whole)[];
    fc.assert(
      fc.property(
        fc.subarray(keys, { minLength: keys.length - 3 }),
        fc.option(fc.constantFrom(...keys), { nil: undefined }),
        fc.jsonValue(),
        (present, changed, value) => {
          const session: Record<string, unknown> = Object.fromEntries(
            present.map((key) => [key, whole[key]]),
          );
          if (changed !== undefined) session[changed] = value;
          expect(validate(session)).toBe(input.safeParse(session).success);
        },
      ),
    );
  });
});

function described(method: string, path: string): oas31.OperationObject {
  const found = operations.find(
    (candidate) => candidate.method === method && candidate.path === path,
  );
  if (found === undefined) throw new Error(`No ${method} ${path}`);
  return found.operation;
}
