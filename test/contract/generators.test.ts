/**
 * The properties of the document that generators of clients need: without them,
 * the generated code does not compile or does not run. `npm run generators`
 * runs the generators themselves.
 */
import { describe, expect, it } from "vitest";
import type { oas31 } from "zod-openapi";
import { input, mockKernel, result, testServer } from "../../testing/index.ts";
import {
  type Described,
  document,
  escaped,
  operations,
  resolved,
  responsesOf,
  validator,
} from "./document.ts";

type Schema = oas31.SchemaObject;

const schemas = (document.components?.schemas ?? {}) as Record<string, Schema>;

describe("a generator", () => {
  it("makes no type for a body that is always `null`", () => {
    const bodies = operations.flatMap(({ operation, pointer }) =>
      Object.entries(responsesOf(operation)).flatMap(([status, response]) =>
        Object.values(resolved(response).content ?? {}).map(({ schema }) => ({
          where: `${pointer} ${status}`,
          schema,
        })),
      ),
    );
    expect(bodies.length).toBeGreaterThan(100);
    const nulls = bodies.filter(
      ({ schema }) => (schema as Schema | undefined)?.type === "null",
    );
    expect(nulls).toEqual([]);
  });

  it("finds a name for every object", () => {
    const nameless = objectsWithin(document).filter(
      (pointer) => !/^\/components\/schemas\/[^/]+$/.test(pointer),
    );
    expect(nameless).toEqual([]);
  });

  it("finds the property that tells the members of a union apart", () => {
    const unions = Object.entries(schemas).filter(
      ([, { oneOf }]) => oneOf !== undefined,
    );
    expect(unions.map(([name]) => name)).toEqual(
      expect.arrayContaining(["Output", "SessionEvent"]),
    );
    for (const [name, { oneOf = [], discriminator }] of unions) {
      const { propertyName = "", mapping = {} } = discriminator ?? {};
      const refs = oneOf.map((member) => "$ref" in member && member.$ref);
      expect(Object.values(mapping), name).toEqual(refs);
      for (const [value, ref] of Object.entries(mapping)) {
        const member = schemas[ref.split("/").at(-1) ?? ""];
        expect(member?.required, ref).toContain(propertyName);
        const property = member?.properties?.[propertyName];
        expect(property, ref).toMatchObject({ const: value });
      }
    }
  });

  it("finds no name twice among constants that share one scope, as in Go", () => {
    const constants = Object.values(schemas).flatMap((schema) => {
      const names = (schema as Record<string, unknown>)["x-enum-varnames"];
      return ((names ?? schema.enum ?? []) as string[]).map(constantName);
    });
    expect(constants.length).toBeGreaterThan(30);
    expect(constants.filter((name, i) => constants.indexOf(name) < i)).toEqual(
      [],
    );
  });

  it("finds no name that its own code uses", () => {
    const own = ["APIClient", "Configuration", "ServerConfiguration"];
    expect(own.filter((name) => name in schemas)).toEqual([]);
  });

  it("finds no name twice among the parameters of an operation", () => {
    for (const { operation, pointer } of operations) {
      const names = (operation.parameters ?? []).map((parameter) =>
        identifier(resolved(parameter).name),
      );
      expect(names, pointer).toEqual([...new Set(names)]);
    }
  });

  it("finds a type in every member of a union", () => {
    const unions = within(document).flatMap(({ pointer, value }) =>
      [value["anyOf"] ?? [], value["oneOf"] ?? []].flatMap((members) =>
        (members as Schema[]).map((member) => ({ pointer, member })),
      ),
    );
    expect(unions.length).toBeGreaterThan(20);
    const typeless = unions.filter(
      ({ member }) => !("$ref" in member) && member.type === undefined,
    );
    expect(typeless).toEqual([]);
  });

  it("finds the width of every integer", () => {
    const narrow = within(document).filter(
      ({ value }) =>
        value["type"] === "integer" &&
        !["int32", "int64"].includes(String(value["format"])),
    );
    expect(narrow).toEqual([]);
  });
});

describe("the example of a body", () => {
  const withBody = operations.filter(
    ({ operation }) => operation.requestBody !== undefined,
  );

  it.each(withBody)("is there at $method $path", (described) => {
    const validate = validator(
      `${described.pointer}/requestBody/content/${escaped("application/json")}/schema`,
    );
    const isValid = validate(exampleOf(described));
    expect(isValid, JSON.stringify(validate.errors)).toBe(true);
  });

  it.each(withBody)("works at $method $path", async (described) => {
    await using server = await testServer({
      kernels: {
        python3: mockKernel({
          on: {
            "6 * 7": result("42"),
            ask: input("Sure? ", (answer) => result(answer)),
          },
          complete: ["print"],
        }),
      },
    });
    const { path, method, operation } = described;
    const session = await server.start("python3", "running");
    const needsExecution =
      path.includes("{execution_id}") || path.endsWith("/input");
    const execution_id = needsExecution ? await session.run("ask") : "";
    if (path.endsWith("/input")) await session.transcript.untilPrompt();
    if (path.endsWith("/wait")) {
      await session.transcript.untilPrompt();
      await session.answer("yes");
    }
    if (path.endsWith("/adopt")) {
      await server.trpc.sessions.shutdown.mutate({ session_id: "running" });
    }
    const document = path.includes("{jupyter_session_id}")
      ? await server.trpc.jupyter.start_session.mutate({
          path: "a.ipynb",
          type: "notebook",
        })
      : undefined;
    const address = path
      .replace("{session_id}", "running")
      .replace("{kernel_id}", "running")
      .replace("{jupyter_session_id}", document?.id ?? "")
      .replace("{execution_id}", execution_id);

    const response = await server.fetch(address, {
      method,
      headers: { "content-type": "application/json" },
      body: JSON.stringify(exampleOf(described)),
    });

    const text = await response.text();
    const successes = Object.keys(responsesOf(operation)).filter(
      (status) => Number(status) < 300,
    );
    expect(successes, text).toContain(String(response.status));
  });
});

function exampleOf({ operation }: Described): unknown {
  const { content } = operation.requestBody as oas31.RequestBodyObject;
  const example: unknown = content["application/json"]?.example;
  expect(example).toBeDefined();
  return example;
}

/** The positions of objects with properties. */
function objectsWithin(value: unknown): readonly string[] {
  return within(value).flatMap(({ pointer, value }) =>
    value["type"] === "object" && value["properties"] !== undefined
      ? [pointer]
      : [],
  );
}

interface Found {
  readonly pointer: string;
  readonly value: Readonly<Record<string, unknown>>;
}

function within(value: unknown, pointer = ""): readonly Found[] {
  if (typeof value !== "object" || value === null) return [];
  return [
    { pointer, value: value as Found["value"] },
    ...Object.entries(value).flatMap(([key, part]) =>
      key === "example" || key === "examples"
        ? []
        : within(part, `${pointer}/${escaped(key)}`),
    ),
  ];
}

function constantName(value: string): string {
  return value.toUpperCase().replaceAll(/[^A-Z0-9]+/g, "_");
}

/** As in languages that join words with `_`. */
function identifier(name: string): string {
  return name
    .replaceAll(/([a-z])([A-Z])/g, "$1_$2")
    .replaceAll("-", "_")
    .toLowerCase();
}
