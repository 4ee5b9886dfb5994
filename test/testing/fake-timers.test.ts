/** The mocks with a test framework's fake timers, as docs/testing.md describes it. */
import { afterEach, expect, test, vi } from "vitest";
import { mockKernel, stream, testServer, wait } from "../../testing/index.ts";

afterEach(() => void vi.useRealTimers());

const mock = mockKernel({
  on: { hi: stream("hi\n"), slow: [wait(60_000), stream("done")] },
});

async function expectToRun(listen: boolean): Promise<void> {
  const kernels = { mock };
  await using server = listen
    ? await testServer({ kernels, listen })
    : await testServer({ kernels });
  const session = await server.start();
  expect((await session.execute("hi")).outputs).toHaveLength(1);
}

test.each([
  ["in memory", false],
  ["on a port", true],
])("a server %s runs code while the date alone is fake", async (_, listen) => {
  const now = new Date("2030-01-01T00:00:00Z");
  vi.useFakeTimers({ toFake: ["Date"], now });
  await expectToRun(listen);
  expect(Date.now()).toBe(now.getTime());
});

test("a server in memory runs code while every timer is fake and time advances", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  await expectToRun(false);
});

test("a wait of a mock ends when fake time is advanced", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  await using server = await testServer({ kernels: { mock } });
  const session = await server.start();
  const slow = session.execute("slow");
  await vi.advanceTimersByTimeAsync(60_000);
  expect((await slow).outputs).toHaveLength(1);
});
