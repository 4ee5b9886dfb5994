/** A killed server cannot remove its files: the next server does. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Room, useCommand } from "../command/kallichore.ts";
import { eventually } from "../harness.ts";
import { ServerProcess } from "./server-process.ts";

useCommand();

test("the next server removes the files of a killed server, and no files of a running one", async () => {
  await using room = new Room();
  const [living, dying] = await Promise.all(
    ["living", "dying"].map(async (name) => {
      const server = await ServerProcess.in(room, ["--journal-limit", "32M"]);
      const witness = await server.witness(name);
      // In parts, because entries that arrive faster than the disk can write them are lost.
      for (let printed = 0; printed < 8000; printed += 1000) {
        await witness.flood(1000, 10_000);
      }
      return { server, witness, directory: directoryOf(room, server) };
    }),
  );
  if (living === undefined || dying === undefined) throw new Error("no two");
  for (const { directory } of [living, dying]) {
    expect(kindsIn(directory)).toEqual(["journal", "kernel", "owner"]);
  }

  dying.server.signal("SIGKILL");
  await dying.server.running.ended();
  expect(existsSync(dying.directory)).toBe(true);

  const next = await ServerProcess.in(room);
  await eventually("the removal of the dead server's files", () =>
    existsSync(dying.directory) ? undefined : true,
  );
  await eventually("the log line", () =>
    next.running.stderr.includes(dying.directory) ? true : undefined,
  );
  expect(kindsIn(living.directory)).toEqual(["journal", "kernel", "owner"]);
  const received = await living.witness.read();
  expect(received.filter(({ kind }) => kind === "gap")).toEqual([]);
  expect(received.flatMap(({ n }) => n ?? [])).toEqual(
    Array.from({ length: 8000 }, (_, index) => index + 1),
  );
  await eventually("the end of the dead server's kernel", () =>
    room.processes.some((command) => command.includes(dying.directory))
      ? undefined
      : true,
  );
});

function directoryOf(room: Room, { pid }: ServerProcess): string {
  const tmp = join(room.folder, "tmp");
  const [name] = readdirSync(tmp).filter((one) =>
    one.startsWith(`kallichore-${pid}-`),
  );
  if (name === undefined) throw new Error(`Nothing of ${pid} in ${tmp}`);
  return join(tmp, name);
}

function kindsIn(directory: string): string[] {
  const kinds = readdirSync(directory).map((name) => /^[a-z]+/.exec(name)?.[0]);
  return [...new Set(kinds)].map(String).sort();
}
