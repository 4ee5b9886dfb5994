/**
 * A server that keeps sessions is killed again and again, while its kernel
 * floods and clients of all protocols are attached: no message is lost or
 * repeated, and each request reaches the kernel once.
 *
 *     STRESS_ROUNDS=1000 STRESS_SEED=7 npx vitest run test/stress/kept.test.ts
 */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { test } from "vitest";
import { Room, useCommand } from "../command/kallichore.ts";
import { allWays, StressClient } from "./clients.ts";
import { ServerProcess } from "./server-process.ts";
import { caughtUp, endAll, expectGot, ROUND_MS } from "./kept-session.ts";
import { randomFrom } from "./proxy.ts";

useCommand();

const ROUNDS = Number(process.env["STRESS_ROUNDS"] ?? 4);
const SEED = Number(process.env["STRESS_SEED"] ?? 20_260_101);
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
        await caughtUp(record, witness, clients);
      }
      expectGot(record, notes);
    } finally {
      await endAll(room, server, clients);
    }
  },
);
