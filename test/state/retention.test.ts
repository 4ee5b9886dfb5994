/** Sessions whose kernels have ended: which of them stay, with real files, keepers and kernels. */
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { KeepEndedOptions } from "../../src/keep.ts";
import { eventually } from "../harness.ts";
import { needsPosix } from "../needs.ts";
import { recordingLog } from "../recording-log.ts";
import { KeptPlace, type KeptServer } from "./kept-place.ts";

/** No limit but those of the test, and no delay. */
const ANY = { sessions: 0, days: 0, bytes: 0, delay_ms: 20 };
const DAY_MS = 86_400_000;

const ended = (limits: KeepEndedOptions) => ({ ended: { ...ANY, ...limits } });

function remain(server: KeptServer, ...ids: string[]): Promise<true> {
  return eventually(`only ${ids.join()} left`, () =>
    server.ids.join() === ids.join() ? true : undefined,
  );
}

/** Lets the sessions' kernels have ended so many days earlier. */
function age(place: KeptPlace, days: Readonly<Record<string, number>>): void {
  const folder = join(place.state, "sessions");
  for (const name of readdirSync(folder)) {
    const path = join(folder, name, "session.json");
    const file = JSON.parse(readFileSync(path, "utf8")) as {
      session: { spec: { session_id: string }; ended?: string };
    };
    const { session } = file;
    if (session.ended === undefined) continue;
    const by = (days[session.spec.session_id] ?? 0) * DAY_MS;
    const at = new Date(Date.parse(session.ended) - by).toISOString();
    Object.assign(session, { ended: at, detached: at });
    writeFileSync(path, JSON.stringify(file));
  }
}

describe("sessions whose kernels have ended", needsPosix, () => {
  test("are deleted with their files when there are too many, the oldest first, and clients are told", async () => {
    const place = new KeptPlace();
    const { log, lines } = recordingLog();
    const server = await place.serve(ended({ sessions: 2 }), log);
    for (const id of ["a", "b", "running", "c"]) await server.start(id);
    for (const id of ["b", "a"]) await server.end(id);
    const { ended: isOver } = server.server.supervisor.session("b");
    await server.end("c");
    await remain(server, "a", "running", "c");
    await eventually("the files are gone", () =>
      place.folders === 3 ? true : undefined,
    );
    expect(isOver.aborted).toBe(true); // its readers have left
    const texts = lines.filter(({ session }) => session === "b");
    expect(texts.map(({ msg }) => msg)).toEqual(
      expect.arrayContaining([
        "An ended session is deleted: more than 2 sessions have ended",
        "Session deleted",
      ]),
    );
    expect((await server.ask("GET", "/sessions/b")).status).toBe(404);
  });

  test("stay while a client is attached, and while their kernels run", async () => {
    const place = new KeptPlace();
    const server = await place.serve(ended({ bytes: 1 }));
    for (const id of ["read", "running", "left"]) await server.start(id);
    const { journal } = server.server.supervisor.session("read");
    const client = new AbortController();
    onTestFinished(() => client.abort());
    const reader = journal.follow(0, client.signal);
    const reading = (async () => {
      while ((await reader.next()).done !== true);
    })();
    await server.end("read");
    await server.end("left");
    await remain(server, "read", "running");
    expect(await server.describe("read")).not.toHaveProperty("detached");
    client.abort();
    await reading;
    await server.end("running"); // they are looked through again
    await remain(server);
    await eventually("the files are gone", () =>
      place.folders === 0 ? true : undefined,
    );
  });

  test("are deleted after so many days without use, also after a restart of the server", async () => {
    const place = new KeptPlace();
    const first = await place.serve(ended({}));
    for (const id of ["old", "young", "running", "never"]) {
      await first.start(id);
    }
    for (const id of ["old", "young"]) await first.end(id);
    await first.letGo();
    age(place, { old: 31, young: 29 });
    const second = await place.serve(ended({ days: 30 }));
    await remain(second, "young", "running", "never");
    await eventually("the files are gone", () =>
      place.folders === 3 ? true : undefined,
    );
    expect(await second.describe("running")).toMatchObject({ status: "idle" });
    // Without a client, the age goes on from what is written down.
    const { ended: at } = await second.describe("young");
    const days = (Date.now() - Date.parse(String(at))) / DAY_MS;
    expect(Math.round(days)).toBe(29);
    expect((await second.describe("young"))["detached"]).toBe(at);
  });

  test("that a client has read lately stay, also if that client has left before the restart", async () => {
    const place = new KeptPlace();
    const first = await place.serve(ended({}));
    for (const id of ["read", "old"]) await first.start(id);
    for (const id of ["read", "old"]) await first.end(id);
    await first.letGo();
    age(place, { read: 31, old: 31 });
    const second = await place.serve(ended({}));
    const { journal } = second.server.supervisor.session("read");
    const client = journal.follow(0, AbortSignal.timeout(5_000));
    await client.next();
    await client.return(undefined);
    await second.letGo();
    const third = await place.serve(ended({ days: 30 }));
    await remain(third, "read");
  });

  test("by default stay", async () => {
    const place = new KeptPlace();
    const server = await place.serve({ ended: { delay_ms: 1 } });
    await server.start("a");
    await server.end("a");
    await server.letGo();
    age(place, { a: 29 });
    const next = await place.serve({ ended: { delay_ms: 1 } });
    await new Promise((resolve) => setTimeout(resolve, 200)); // nothing happens that one could wait for
    expect(next.ids).toEqual(["a"]);
  });
});
