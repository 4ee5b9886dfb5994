/** What clients are told after a restart, with a checkpoint and without: with real files, a keeper and a kernel. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { eventually } from "../harness.ts";
import { needsPosix } from "../needs.ts";
import { KeptPlace, type KeptServer } from "./kept-place.ts";

/** What the server answers about the session, without what is another one at each start. */
async function answersOf(server: KeptServer): Promise<object> {
  await server.server.supervisor.session("a").restored;
  const get = async (path: string): Promise<unknown> =>
    (await server.ask("GET", `/sessions/a${path}`)).body;
  const { executions } = (await get("/executions")) as {
    executions: { execution_id: string }[];
  };
  const outputs = executions.map(({ execution_id }) =>
    get(`/executions/${execution_id}/outputs`),
  );
  const { seq, ...snapshot } = (await get("/snapshot")) as { seq: number };
  expect(seq).toBeGreaterThan(1000);
  return {
    executions: executions.map((each) => ({ ...each, by: null })), // not kept
    outputs: await Promise.all(outputs),
    history: await get("/history"),
    snapshot: JSON.parse(
      JSON.stringify(snapshot, (key, value: unknown) =>
        key === "by" ? null : value,
      ),
    ) as unknown,
  };
}

test("clients are told the same", needsPosix, async () => {
  const place = new KeptPlace();
  const checkpoints = (): string[] => {
    const [folder = ""] = readdirSync(join(place.state, "sessions"));
    const path = join(place.state, "sessions", folder);
    return readdirSync(path)
      .filter((name) => name.startsWith("checkpoint."))
      .map((name) => join(path, name));
  };
  const first = await place.serve();
  await first.start("a");
  for (const code of ["display one", "comm t", "error", "odd", "flood 3000"]) {
    await first.execute("a", code);
  }
  await first.execute("a", "large 1500000");
  await eventually("a checkpoint", () => checkpoints().length > 0 || undefined);
  for (const code of ["update two", "flood 20", "buffers", "words é"]) {
    await first.execute("a", code);
  }
  const live = await answersOf(first);
  for (const text of ['"words é"', '"two"', "echo-comm", "as told"]) {
    expect(JSON.stringify(live)).toContain(text);
  }
  await first.letGo();
  const second = await place.serve();
  expect(await answersOf(second)).toEqual(live);
  await second.letGo();
  for (const path of checkpoints()) rmSync(path);
  const third = await place.serve();
  expect(await answersOf(third)).toEqual(live);
  await eventually("a checkpoint of all that was read", () =>
    checkpoints().length > 0 ? true : undefined,
  );
  await third.end("a");
});
