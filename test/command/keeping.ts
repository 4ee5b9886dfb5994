/** Servers that keep sessions, in a room: their state is in the room too. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../harness.ts";
import { ServerProcess } from "../stress/server-process.ts";
import type { Room } from "./kallichore.ts";

export function stateIn(room: Room, name = "default"): string {
  return join(room.folder, "state", name);
}

/** Resolves when it answers. */
export function serveKeeping(
  room: Room,
  ...args: string[]
): Promise<ServerProcess> {
  const root = join(room.folder, "state");
  return ServerProcess.in(room, ["--keep", "--state-dir", root, ...args]);
}

/** Ends the server and its kernels. Resolves when the keeper is gone too. */
export async function endKeeping(
  room: Room,
  server: ServerProcess,
): Promise<void> {
  await server.ask("POST", "/shutdown");
  await server.running.ended();
  await eventually(
    "the keeper gone",
    () =>
      readdirSync(join(room.folder, "tmp")).length === 0 ? true : undefined,
    15_000, // without the server's request it ends after ten seconds
  );
}
