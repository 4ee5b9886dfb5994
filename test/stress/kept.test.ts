/**
 * A server that keeps sessions is killed again and again, while its kernel
 * floods and clients of all protocols are attached: no message is lost or
 * repeated, and each request reaches the kernel once.
 *
 *     STRESS_ROUNDS=1000 STRESS_SEED=7 npx vitest run test/stress/kept.test.ts
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { Room, useCommand } from "../command/kallichore.ts";
import { eventually } from "../harness.ts";
import { allWays, StressClient } from "./clients.ts";
import { ServerProcess } from "./server-process.ts";
import { randomFrom } from "./proxy.ts";

useCommand();

const ROUNDS = Number(process.env["STRESS_ROUNDS"] ?? 4);
const SEED = Number(process.env["STRESS_SEED"] ?? 20_260_101);
const ROUND_MS = 60_000;
/** The server is killed within this time after the flood begins. */
const LIFE_MS = 1_500;

test(
  "a server that is killed at any moment loses and repeats nothing",
  { timeout: (ROUNDS + 1) * ROUND_MS },
  async () => {
    await using room = new Room();
    const random = randomFrom(SEED);
    const args = ["--keep", "--state-dir", join(room.folder, "state")];
    let server = await ServerProcess.in(room, args);
    const { port } = new URL(server.url);
    const target = { url: server.url, session_id: "kept" };
    const witness = await server.witness("kept");
    const record = join(room.folder, "kept.record");
    const clients = allWays.map((way) => new StressClient(way, target));
    const notes: string[] = [];
    try {
      await Promise.all(clients.map(({ opened }) => opened));
      for (let round = 1; round <= ROUNDS; round += 1) {
        const signal = AbortSignal.timeout(ROUND_MS);
        await witness.begin(2_000, 5_000);
        const noted = Promise.all(
          clients.map((client) => {
            const note = `${client.name} ${round}`;
            notes.push(note);
            return client.note(note, signal);
          }),
        );
        for (let kills = random() < 0.3 ? 2 : 1; kills > 0; kills -= 1) {
          await delay(random() * LIFE_MS);
          const { running } = server;
          server.signal("SIGKILL");
          await running.ended();
          server = await ServerProcess.in(room, [...args, "--port", port]);
        }
        await noted;
        await eventually(
          `${witness.printed} messages printed`,
          () =>
            readFileSync(record, "utf8").includes(
              `printed ${witness.printed}\n`,
            )
              ? true
              : undefined,
          ROUND_MS,
        );
        await eventually(
          "all clients up to date",
          () =>
            clients.every(({ counted }) => counted === witness.printed)
              ? true
              : undefined,
          ROUND_MS,
        );
        for (const { name, complaints } of clients) {
          expect([name, complaints]).toEqual([name, []]);
        }
      }
      const got = readFileSync(record, "utf8")
        .split("\n")
        .filter((line) => /^got (?!flood)/.test(line))
        .map((line) => line.slice(4));
      expect(got.toSorted()).toEqual(notes.toSorted());
    } finally {
      for (const client of clients) await client[Symbol.asyncDispose]();
      await eventually("the files of killed servers removed", () =>
        readdirSync(join(room.folder, "tmp")).length <= 2 ? true : undefined,
      ); // the server and the keeper have one each
      await server.ask("POST", "/shutdown");
      await server.running.ended();
      await eventually(
        "the keeper gone",
        () =>
          readdirSync(join(room.folder, "tmp")).length === 0 ? true : undefined,
        15_000, // without the server's request it ends after ten seconds
      );
    }
  },
);
