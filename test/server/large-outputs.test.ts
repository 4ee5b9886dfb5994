/** Code that puts out more than an answer holds: what fits, the result, and what is missing. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { mockKernel } from "../../testing/mock-kernel.ts";
import { result, stream } from "../../testing/steps.ts";
import { openServerOf, type TestServer } from "../harness.ts";

const MIB = 1024 * 1024;
const text = "a".repeat(10 * MIB);

let server: TestServer;
beforeAll(async () => {
  const wordy = mockKernel({
    on: [
      [
        "flood",
        [...Array.from({ length: 7 }, () => stream(text)), result("42")],
      ],
      ["little", [stream("a"), result("1")]],
    ],
  });
  // Scripts in memory heed no back-pressure, so the journal's memory holds all of it.
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

test("more than the limit and a result: what fits, the result, and what is missing", async () => {
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

test("what fits is not said to be clipped", async () => {
  const { body } = await run("little");
  expect(body).toMatchObject({ gaps: [], is_clipped: false, clipped: null });
});
