/**
 * A server that keeps sessions is killed at chosen calls of the system, asked
 * to end, or replaced, while its kernel floods, code runs and clients of all
 * protocols are attached: no message is lost or repeated, and code runs once.
 *
 *     STRESS_ROUNDS=1000 STRESS_SEED=7 npx vitest run test/stress/crash-points.test.ts
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { Room, useCommand } from "../command/kallichore.ts";
import { ask, TOKEN } from "../harness.ts";
import { allWays, StressClient } from "./clients.ts";
import { caughtUp, endAll, expectGot, ROUND_MS } from "./kept-session.ts";
import { randomFrom } from "./proxy.ts";
import { ServerProcess } from "./server-process.ts";

useCommand();

interface Point {
  /** A regular expression of the file's name. */
  readonly file: string;
  readonly call: "write" | "read" | "rename";
  readonly when: "before" | "torn" | "after";
  /** It is one of the first so many calls. */
  readonly among: number;
}

/** By what happens between the calls. */
const POINTS: Readonly<Record<string, Point>> = {
  "before entries are written": at("^journal", "write", "before", 20),
  "while entries are written": at("^journal", "write", "torn", 20),
  "between write and acknowledgement": at("^journal", "write", "after", 20),
  "before a request is written": at("^requests", "write", "before", 6),
  "while a request is written": at("^requests", "write", "torn", 6),
  "between acceptance and forwarding": at("^requests", "write", "after", 6),
  "before a position is written": at("^positions", "write", "before", 4),
  "after a position is written": at("^positions", "write", "after", 4),
  "before a session is written": at("^session.json", "rename", "before", 2),
  "after a session is written": at("^session.json", "rename", "after", 2),
  "before the epoch is written": at("^server.json", "rename", "before", 1),
  "after the epoch is written": at("^server.json", "rename", "after", 1),
  "before a checkpoint is written": at("^checkpoint", "write", "before", 1),
  "while a checkpoint is written": at("^checkpoint", "write", "torn", 1),
  "before a checkpoint has its name": at("^checkpoint", "rename", "before", 1),
  "after a checkpoint has its name": at("^checkpoint", "rename", "after", 1),
  "during a restore": at("^journal", "read", "before", 3),
};

function at(
  file: string,
  call: Point["call"],
  when: Point["when"],
  among: number,
): Point {
  return { file, call, when, among };
}

/** Other ends: a server lets go of its sessions while they flood, or is replaced then. */
const ASKED = "asked to end";
const REPLACED = "replaced, and the next one killed";
/** Both come within this time after the server answers. */
const FLOOD_MS = 300;

const names = [...Object.keys(POINTS), ASKED, REPLACED];
/** Default: each point once. */
const ROUNDS = Number(process.env["STRESS_ROUNDS"] ?? names.length);
const SEED = Number(process.env["STRESS_SEED"] ?? 20_260_101);
/** How long a server lives at most that does not come to its point. */
const LIFE_MS = 10_000;
const PRELOAD = pathToFileURL(
  fileURLToPath(new URL("crash-point.mjs", import.meta.url)),
).href;

test(
  "a server that is killed at a chosen point loses and repeats nothing",
  { timeout: (ROUNDS + 1) * ROUND_MS },
  async () => {
    await using room = new Room();
    const random = randomFrom(SEED);
    const args = ["--keep", "--state-dir", join(room.folder, "state")];
    let server = await ServerProcess.in(room, args);
    const { port } = new URL(server.url);
    args.push("--port", port);
    const target = { url: server.url, session_id: "kept" };
    const witness = await server.witness("kept");
    const record = join(room.folder, "kept.record");
    const clients = allWays.map((way) => new StressClient(way, target));
    const notes: string[] = [];
    /** The points at which a server was killed. */
    const reached = new Set<string>();

    const kill = async () => {
      const { running } = server;
      server.signal("SIGKILL");
      await running.ended();
    };

    /** Runs a server that ends because it is asked to. */
    const letGo = async (isReplaced: boolean): Promise<void> => {
      const asked = await ServerProcess.in(room, args);
      await delay(random() * FLOOD_MS);
      const next = isReplaced
        ? await ServerProcess.in(room, [...args, "--replace"])
        : undefined;
      if (next === undefined) asked.signal("SIGTERM");
      expect(await asked.running.ended()).toMatchObject({ code: 0 });
      next?.signal("SIGKILL");
      await next?.running.ended();
    };

    /** Runs a server that is killed at the point. Resolves with false if it did not come to it. */
    const crash = async ({ among, ...point }: Point): Promise<boolean> => {
      const nth = 1 + Math.floor(random() * among);
      const env = {
        NODE_OPTIONS: `--import=${PRELOAD}`,
        CRASH_POINT: JSON.stringify({ ...point, nth }),
      };
      const running = room.start(["serve", "--json", ...args], {
        env: { KALLICHORE_TOKEN: TOKEN, ...env },
      });
      const late = setTimeout(() => running.child.kill("SIGTERM"), LIFE_MS);
      await running.ended();
      clearTimeout(late);
      return running.child.signalCode === "SIGKILL";
    };

    const end = async (name: string): Promise<void> => {
      const point = POINTS[name];
      if (point === undefined) await letGo(name === REPLACED);
      else if (!(await crash(point))) return;
      reached.add(name);
    };

    /** What happened last, for the reader of a failure. */
    let doing = "";
    try {
      await Promise.all(clients.map(({ opened }) => opened));
      for (let round = 0; round < ROUNDS; round += 1) {
        const signal = AbortSignal.timeout(ROUND_MS);
        await witness.begin(1_000, 5_000);
        await kill();
        const noted = Promise.all([
          ...clients.map((client) => {
            const note = `${client.name} ${round}`;
            notes.push(note);
            return client.note(note, signal);
          }),
          ...[1, 2, 3].map((n) => {
            const code = `run ${round}.${n}`;
            notes.push(code);
            return run(target, code, signal);
          }),
          label(target, round, signal),
        ]);
        const points = [names[round % names.length] ?? ""];
        if (random() < 0.3) {
          points.push(names[Math.floor(random() * names.length)] ?? "");
        }
        doing = `round ${round}, killed ${points.join(", and ")}`;
        for (const point of points) await end(point);
        server = await ServerProcess.in(room, args);
        await noted;
        await caughtUp(record, witness, clients);
      }
      expectGot(record, notes);
      if (ROUNDS >= names.length) {
        expect([...reached].toSorted()).toEqual(names.toSorted());
      }
    } catch (error) {
      const state = await server.ask("GET", "/sessions/kept/executions");
      const answers = clients.map(
        ({ name, counted, complaints }) =>
          `${name} ${counted} ${complaints.join("; ")}`,
      );
      throw new Error(
        [
          `${String(error)} in ${doing}; ${witness.printed} printed`,
          ...answers,
          JSON.stringify(await witness.describe()),
          state.text.slice(-3_000),
          readFileSync(record, "utf8").slice(-500),
          server.running.stderr.slice(-2_000),
        ].join("\n"),
        { cause: error },
      );
    } finally {
      await endAll(room, server, clients);
    }
  },
);

/** Runs the code once, however often the request is repeated. */
async function run(
  { url, session_id }: { readonly url: string; readonly session_id: string },
  code: string,
  signal: AbortSignal,
): Promise<void> {
  const body = { code, execution_id: code.replace(" ", "-") };
  const path = `/sessions/${session_id}/executions`;
  await repeated(url, { method: "POST", path, body }, signal);
}

/** Makes the server write the session. */
async function label(
  { url, session_id }: { readonly url: string; readonly session_id: string },
  round: number,
  signal: AbortSignal,
): Promise<void> {
  const path = `/sessions/${session_id}/labels`;
  for (let n = 0; n < 3; n += 1) {
    const labels = { round: `${round}.${n}` };
    await repeated(url, { method: "PUT", path, body: { labels } }, signal);
  }
}

/** Asks until a server has answered. */
async function repeated(
  url: string,
  request: { method: string; path: string; body: unknown },
  signal: AbortSignal,
): Promise<void> {
  const headers = {
    authorization: `Bearer ${TOKEN}`,
    "content-type": "application/json",
  };
  for (;;) {
    const answer = await ask({ url }, { ...request, headers }).catch(
      () => undefined,
    );
    if (answer !== undefined && answer.status < 300) return;
    signal.throwIfAborted();
    await delay(20);
  }
}
