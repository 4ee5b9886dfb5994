/** What the tests of a kept session, whose servers are killed, have in common. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import type { Room } from "../command/kallichore.ts";
import { eventually } from "../harness.ts";
import type { StressClient } from "./clients.ts";
import type { ServerProcess, Witness } from "./server-process.ts";

/** How long one round may take. */
export const ROUND_MS = 60_000;

/** Resolves when the kernel has printed everything, and each client has received it without a fault. */
export async function caughtUp(
  record: string,
  { printed }: Witness,
  clients: readonly StressClient[],
): Promise<void> {
  await eventually(
    `${printed} messages printed`,
    () =>
      readFileSync(record, "utf8").includes(`printed ${printed}\n`)
        ? true
        : undefined,
    ROUND_MS,
  );
  await eventually(
    "all clients up to date",
    () =>
      clients.every(({ counted }) => counted === printed) ? true : undefined,
    ROUND_MS,
  );
  for (const { name, complaints } of clients) {
    expect([name, complaints]).toEqual([name, []]);
  }
}

/** The kernel has got each of these once, and nothing else but floods. */
export function expectGot(record: string, notes: readonly string[]): void {
  const got = readFileSync(record, "utf8")
    .split("\n")
    .filter((line) => /^got (?!flood)/.test(line))
    .map((line) => line.slice(4));
  expect(got.toSorted()).toEqual(notes.toSorted());
}

/** Ends the clients, the server and its keeper. Fails if files are left. */
export async function endAll(
  { folder }: Room,
  server: ServerProcess,
  clients: readonly StressClient[],
): Promise<void> {
  const files = () => readdirSync(join(folder, "tmp")).length;
  for (const client of clients) await client[Symbol.asyncDispose]();
  await eventually("the files of killed servers removed", () =>
    files() <= 2 ? true : undefined,
  ); // the server and the keeper have one each
  await server.ask("POST", "/shutdown");
  await server.running.ended();
  await eventually(
    "the keeper gone",
    () => (files() === 0 ? true : undefined),
    15_000, // without the server's request it ends after ten seconds
  );
}
