/** How long kernels run without a server, and what is read when one comes again: with real files, keepers and kernels. */
import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { isAlive } from "../../src/host/process-table.ts";
import { keeperFileIn, readKeeperFile } from "../../src/keeper/keeper-file.ts";
import { eventually } from "../harness.ts";
import { needsPosix } from "../needs.ts";
import { KeptPlace } from "./kept-place.ts";

const SECOND = 1 / 86_400; // of a day

function isGone(pid: number): Promise<true> {
  return eventually("its end", () => (isAlive(pid) ? undefined : true), 15_000);
}

describe("without a server", needsPosix, () => {
  test("for too long, kernels are shut down, and the next server says why and has what they printed", async () => {
    const place = new KeptPlace();
    const first = await place.serve({ idleDays: 2 * SECOND });
    await first.start("a");
    const { process_id, keeper_process_id } = await first.describe("a");
    expect(keeper_process_id).toBe(place.keeperPid);
    await first.send("a", "sleep 1000");
    await first.letGo();
    await isGone(Number(process_id));
    expect(isAlive(Number(keeper_process_id))).toBe(true); // it has the last words
    const next = await place.serve();
    const session = next.server.supervisor.session("a");
    await eventually("the end", () => session.endedAt);
    expect(session.statusReason).toBe(
      "its keeper has shut it down: no server has attached for 2 s",
    );
    const read = (await next.journal("a")).join("\n");
    expect(read).toContain("slept 1000");
    expect(read.indexOf("slept 1000")).toBeLessThan(
      read.indexOf("its keeper has shut it down"),
    );
  });

  test("for so long that the keeper has ended too, the next server still says why", async () => {
    const place = new KeptPlace();
    const first = await place.serve({ idleDays: 0.4 * SECOND });
    await first.start("a");
    await first.letGo();
    await isGone(place.keeperPid ?? 0);
    const next = await place.serve();
    await next.server.supervisor.session("a").restored;
    expect(next.server.supervisor.session("a").statusReason).toBe(
      "its keeper has ended: no server has attached for 0.4 s",
    );
  });

  test("a kernel that runs code goes on, by default for ever", async () => {
    const place = new KeptPlace();
    const first = await place.serve({ idleDays: 0.4 * SECOND });
    await first.start("idle");
    await first.start("busy");
    const idle = await first.describe("idle");
    const { process_id } = await first.describe("busy");
    await first.send("busy", "sleep 100000000");
    await first.letGo();
    await new Promise((resolve) => setTimeout(resolve, 1_500)); // several times the limit
    expect(isAlive(Number(process_id))).toBe(true);
    expect(isAlive(Number(idle["process_id"]))).toBe(true); // all stay, or none
    const days = 0.4 * SECOND;
    const next = await place.serve({ idleDays: days, busyDays: days });
    await next.server.supervisor.session("busy").restored;
    await next.letGo();
    await isGone(Number(process_id));
  });

  test("after the machine was started anew, sessions say so", async () => {
    const place = new KeptPlace();
    const first = await place.serve();
    await first.start("a");
    await first.letGo();
    const pid = place.keeperPid ?? 0;
    const path = keeperFileIn(place.state);
    process.kill(pid, "SIGKILL");
    await isGone(pid);
    const file = JSON.parse(readFileSync(path, "utf8")) as object;
    writeFileSync(path, JSON.stringify({ ...file, boot_id: "another" }));
    expect(readKeeperFile(path)).toBeDefined();
    const next = await place.serve();
    await next.server.supervisor.session("a").restored;
    expect(next.server.supervisor.session("a").statusReason).toBe(
      "its keeper has ended with the machine, which was started anew",
    );
  });

  test("a keeper that does not answer in time keeps its kernels, and the session goes on when it does", async () => {
    const place = new KeptPlace();
    const first = await place.serve();
    await first.start("a");
    const { process_id } = await first.describe("a");
    await first.letGo();
    const pid = place.keeperPid ?? 0;
    process.kill(pid, "SIGSTOP");
    try {
      const second = await place.serve();
      const session = second.server.supervisor.session("a");
      await new Promise((resolve) => setTimeout(resolve, 17_000)); // longer than an attempt takes
      expect([session.status, session.isRestored]).toEqual(["offline", false]);
      await second.letGo();
      await session.restored;
      expect(session.endedAt).toBeUndefined();
      const third = await place.serve();
      const again = third.server.supervisor.session("a");
      process.kill(pid, "SIGCONT");
      await again.restored;
      expect([again.status, again.pid]).toEqual(["idle", process_id]);
      await third.execute("a", "here");
    } finally {
      process.kill(pid, "SIGCONT");
    }
  }, 60_000);
});
