/** Code and metadata that are too large to be shown: they reach the kernel completely, and answers say what they leave out. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTRPCClient, httpBatchLink } from "@trpc/client";
import type { AppRouter } from "../../contract/index.ts";
import { limits } from "../../contract/limits.ts";
import { connect } from "../../client/index.ts";
import { doors, trpcClient } from "../doors.ts";
import { openServer, type TestServer, TOKEN } from "../harness.ts";

const session_id = "digest";
let server: TestServer;

beforeAll(async () => {
  server = await openServer();
  await server.start("digest", session_id);
});
afterAll(() => server[Symbol.asyncDispose]());

type Fields = Readonly<Record<string, unknown>>;

const executions = `/sessions/${session_id}/executions`;

async function answered(method: string, path: string, body?: unknown) {
  return (await server.ask(method, path, body)).body as Fields;
}

/** In the kernel's form. */
function digestOf(code: string): string {
  return `${code.length} ${createHash("sha256").update(code).digest("hex")}`;
}

/** Characters of one to four bytes, and all kinds of escapes. */
const line = 'print("aä€😀\t\\u0000") # \u0000\n';

function codeOf(bytes: number, last = "last"): string {
  return `first ${line.repeat(bytes / Buffer.byteLength(line))} ${last}`;
}

describe("five megabytes of code arrive complete at the kernel, and signed", () => {
  const MANY = 5_000_000;

  async function outcome(execution_id: string): Promise<unknown> {
    const path = `${executions}/${execution_id}`;
    const described = await answered("POST", `${path}/wait`, {});
    const { outputs } = await answered("GET", `${path}/outputs`);
    const [result] = outputs as { data: Fields }[];
    return [described["state"], result?.data["text/plain"]];
  }

  test("over REST", async () => {
    const code = codeOf(MANY, "over REST");
    const { execution_id } = await answered("POST", executions, {
      code,
      user_expressions: { a: "1e20" },
      metadata: { a: 1 },
    });
    expect(await outcome(String(execution_id))).toEqual([
      "done",
      digestOf(code),
    ]);
  });

  test("over REST, by `execute`", async () => {
    const code = codeOf(MANY, "by execute");
    const path = `/sessions/${session_id}/execute`;
    const { outputs } = await answered("POST", path, { code });
    expect(outputs).toMatchObject([{ data: { "text/plain": digestOf(code) } }]);
  });

  test("over tRPC by WebSocket", async () => {
    const code = codeOf(MANY, "over a WebSocket");
    const { client, close } = trpcClient(server);
    const { execution_id } = await client.executions.create.mutate({
      session_id,
      code,
    });
    await close();
    expect(await outcome(execution_id)).toEqual(["done", digestOf(code)]);
  });

  test("over tRPC by HTTP", async () => {
    const code = codeOf(MANY, "over HTTP");
    const client = createTRPCClient<AppRouter>({
      links: [
        httpBatchLink({
          url: `${server.url}/trpc`,
          headers: { authorization: `Bearer ${TOKEN}` },
        }),
      ],
    });
    const { execution_id } = await client.executions.create.mutate({
      session_id,
      code,
    });
    expect(await outcome(execution_id)).toEqual(["done", digestOf(code)]);
  });

  test.each(doors)("as a message over $name", async (door) => {
    const code = codeOf(MANY, door.name);
    await using client = await door.attach(server, session_id);
    const execution_id = await client.execute(code);
    await client.over(execution_id);
    expect(await outcome(execution_id)).toEqual(["done", digestOf(code)]);
  });
});

describe("answers say what they leave out", () => {
  async function shown(input: Fields) {
    const { execution_id } = await answered("POST", executions, input);
    return shownOf(String(execution_id));
  }

  async function shownOf(
    execution_id: string,
  ): Promise<{ got: Fields; listed: Fields }> {
    const path = `${executions}/${encodeURIComponent(execution_id)}`;
    await answered("POST", `${path}/wait`, {});
    const got = await answered("GET", path);
    const list = await answered("GET", executions);
    const all = list["executions"] as Fields[];
    const listed = all.find((each) => each["execution_id"] === execution_id);
    return { got, listed: listed ?? {} };
  }

  test("up to 8192 characters are complete, also in lists", async () => {
    for (const length of [0, 8192]) {
      const whole = {
        code: "x".repeat(length),
        code_length: length,
        code_is_clipped: false,
      };
      const { got, listed } = await shown({ code: whole.code });
      expect([got, listed]).toMatchObject([whole, whole]);
    }
  });

  test("long code is clipped only in lists", async () => {
    const code = `first ${"x".repeat(8192)} last`;
    const code_length = code.length;
    const { got, listed } = await shown({ code });
    expect(got).toMatchObject({ code, code_length, code_is_clipped: false });
    expect(listed).toMatchObject({ code_length, code_is_clipped: true });
    expect(listed["code"]).toBe(
      `${code.slice(0, 4096)}\n…\n${code.slice(-4096)}`,
    );
  });

  test("code of more than 1 MiB is clipped everywhere, with its correct length", async () => {
    const code = codeOf(limits.shown_code_bytes + 10_000);
    const clipped = {
      code: `${code.slice(0, 4096)}\n…\n${code.slice(-4096)}`,
      code_length: code.length,
      code_is_clipped: true,
    };
    const { got, listed } = await shown({ code });
    expect([got, listed]).toMatchObject([clipped, clipped]);
    const { client, close } = trpcClient(server);
    const execution_id = String(got["execution_id"]);
    const requested = { session_id, execution_id };
    expect(await client.executions.get.query(requested)).toMatchObject(clipped);
    await close();
    await using ours = await connect({ url: server.url, token: TOKEN });
    const info = await ours.session(session_id).executions.get(execution_id);
    expect(info).toMatchObject(clipped);
  });

  test.each([
    [10_000, [false, false]],
    [20_000, [false, true]],
    [1_100_000, [true, true]],
  ])("metadata of %i bytes", async (bytes, areLeftOut) => {
    const metadata = { note: "x".repeat(bytes) };
    const msg_id = `metadata of ${bytes}`;
    await answered("POST", `/sessions/${session_id}/messages`, {
      channel: "shell",
      header: { msg_id, msg_type: "execute_request" },
      content: { code: "1" },
      metadata,
    });
    const { got, listed } = await shownOf(msg_id);
    const found = [got, listed].map((each) => [
      each["metadata"],
      each["metadata_is_left_out"],
    ]);
    expect(found).toEqual(
      areLeftOut.map((isLeftOut) => [isLeftOut ? {} : metadata, isLeftOut]),
    );
  });

  test.each([
    ["short", "1 + 1", false],
    ["large", codeOf(limits.shown_code_bytes + 10_000), true],
  ])(
    "the event for an agent's %s code says whether the code is complete",
    async (_, code, code_is_clipped) => {
      const reported = {
        code: code_is_clipped
          ? `${code.slice(0, 4096)}\n…\n${code.slice(-4096)}`
          : code,
        code_length: code.length,
        code_is_clipped,
      };
      const metadata = { attribution: { source: "agent", agent_name: "A" } };
      for (const door of doors) {
        await using client = await door.attach(server, session_id);
        const { execution_id } = await answered("POST", executions, {
          code,
          metadata,
        });
        const { executionRequested, ...event } = await client.until(
          "the announcement",
          (received) => {
            const { executionRequested: announced = received } = received;
            return (announced as Fields)["msg_id"] === execution_id;
          },
        );
        if (executionRequested === undefined) {
          expect(event).toMatchObject(reported);
        } else {
          // Kallichore's type has no flag; the flag is present only if it is true.
          const { code_length, code_is_clipped: flag, ...known } = reported;
          const more = flag ? { code_length, code_is_clipped: flag } : {};
          const { msg_id, requested_at, attribution, ...announced } =
            executionRequested as Fields;
          expect([msg_id, typeof requested_at]).toEqual([
            execution_id,
            "string",
          ]);
          expect(attribution).toMatchObject(metadata.attribution);
          expect(announced).toEqual({ ...known, ...more });
        }
      }
    },
  );
});
