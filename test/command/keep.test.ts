/** Commands for sessions that outlive the server. */
import { describe, expect, test } from "vitest";
import { eventually } from "../harness.ts";
import { needsPosix } from "../needs.ts";
import { Room, useCommand } from "./kallichore.ts";
import { endKeeping, serveKeeping } from "./keeping.ts";

useCommand();

describe("sessions that outlive the server", needsPosix, () => {
  test("are listed with their keeper, and with the time of their last client", async () => {
    await using room = new Room();
    const server = await serveKeeping(room);
    await room.run(["start", "echo", "--id", "a"]);
    const { body } = await server.ask("GET", "/sessions/a");
    const { keeper_process_id: pid } = body as { keeper_process_id: number };
    const listed = await room.run(["ps"]);
    const [head = "", row = ""] = listed.stdout.split("\n");
    expect(head).toMatch(/KEPT +CLIENT$/);
    expect(row).toMatch(new RegExp(` keeper ${pid} +\\d+ s ago$`));
    await room.run(["stop", "a"]);
    const ended = await room.run(["ps"]);
    expect(ended.stdout).toMatch(/ yes +\d+ s ago\n/);
    await endKeeping(room, server);
  });
});

describe("sessions prune", needsPosix, () => {
  test("deletes sessions whose kernels have ended, and no others", async () => {
    await using room = new Room();
    const server = await serveKeeping(room);
    const ask = (path: string, body?: unknown) =>
      server.ask(body === undefined ? "POST" : "PUT", path, body);
    for (const id of ["old", "stats", "running"]) {
      await room.run(["start", "echo", "--id", id]);
    }
    await ask("/sessions", { session_id: "never", kernel_name: "echo" });
    await ask("/sessions/stats/labels", { labels: { team: "stats" } });
    await room.run(["stop", "old", "stats"]);
    const prune = (...args: string[]) =>
      room.run(["sessions", "prune", ...args]);
    const ids = async () => {
      const { stdout } = await room.run(["ps", "--json"]);
      const { sessions } = JSON.parse(stdout) as {
        sessions: { session_id: string }[];
      };
      return sessions.map(({ session_id }) => session_id);
    };

    const dry = await prune("--dry-run");
    expect([dry.code, dry.stdout.split("\n").length]).toEqual([0, 4]);
    expect(dry.stdout).toMatch(/^old +The echo kernel|^old +echo/m);
    const young = await prune("--older-than", "1h");
    expect(young).toMatchObject({ code: 0, stderr: "Nothing to delete\n" });
    expect(await ids()).toEqual(["old", "stats", "running", "never"]);

    const labelled = await prune("--label", "team=stats", "--json");
    expect(JSON.parse(labelled.stdout)).toEqual({
      sessions: ["stats"],
      attached: [],
      failures: [],
    });
    const attached = room.start(["attach", "old", "--json"]);
    await attached.until("\n");
    expect((await prune()).stderr).toBe(
      "old stays: a client is attached to it\nNothing to delete\n",
    );
    attached.child.stdin?.end();
    attached.child.kill("SIGTERM");
    await attached.ended();
    await eventually("the client has left", async () => {
      const { body } = await server.ask("GET", "/sessions/old");
      return "detached" in (body as object) ? true : undefined;
    });
    expect((await prune("--older-than", "0s")).stderr).toBe("Deleted old\n");
    expect(await ids()).toEqual(["running", "never"]);
    expect((await prune("--older-than", "soon")).code).toBe(64);
    expect((await room.run(["sessions"])).code).toBe(64);
    await endKeeping(room, server);
  });
});
