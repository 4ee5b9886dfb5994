/** Commands for sessions that outlive the server. */
import { describe, expect, test } from "vitest";
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
