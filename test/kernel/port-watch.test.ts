/** A kernel that prints that an address is taken. The tests set the time of each check. */
import { afterEach, expect, it, vi } from "vitest";
import { watchPorts } from "../../src/kernel/port-watch.ts";

const ADDRESS = {
  transport: "tcp",
  ip: "127.0.0.1",
  shell_port: 50_001,
  iopub_port: 50_002,
  stdin_port: 50_003,
  control_port: 50_004,
  hb_port: 50_005,
} as const;
const MINUTE_MS = 60_000;
const CHECKS = 4;

afterEach(() => void vi.restoreAllMocks());

/** Whether a port counts as lost. The launch ends at the fourth check; `between_ms` is the time between two checks. */
async function isLost(output: string, between_ms: number): Promise<boolean> {
  const launch = new AbortController();
  let checks = 0;
  vi.spyOn(performance, "now").mockImplementation(() => {
    checks += 1;
    if (checks > CHECKS) launch.abort();
    return checks * between_ms;
  });
  const driver = { name: "none", connect: () => expect.unreachable() };
  return watchPorts(driver, ADDRESS).portLost(() => output, launch.signal);
}

it.each([
  "OSError: [Errno 98] Address already in use",
  "Address already in use (addr='tcp://127.0.0.1:50003')",
  "bind: EADDRINUSE 127.0.0.1:50005",
])(
  "has lost a port if it has not answered after the report: %s",
  async (line) => {
    expect(await isLost(`starting\n${line}\n`, MINUTE_MS)).toBe(true);
  },
);

it("may still answer right after the report", async () => {
  expect(await isLost("Address already in use\n", 0)).toBe(false);
});

it.each([
  "OSError: [Errno 98] Address already in use: ('127.0.0.1', 8050)",
  "listening on 127.0.0.1:50001",
])("has lost no port, however long its start takes: %s", async (line) => {
  expect(await isLost(`starting\n${line}\n`, MINUTE_MS)).toBe(false);
});
