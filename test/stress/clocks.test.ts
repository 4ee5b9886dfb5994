/**
 * The system clock jumps by hours, as after NTP or after the machine slept,
 * while sessions run: no timeout may be affected. A real server and a real
 * kernel, both under libfaketime.
 */
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Room, useCommand } from "../command/kallichore.ts";
import { eventually } from "../harness.ts";
import { StressClient, ways } from "./clients.ts";
import { ServerProcess } from "./server-process.ts";
import { needs } from "../needs.ts";

useCommand();

const library = findLibrary();
const HOUR_S = 3600;

test(
  "a clock that jumps by hours ends nothing, loses nothing and disconnects no client",
  needs(library !== undefined, "libfaketime (Debian: faketime)"),
  async () => {
    await using room = new Room();
    const time = join(room.folder, "time");
    const set = (seconds: number) =>
      writeFileSync(time, `${seconds < 0 ? "" : "+"}${seconds}s\n`);
    set(0);
    const server = await ServerProcess.in(
      room,
      ["--idle-shutdown-hours", "1", "--resource-sample-interval", "200"],
      {
        env: {
          LD_PRELOAD: library ?? "",
          FAKETIME_TIMESTAMP_FILE: time,
          FAKETIME_NO_CACHE: "1",
          FAKETIME_DONT_FAKE_MONOTONIC: "1",
        },
      },
    );
    const witness = await server.witness("s");
    const { session_id } = witness;
    const created = Date.parse(String((await witness.describe())["started"]));
    expect(Math.abs(created - Date.now())).toBeLessThan(HOUR_S * 1000);
    const target = { url: server.url, session_id };
    const clients = ways.map((way) => new StressClient(way, target));
    try {
      const long = await execute(server, "long", 2 * HOUR_S * 1000);
      const short = await execute(server, "short", 10_000);
      const samples = async () =>
        (await witness.read()).filter(({ kind }) => kind === "resource_usage")
          .length;
      for (const jump of [5 * HOUR_S, -7 * HOUR_S, 24 * HOUR_S]) {
        set(jump);
        await eventually("the server's clock set", async () => {
          const { headers } = await server.ask("GET", "/status");
          const now = Date.parse(String(headers["date"])) / 1000;
          const then = Date.now() / 1000 + jump;
          return Math.abs(now - then) < HOUR_S ? true : undefined;
        });
        await witness.flood(200, 1_000);
        const before = await samples();
        await eventually("usage sampled", async () =>
          (await samples()) > before ? true : undefined,
        );
        for (const [index, client] of clients.entries()) {
          await client.note(`${jump} ${index}`, AbortSignal.timeout(20_000));
        }
        const { body } = await server.ask("GET", "/status");
        const { idle_seconds, uptime_seconds } = body as Record<string, number>;
        expect(idle_seconds).toBeLessThan(HOUR_S);
        expect(uptime_seconds).toBeLessThan(HOUR_S);
        expect((await witness.describe())["idle_seconds"]).toBeLessThan(HOUR_S);
      }
      const { body } = await server.ask("GET", long);
      expect(body).toMatchObject({ state: "running" });
      await eventually("the deadline of the other", async () => {
        const { body } = await server.ask("GET", short);
        const { state, reason } = body as Record<string, unknown>;
        return state === "interrupted" && reason === "deadline"
          ? true
          : undefined;
      });
      for (const client of clients) {
        expect(client.complaints, client.name).toEqual([]);
        await eventually(`${client.name} to receive all`, () =>
          client.counted === 600 ? true : undefined,
        );
      }
      const statuses = (await witness.read()).map(({ status }) => status);
      expect(statuses).not.toContain("offline");
    } finally {
      for (const client of clients) await client[Symbol.asyncDispose]();
    }
    expect(server.running.child.exitCode).toBe(null);
  },
);

/** Makes its own kernel sleep for longer than the test takes; resolves with the execution's address. */
async function execute(
  server: ServerProcess,
  session_id: string,
  deadline_ms: number,
): Promise<string> {
  const path = `/sessions/${session_id}`;
  const execution = {
    execution_id: "sleep",
    code: "sleep 600000",
    deadline_ms,
  };
  for (const [method, where, body] of [
    ["PUT", "/sessions", { session_id, kernel_name: "echo" }],
    ["POST", `${path}/start`, undefined],
    ["POST", `${path}/executions`, execution],
  ] as const) {
    const answer = await server.ask(method, where, body);
    if (answer.status >= 300) throw new Error(answer.text);
  }
  return `${path}/executions/sleep`;
}

function findLibrary(): string | undefined {
  const roots = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib",
  ];
  return roots
    .map((root) => join(root, "faketime"))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
    .find((path) => path.endsWith("libfaketime.so.1"));
}
