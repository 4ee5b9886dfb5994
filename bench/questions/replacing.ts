/**
 * How long no server answers while another one takes over: 50 kept sessions with
 * a kernel each, 20 readers, and a flood.
 */
import { once, setMaxListeners } from "node:events";
import { get, request } from "node:http";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { floodKernel } from "../harness/kernel.ts";
import type { Checkout } from "../harness/options.ts";
import { later } from "../harness/process.ts";
import type { Figures, Question } from "../harness/question.ts";
import {
  execute,
  type Server,
  type Session,
  startServe,
} from "../harness/server.ts";
import { Stack } from "../harness/stack.ts";

const SESSIONS = 50;
const READERS = 20;
const FLOOD = "flood 20000 600 stream";
/** Between two requests for the status. */
const PAUSE_MS = 5;
/** A request that takes longer is given up. */
const ANSWER_MS = 5_000;
const RESTORE_MS = 60_000;
/** A reader whose connection has ended comes back after this time. */
const COME_BACK_MS = 10;
/** The flood has begun by then. */
const BEGIN_MS = 100;

const ways = {
  replace: "serve --replace",
  kill: "kill -9 and a new start",
} as const;

export const question: Question = {
  asks: "How long does no server answer while another one takes over?",
  async run(bench) {
    await using stack = new Stack();
    const candidates = [];
    for (const checkout of bench.options.ours) {
      for (const way of ["replace", "kill"] as const) {
        const place = stack.use(await Place.made(checkout));
        const name = `${checkout.name}, ${ways[way]}`;
        candidates.push({ name, run: () => place.takenOver(way) });
      }
    }
    await bench.compare(`${SESSIONS} sessions`, candidates);
  },
};

/** One state directory, and the server that has it. */
class Place implements AsyncDisposable {
  readonly #checkout: Checkout;
  readonly #room = mkdtempSync(join(tmpdir(), "bench-"));
  readonly #readers = new AbortController();
  #server!: Server;
  #flooded!: Session;

  private constructor(checkout: Checkout) {
    this.#checkout = checkout;
  }

  static async made(checkout: Checkout): Promise<Place> {
    const place = new Place(checkout);
    setMaxListeners(READERS, place.#readers.signal);
    const server = (place.#server = await place.#start());
    const sessions: Session[] = [];
    for (let n = 0; n < SESSIONS; n += 1) {
      sessions.push(await server.start(floodKernel()));
    }
    const [first] = sessions;
    if (first === undefined) throw new Error("there is no session");
    place.#flooded = first;
    for (const { id } of sessions.slice(0, READERS)) void place.#read(id);
    return place;
  }

  async takenOver(way: keyof typeof ways): Promise<Figures> {
    await this.#flooded.send(execute(FLOOD));
    const stopped = new AbortController();
    const probe = longestSilence(this.#server, stopped.signal);
    await later(BEGIN_MS);
    const { child } = this.#server;
    const exited = once(child, "exit");
    const began = performance.now();
    if (way === "kill") {
      child.kill("SIGKILL");
      await exited;
    }
    this.#server = await this.#start(way === "replace" ? ["--replace"] : []);
    await exited;
    await this.#restored();
    const restored_ms = performance.now() - began;
    stopped.abort();
    return { "no answer ms": await probe, "restored ms": restored_ms };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#readers.abort();
    await this.#server[Symbol.asyncDispose]();
    rmSync(this.#room, { recursive: true, force: true });
  }

  #start(args: readonly string[] = []): Promise<Server> {
    const options = { isKeeping: true, room: this.#room, args };
    return startServe(this.#checkout, options);
  }

  async #restored(): Promise<void> {
    const latest = performance.now() + RESTORE_MS;
    while (performance.now() < latest) {
      const { restoring } = (await statusOf(this.#server)) ?? {};
      if (restoring === 0) return;
      await later(PAUSE_MS);
    }
    throw new Error("The sessions are not restored");
  }

  /** Reads the session by server-sent events, through all servers. */
  async #read(id: string): Promise<void> {
    const { signal } = this.#readers;
    const { url, token } = this.#server;
    let last = 0;
    while (!signal.aborted) {
      await new Promise<void>((resolve) => {
        const headers = {
          authorization: `Bearer ${token}`,
          "last-event-id": String(last),
        };
        const path = `${url}/sessions/${id}/events`;
        const req = get(path, { agent: false, headers, signal }, (res) => {
          let text = "";
          res.setEncoding("utf8");
          res.on("data", (part: string) => {
            text += part;
            const events = text.split("\n\n");
            text = events.pop() ?? "";
            for (const event of events) {
              last = Number(/^id: (?:\w+:)?(\d+)/m.exec(event)?.[1] ?? last);
            }
          });
          res.on("error", () => {});
          res.on("close", resolve);
        });
        req.on("error", () => {}); // there is no server at the moment
        req.on("close", resolve);
      });
      await later(COME_BACK_MS);
    }
  }
}

/** Asks again and again until `signal` aborts. Resolves with the longest time between two answers, in milliseconds. */
async function longestSilence(
  server: Server,
  signal: AbortSignal,
): Promise<number> {
  let longest = 0;
  let answeredAt = performance.now();
  while (!signal.aborted) {
    if ((await statusOf(server)) !== undefined) {
      const now = performance.now();
      longest = Math.max(longest, now - answeredAt);
      answeredAt = now;
    }
    await later(PAUSE_MS);
  }
  return longest;
}

/** `undefined` if there is no answer. */
function statusOf({
  url,
  token,
}: Server): Promise<{ readonly restoring: number } | undefined> {
  return new Promise((resolve) => {
    const headers = { authorization: `Bearer ${token}` };
    const options = { agent: false, headers, timeout: ANSWER_MS };
    const req = request(`${url}/status`, options, (res) => {
      let text = "";
      res.on("data", (part: Buffer) => (text += part.toString()));
      res.on("error", () => resolve(undefined));
      res.on("close", () => {
        resolve(res.complete ? (JSON.parse(text) as never) : undefined);
      });
    });
    req.on("timeout", () => req.destroy());
    req.on("error", () => resolve(undefined));
    req.end();
  });
}
