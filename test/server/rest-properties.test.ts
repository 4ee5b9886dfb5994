/**
 * The REST API against its own document, with generated inputs.
 *
 * Requests and expected answers are derived from the document alone. Three
 * sessions represent the relevant states: one with a kernel, one whose program
 * ends at once, and one that does not exist.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { oas31 } from "zod-openapi";
import {
  type Described,
  escaped,
  operations,
  resolved,
  validator,
} from "../contract/document.ts";
import { openServer, type TestServer, TOKEN } from "../harness.ts";
import { pythonWithIpykernel } from "../kernels/python.ts";
import {
  type Answer,
  expectPromised,
  expectRefused,
  type Request,
  RestTester,
} from "./rest-tester.ts";
import { mutationsOf, valuesOf } from "./schema-values.ts";

const LIVE = "live";
const STILLBORN = "stillborn";
/** A real Python if there is one. */
const [KERNEL, ANSWER] =
  pythonWithIpykernel === undefined ? ["echo", "6 * 7"] : ["python3", "42"];
/** Generated session ids never contain this text. */
const NOWHERE = "nowhere";

let server: TestServer;
let tester: RestTester;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "rest-properties-"));
  server = await openServer();
  tester = new RestTester(server.url, TOKEN);
  await made({
    session_id: LIVE,
    kernel_name: KERNEL,
    working_directory: directory,
  });
  const started = await tester.ask({
    method: "POST",
    path: `/sessions/${LIVE}/start`,
  });
  expect(started.status, started.text).toBe(200);
}, 60_000);

afterAll(async () => {
  tester[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

/** The last two start a kernel for each valid request, and one of them accepts two forms of the same; `jupyter.test.ts` tests them. */
const NOT_TESTED = [
  "serverShutdown",
  "jupyterStartKernel",
  "jupyterStartSession",
];
const tested = operations.filter(
  ({ operation }) => !NOT_TESTED.includes(operation.operationId ?? ""),
);

describe.each(tested)("$method $path", (described) => {
  const { method, operation } = described;
  const schema = bodySchemaOf(described);

  it("answers described requests as the document describes", async () => {
    await fc.assert(
      fc.asyncProperty(requestsTo(described, "valid"), async (request) => {
        const answer = await tester.ask(request);
        expectPromised(described, answer);
        if (isAsDescribed(described, request)) {
          expect(reasonOf(answer), answer.text).not.toBe("bad_request");
        }
      }),
      { numRuns: 25, plugins: [fc.beforeEach(standStillborn)] },
    );
  });

  it("refuses requests that the document does not describe", async () => {
    await fc.assert(
      fc.asyncProperty(requestsTo(described, "mutated"), async (request) => {
        const answer = await tester.ask(request);
        expectPromised(described, answer);
        if (!isAsDescribed(described, request)) expectRefused(answer);
      }),
      {
        numRuns: schema === undefined ? 15 : 60,
        plugins: [fc.beforeEach(standStillborn)],
      },
    );
  });

  if (schema !== undefined) {
    it("refuses a body that is not a JSON object", async () => {
      const texts = fc.oneof(
        fc.string({ minLength: 1 }),
        fc.string({ unit: "binary" }),
        fc.constantFrom(
          '{"a":',
          "[]",
          "1",
          '"text"',
          "{}{}",
          "\u0000",
          "[".repeat(100_000),
        ),
      );
      await fc.assert(
        fc.asyncProperty(
          texts.filter((text) => !isObjectOrNothing(text)),
          async (body) => {
            const path = pathOf(described, {
              session_id: STILLBORN,
              name: "none",
            });
            const answer = await tester.ask({ method, path, body });
            expectPromised(described, answer);
            expectRefused(answer);
          },
        ),
        { numRuns: 25 },
      );
    });
  }

  it("has the request's own span, or a new one", async () => {
    const path = pathOf(described, { session_id: NOWHERE, name: "none" });
    const own = await tester.ask({
      method,
      path,
      headers: { "x-span-id": "of-the-request" },
    });
    expect(own.headers["x-span-id"]).toBe("of-the-request");
  });

  it("needs the token, unless it is public", async () => {
    const path = pathOf(described, { session_id: LIVE, name: KERNEL });
    const headers = { authorization: "Bearer of-somebody-else" };
    const answer = await tester.ask({ method, path, headers });
    expectPromised(described, answer);
    const refused = operation.tags?.includes("jupyter") === true ? 403 : 401;
    if (operation.security?.length === 0) {
      expect(answer.status).not.toBe(refused);
    } else expect(answer.status).toBe(refused);
  });
});

describe("a body with a prototype in it", () => {
  it("does not provide required fields", async () => {
    const body = '{"__proto__":{"kernel_name":"echo"}}';
    const answer = await tester.ask({ method: "PUT", path: "/sessions", body });
    expect(expectRefused(answer).reason).toBe("bad_request");
  });
});

describe("a request without a matching route", () => {
  const segments = fc.oneof(
    fc.constantFrom(
      ...["sessions", "live", "start", "trpc", "docs", "api", "kernelspecs"],
      ...[
        "",
        ".",
        "..",
        "%2e%2e",
        "%00",
        "%zz",
        "%ff",
        "a%2Fb",
        "*",
        "__proto__",
      ],
    ),
    fc.webSegment(),
    fc.string({ unit: "binary", maxLength: 5 }).map(encoded),
  );
  const requests = fc.record({
    method: fc.constantFrom(
      "GET",
      "PUT",
      "POST",
      "DELETE",
      "PATCH",
      "HEAD",
      "OPTIONS",
      "TRACE",
    ),
    path: fc
      .tuple(fc.array(segments, { maxLength: 5 }), fc.webQueryParameters())
      .map(([parts, query]) => `/${parts.join("/")}?${query}`),
    body: fc.option(fc.json(), { nil: undefined }),
  });

  it("is refused, or matches an operation", async () => {
    await fc.assert(
      fc.asyncProperty(
        requests.filter(
          ({ path }) => !/live|shutdown|trpc/.test(decodedOnce(path)),
        ),
        async (request) => {
          const answer = await tester.ask(request);
          expect(answer.status, answer.text).toBeLessThan(500);
          expect(answer.headers["x-span-id"]).toBeTruthy();
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe("the server, after all these requests", () => {
  it("still answers, and its kernel still works", async () => {
    const answer = await tester.ask({
      method: "POST",
      path: `/sessions/${LIVE}/execute`,
      body: JSON.stringify({ code: "6 * 7" }),
    });
    const { status, outputs } = JSON.parse(answer.text) as Outcome;
    expect(status).toBe("ok");
    expect(outputs.at(-1)).toMatchObject({ data: { "text/plain": ANSWER } });
  });

  it("ends when requested", async () => {
    const answer = await tester.ask({ method: "POST", path: "/shutdown" });
    const [shutdown] = operations.filter(
      ({ operation }) => operation.operationId === "serverShutdown",
    );
    if (shutdown !== undefined) expectPromised(shutdown, answer);
    expect(answer.text).toBe("null");
    await expect(server.server.shutdownRequested).resolves.toBeTypeOf("string");
  });
});

interface Outcome {
  readonly status: string;
  readonly outputs: readonly unknown[];
}

/** `mutated` bodies are sometimes valid after all: `isAsDescribed` decides. */
function requestsTo(
  described: Described,
  kind: "valid" | "mutated",
): fc.Arbitrary<Request> {
  const { method, path } = described;
  const schema = bodySchemaOf(described);
  const values = schema === undefined ? undefined : valuesOf(schema, tame);
  const bodies =
    values === undefined
      ? fc.constant(undefined)
      : (kind === "valid" ? values : mutationsOf(values)).map((value) =>
          JSON.stringify(value),
        );
  return fc
    .record({
      session_id: fc.oneof(
        fc.constantFrom(...statesFor(described, kind)),
        fc
          .string({ unit: "binary", maxLength: 300 })
          .map((text) => NOWHERE + text),
      ),
      name: fc.oneof(fc.constant(KERNEL), fc.string({ minLength: 1 })),
      query: fc.webQueryParameters(),
      body: bodies,
      type: fc.constantFrom(
        "application/json",
        "application/json; charset=utf-8",
        "text/plain",
      ),
    })
    .map(({ session_id, name, query, body, type }) => ({
      method,
      path: `${pathOf(described, { session_id, name })}${path.includes("events") ? "" : `?${query}`}`,
      headers: { "content-type": type },
      body,
    }));
}

/** The sessions for which an operation may be called: no test here starts a generated program. */
function statesFor(
  { path, method }: Described,
  kind: "valid" | "mutated",
): readonly string[] {
  if (/execute|requests|messages/.test(path)) {
    return kind === "valid" ? [LIVE, STILLBORN] : [STILLBORN];
  }
  if (path.endsWith("adopt")) return [LIVE];
  if (method === "GET" || path.endsWith("interrupt")) return [LIVE, STILLBORN];
  return [STILLBORN];
}

/** Safe values for fields in which random values would do harm: programs, code, and long waits. */
const tame: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  code: fc.constantFrom(
    "",
    "1",
    "1/0",
    "(",
    "print('é漢')",
    "x = 1;",
    "raise SystemExit",
  ),
  msg_type: fc.constantFrom("comm_info_request", "kernel_info_request"),
  channel: fc.constantFrom("shell", "control"),
  timeout_ms: fc.integer({ min: 1, max: 100 }),
  kernel_name: fc.oneof(fc.constant(KERNEL), fc.string()),
  argv: fc.oneof(
    fc.constant(["/bin/false"]),
    fc.array(fc.string(), { maxLength: 2 }),
  ),
};

function bodySchemaOf({
  operation,
}: Described): oas31.SchemaObject | undefined {
  const body = operation.requestBody as oas31.RequestBodyObject | undefined;
  const schema = body?.content["application/json"]?.schema;
  return schema === undefined
    ? undefined
    : resolved(schema as oas31.SchemaObject);
}

/** Whether body and path are as the document describes; `null` is no body. */
function isAsDescribed(
  { operation, pointer, path }: Described,
  request: Request,
): boolean {
  const [given = ""] = request.path.split("?");
  const asks = new RegExp(`^${path.replace(/\{\w+\}/g, "([^/]*)")}$`).exec(
    given,
  );
  const inPath = (asks ?? []).slice(1).map((part) => decodeURIComponent(part));
  const parameters = (operation.parameters ?? []) as oas31.ParameterObject[];
  const isPathRight = parameters
    .filter((parameter) => parameter.in === "path")
    .every((_, at) => {
      const index = parameters.findIndex((one) => one.in === "path") + at;
      return validator(`${pointer}/parameters/${index}/schema`)(inPath[at]);
    });
  const body = operation.requestBody as oas31.RequestBodyObject | undefined;
  if (body === undefined) return isPathRight;
  const value: unknown = JSON.parse(request.body ?? "null");
  if (value === null) return isPathRight && body.required !== true;
  const media = `${pointer}/requestBody/content/${escaped("application/json")}`;
  return isPathRight && validator(`${media}/schema`)(value);
}

async function standStillborn(): Promise<void> {
  await made({
    session_id: STILLBORN,
    argv: ["/bin/false"],
    display_name: "",
    language: "",
    username: "",
    input_prompt: "",
    continuation_prompt: "",
    session_mode: "background",
    working_directory: "",
    env: [],
    interrupt_mode: "signal",
    startup_environment: "none",
  });
}

/** Makes a session that may exist already. */
async function made(session: object): Promise<void> {
  const { status, text } = await tester.ask({
    method: "PUT",
    path: "/sessions",
    body: JSON.stringify(session),
  });
  if (!text.includes("session_exists")) expect(status, text).toBe(200);
}

function pathOf(
  { path }: Described,
  values: Readonly<Record<string, string>>,
): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) =>
    encoded(values[name] ?? NOWHERE),
  );
}

/** Half a surrogate pair has no encoding; another character replaces it. */
function encoded(text: string): string {
  return encodeURIComponent(Buffer.from(text).toString());
}

function decodedOnce(path: string): string {
  return path.replace(/%([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

function isObjectOrNothing(text: string): boolean {
  if (text.trim() === "") return true;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && !Array.isArray(value);
  } catch {
    return false;
  }
}

function reasonOf({ status, text }: Answer): string | undefined {
  if (status < 400) return undefined;
  const body = JSON.parse(text) as {
    readonly reason?: string;
    readonly error?: { readonly reason?: string };
  };
  return body.reason ?? body.error?.reason;
}
