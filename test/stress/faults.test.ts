/**
 * No message is lost or repeated, with any fault between the server and its
 * clients.
 *
 *     STRESS_ROUNDS=1000 STRESS_SEED=7 npx vitest run test/stress/faults.test.ts
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openServer, temporaryFolder, type TestServer } from "../harness.ts";
import { StressClient, ways } from "./clients.ts";
import { FaultyProxy } from "./proxy.ts";

const ROUNDS = Number(process.env["STRESS_ROUNDS"] ?? 2);
const SEED = Number(process.env["STRESS_SEED"] ?? 20_260_101);
/** The number of bytes within which a connection has a fault. */
const REACH = 500_000;
const NOTES = 5;
const ROUND_MS = 30_000;

let server: TestServer;

beforeAll(async () => {
  server = await openServer({
    limits: { journal_memory_bytes: 8_000_000, reader_buffer_bytes: 100_000 },
  });
});
afterAll(() => server[Symbol.asyncDispose]());

test(
  "each client receives every numbered message of the kernel, and each request reaches the kernel once",
  { timeout: (ROUNDS + 1) * ROUND_MS },
  async () => {
    const record = join(temporaryFolder(), "record");
    const session_id = await server.start("witness", "witness", {
      env: [{ action: "replace", name: "WITNESS_FILE", value: record }],
    });
    await using proxy = await FaultyProxy.to(server.url, SEED, REACH);
    const target = { url: proxy.url, session_id };
    await using trpc = new StressClient(wayAt(0), target);
    await using sse = new StressClient(wayAt(1), target);
    await using kallichore = new StressClient(wayAt(2), target);
    const clients = [trpc, sse, kallichore];
    const { journal } = server.server.supervisor.session(session_id);
    let printed = 0;
    const notes: string[] = [];

    for (let round = 1; round <= ROUNDS; round += 1) {
      const deadline = AbortSignal.timeout(ROUND_MS);
      printed += 500;
      await flood(session_id, "flood 500 40000"); // of smaller messages the server drops some if the disk is slow
      await Promise.all(
        clients.map(async (client) => {
          for (let n = 1; n <= NOTES; n += 1) {
            const note = `${client.name} ${round}.${n}`;
            notes.push(note);
            await client.note(note, deadline);
          }
        }),
      );
      await lines(record, `printed ${printed}`, deadline);
      while (clients.some(({ last }) => last < journal.last)) {
        if (deadline.aborted) {
          throw new Error(
            `Round ${round}: ${clients.map(({ name, last }) => `${name} is at ${last}`).join(", ")} of ${journal.last}`,
          );
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      for (const client of clients) {
        expect(client.complaints, client.name).toEqual([]);
        expect(client.counted, client.name).toBe(printed);
      }
    }

    const got = readFileSync(record, "utf8")
      .split("\n")
      .filter(
        (line) => line.startsWith("got ") && !line.startsWith("got flood"),
      )
      .map((line) => line.slice(4));
    expect(got.toSorted()).toEqual(notes.toSorted());
    expect(Object.values(proxy.faults).every((count) => count > 0)).toBe(true);
    if (ROUNDS > 2) {
      console.log({
        rounds: ROUNDS,
        printed,
        ...proxy.faults,
        repeats: kallichore.repeats,
      });
    }
  },
);

function wayAt(index: number): (typeof ways)[number] {
  const way = ways[index];
  if (way === undefined) throw new RangeError(`No way ${index}`);
  return way;
}

/** Not through the proxy, because the flood request itself is not tested. */
async function flood(session_id: string, code: string): Promise<void> {
  const answer = await server.ask("POST", `/sessions/${session_id}/messages`, {
    channel: "shell",
    header: { msg_id: crypto.randomUUID(), msg_type: "execute_request" },
    parent_header: null,
    metadata: {},
    content: { code, silent: false, store_history: false },
    buffers: [],
  });
  expect(answer.status).toBe(202);
}

/** Resolves when the kernel has written that line. */
async function lines(
  path: string,
  line: string,
  deadline: AbortSignal,
): Promise<void> {
  while (!readFileSync(path, "utf8").includes(`${line}\n`)) {
    deadline.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
