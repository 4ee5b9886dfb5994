import { afterEach, expect, test, vi } from "vitest";
import {
  type EndRequests,
  listenForEndRequests,
} from "../../../src/command/kcserver/end-requests.ts";
import { within } from "../../../src/time/within.ts";
import { silentLog } from "../../../src/log/log.ts";

afterEach(() => {
  vi.useRealTimers();
});

/** Whether an urgent request has arrived by now, without waiting. */
async function isUrgent({ urgent }: EndRequests): Promise<boolean> {
  const ending = within(urgent, 1);
  await vi.advanceTimersByTimeAsync(1);
  return (await ending) !== undefined;
}

test.each([
  ["win32", true],
  ["linux", false],
] as const)(
  "on %s, a hangup becomes urgent after three seconds: %s",
  async (platform, expected) => {
    vi.useFakeTimers();
    using endings = listenForEndRequests(silentLog(), {
      ignoresHangup: false,
      platform,
    });
    process.emit("SIGHUP");
    expect(await endings.first).toEqual({ reason: "SIGHUP", code: 0 });
    expect(await isUrgent(endings)).toBe(false);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(await isUrgent(endings)).toBe(expected);
  },
);

test("on Windows, Ctrl-Break ends the server as Ctrl-C does", async () => {
  using endings = listenForEndRequests(silentLog(), {
    ignoresHangup: false,
    platform: "win32",
  });
  process.emit("SIGBREAK");
  expect(await endings.first).toEqual({ reason: "SIGBREAK", code: 0 });
});
