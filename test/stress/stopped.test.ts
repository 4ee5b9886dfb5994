/**
 * The server, or its clients, are stopped (SIGSTOP, as when a machine sleeps)
 * and continued: no message is lost or repeated.
 *
 *     STOP_S=60 npx vitest run test/stress/stopped.test.ts
 */
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { WebSocket } from "ws";
import { Room, useCommand } from "../command/kallichore.ts";
import { eventually, TOKEN } from "../harness.ts";
import { StressClient, ways } from "./clients.ts";
import { ServerProcess } from "./server-process.ts";

useCommand();

const STOP_MS = Number(process.env["STOP_S"] ?? 3) * 1000;

test(
  "a server that is stopped for a while continues, and the owner of the channel stays connected",
  { timeout: STOP_MS + 60_000 },
  async () => {
    await using room = new Room();
    const server = await ServerProcess.in(room);
    const witness = await server.witness("s");
    const { session_id } = witness;
    const owner = new WebSocket(
      `${server.url.replace("http", "ws")}/sessions/${session_id}/channels`,
      { headers: { authorization: `Bearer ${TOKEN}` } },
    );
    const closes: number[] = [];
    owner.on("close", (code) => closes.push(code));
    owner.on("error", () => {});
    const companions = ways
      .filter(({ name }) => name !== "the Kallichore channel")
      .map((way) => new StressClient(way, { url: server.url, session_id }));
    try {
      await eventually("the owner", () =>
        owner.readyState === WebSocket.OPEN ? true : undefined,
      );
      await witness.begin(2_000, 5_000);
      server.signal("SIGSTOP");
      await delay(STOP_MS);
      server.signal("SIGCONT");
      await witness.done();
      await witness.flood(100, 100);
      for (const client of companions) {
        await eventually(`${client.name} to receive all`, () =>
          client.counted === witness.printed ? true : undefined,
        );
        expect(client.complaints, client.name).toEqual([]);
      }
      expect(closes).toEqual([]);
      expect(owner.readyState).toBe(WebSocket.OPEN);
    } finally {
      server.signal("SIGCONT"); // if the test failed before
      owner.terminate();
      for (const client of companions) await client[Symbol.asyncDispose]();
    }
  },
);
