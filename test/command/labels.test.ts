/** Labels and policies of sessions by the command, with real kernels. */
import { describe, expect, test } from "vitest";
import type { ActiveSession } from "../../contract/index.ts";
import { Room, useCommand } from "./kallichore.ts";

useCommand();

async function listed(room: Room, ...args: string[]) {
  const { stdout } = await room.run(["ps", "--json", ...args]);
  return (JSON.parse(stdout) as { sessions: ActiveSession[] }).sessions;
}

test("sessions get labels at their start, and are found by them", async () => {
  await using room = new Room();
  await room.serve();
  const start = (id: string, ...args: string[]) =>
    room.run(["start", "echo", "--id", id, ...args]);
  await start("a", "--label", "team=stats", "--label", "note=a = b");
  await start("b", "--label", "team=web");
  await start("c");
  expect((await listed(room)).map(({ labels }) => labels)).toEqual([
    { team: "stats", note: "a = b" },
    { team: "web" },
    {},
  ]);
  const found = await listed(room, "--label", "team=stats");
  expect(found.map(({ session_id }) => session_id)).toEqual(["a"]);
  const both = await listed(room, "--label", "team=web", "--label", "note=x");
  expect(both).toEqual([]);
  const { stdout } = await room.run(["ps"]);
  expect(stdout).toMatch(/STARTED +LABELS/);
  expect(stdout).toMatch(/team=stats note=a = b/);
  const none = await room.run(["ps", "--label", "team=nobody"]);
  expect([none.code, none.stdout]).toEqual([0, ""]);
  expect(none.stderr).toContain("No sessions with this label");
});

test("exec gives its session the label of --label", async () => {
  await using room = new Room();
  await room.serve();
  const running = room.start([
    "exec",
    "-k",
    "slow",
    "--json",
    "--label",
    "job=nightly",
    "1",
  ]);
  await running.until('"type":"session"');
  const [session] = await listed(room, "--label", "job=nightly");
  expect(session?.labels).toEqual({ job: "nightly" });
  expect(session?.session_id).toMatch(/^exec-/);
  running.child.kill("SIGKILL");
  await running.ended();
});

test.each([["nothing"], ["=x"], ["a b=x"], ["a=\n"]])(
  "the label %j is refused as a usage error",
  async (label) => {
    await using room = new Room();
    const { code, stderr } = await room.run(["ps", "--label", label]);
    expect(code).toBe(64);
    expect(stderr).toContain("team=stats");
  },
);

describe("kallichore serve", () => {
  test("sets the default policy of sessions", async () => {
    await using room = new Room();
    await room.serve(
      "--cull-idle-timeout",
      "3600",
      "--cull-connected",
      "--autorestart",
      "5/60",
    );
    await room.run(["start", "echo", "--id", "a"]);
    expect((await listed(room))[0]?.policy).toEqual({
      cull_idle_timeout: 3600,
      cull_connected: true,
      cull_busy: false,
      autorestart: { limit: 5, window_s: 60 },
    });
  });

  test("sets no policy without options", async () => {
    await using room = new Room();
    await room.serve();
    await room.run(["start", "echo", "--id", "a"]);
    expect((await listed(room))[0]?.policy).toEqual({
      cull_idle_timeout: 0,
      cull_connected: false,
      cull_busy: false,
      autorestart: null,
    });
  });

  test.each([["5"], ["0/60"], ["5/0"], ["x/y"], ["5/60/1"]])(
    "refuses --autorestart %s",
    async (budget) => {
      await using room = new Room();
      const { code, stderr } = await room.run([
        "serve",
        "--autorestart",
        budget,
      ]);
      expect(code).toBe(64);
      expect(stderr).toContain("such as 5/60");
    },
  );
});
