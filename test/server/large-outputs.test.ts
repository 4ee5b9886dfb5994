/** Code with more output than an answer can have: the first outputs, the result, and what is missing. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { mockKernel } from "../../testing/mock-kernel.ts";
import { display, error, result, stream } from "../../testing/steps.ts";
import { openServerOf, type TestServer, TOKEN } from "../harness.ts";

const MIB = 1024 * 1024;
const text = "a".repeat(10 * MIB);

/** Characters of two, three and four bytes in UTF-8, and characters that JSON escapes. */
const WIDE = 'h\u00e9 \u4e16\n"\\\u2028 \u{1f600}'.repeat(MIB / 8);
const PICTURE = { "image/png": text, "application/json": { list: [1, WIDE] } };
const SOME = [stream("begun"), display(PICTURE), stream(WIDE)];

let server: TestServer;
beforeAll(async () => {
  const wordy = mockKernel({
    on: [
      [
        "flood",
        [...Array.from({ length: 7 }, () => stream(text)), result("42")],
      ],
      ["little", [stream("a"), result("1")]],
      ["some", [...SOME, result({ "text/html": WIDE }), error("Oops")]],
    ],
  });
  // Scripts in memory have no back-pressure, so the journal's memory must hold all of it.
  server = await openServerOf(
    { wordy },
    {
      limits: {
        journal_memory_bytes: 256 * MIB,
        server_memory_bytes: 512 * MIB,
      },
    },
  );
  await server.start("wordy");
});
afterAll(() => server[Symbol.asyncDispose]());

interface Shown {
  readonly outputs: { readonly text?: string }[];
}

async function run(code: string) {
  const { status, body } = await server.ask("POST", "/sessions/wordy/execute", {
    code,
  });
  return { status, body: body as Shown };
}

/** Of 70 MiB, 64 MiB of messages are kept; a message is a little more than its text. */
const clipped = {
  outputs: 1,
  bytes: expect.closeTo(6 * MIB, -4) as number,
  limit_bytes: 64 * MIB,
};

test("beyond the limit, an answer has the first outputs, the result, and what is missing", async () => {
  const { status, body } = await run("flood");
  expect(status).toBe(200);
  const [shown, ...rest] = body.outputs;
  expect(shown?.text?.length).toBeGreaterThan(63.9 * MIB);
  expect(shown?.text?.length).toBeLessThanOrEqual(64 * MIB);
  expect(rest).toMatchObject([{ data: { "text/plain": "42" } }]);
  expect({ ...body, outputs: [], output: [] }).toMatchObject({
    status: "ok",
    data: { "text/plain": "42" },
    gaps: [],
    is_clipped: true,
    clipped,
  });
}, 60_000);

test("outputs within the limit are not marked as clipped", async () => {
  const { body } = await run("little");
  expect(body).toMatchObject({ gaps: [], is_clipped: false, clipped: null });
});

const headers = {
  authorization: `Bearer ${TOKEN}`,
  "content-type": "application/json",
};
const input = '{"session_id":"wordy","code":"some"}';

/** The text of a large answer, over every protocol. */
const doors: Readonly<Record<string, () => Promise<unknown>>> = {
  REST: () => post("/sessions/wordy/execute"),
  "tRPC over HTTP": async () =>
    dataIn(await post("/trpc/sessions.execute", input)),
  "a batch of tRPC": async () => {
    const path = "/trpc/sessions.execute,sessions.execute?batch=1";
    const little = input.replace("some", "little");
    const answers = await post(path, `{"0":${little},"1":${input}}`);
    return dataIn((answers as readonly unknown[])[1]);
  },
  "tRPC over a WebSocket": async () => {
    const url = `${server.url.replace("http", "ws")}/trpc`;
    const socket = new WebSocket(url, { headers });
    await once(socket, "open");
    const params = `{"path":"sessions.execute","input":${input}}`;
    socket.send(`{"id":1,"method":"mutation","params":${params}}`);
    const [answer] = (await once(socket, "message")) as [Buffer];
    socket.close();
    return dataIn(JSON.parse(answer.toString()));
  },
};

async function post(path: string, body = input): Promise<unknown> {
  const answer = await fetch(server.url + path, {
    method: "POST",
    headers,
    body,
  });
  return answer.json();
}

function dataIn(answer: unknown): unknown {
  return (answer as { result: { data: unknown } }).result.data;
}

describe.each(Object.entries(doors))("by %s", (_, ask) => {
  test("a large answer has all outputs, and in Kallichore's form the short ones", async () => {
    const answer = (await ask()) as Record<string, unknown>;
    expect(answer["outputs"]).toEqual([
      { output_type: "stream", name: "stdout", text: "begun" },
      { output_type: "display_data", data: PICTURE, metadata: {} },
      { output_type: "stream", name: "stdout", text: WIDE },
      expect.objectContaining({
        output_type: "execute_result",
        data: expect.objectContaining({ "text/html": WIDE }) as unknown,
      }),
      expect.objectContaining({ output_type: "error", ename: "Oops" }),
    ]);
    expect(answer).toMatchObject({
      is_clipped: false,
      output_is_clipped: true,
    });
    const [begun, beginning, failed, ...rest] = answer["output"] as Spelled[];
    expect(begun).toMatchObject({ type: "stream", text: "begun" });
    expect(beginning?.type).toBe("stream");
    expect(WIDE.startsWith(beginning?.text ?? "-")).toBe(true);
    expect(beginning?.text).not.toMatch(/[\ud800-\udbff]$/);
    expect(failed).toMatchObject({ type: "error", error_name: "Oops" });
    expect(rest).toEqual([]);
    const repeated = JSON.stringify([answer["output"], answer["data"]]).length;
    expect(repeated).toBeLessThan(3 * MIB); // each escape counts as one
  });
});

interface Spelled {
  readonly type: string;
  readonly text?: string;
}

test("a later answer has no Kallichore form, and has its length", async () => {
  const { msg_id } = (await post("/sessions/wordy/execute")) as {
    msg_id: string;
  };
  const url = `${server.url}/sessions/wordy/executions/${msg_id}/outputs`;
  const answer = await fetch(url, { headers });
  const body = await answer.text();
  expect(answer.headers.get("content-length")).toBe(
    String(Buffer.byteLength(body)),
  );
  const { outputs } = JSON.parse(body) as { outputs: unknown[] };
  expect(outputs).toHaveLength(5);
  expect(outputs[1]).toMatchObject({ data: PICTURE });
});
