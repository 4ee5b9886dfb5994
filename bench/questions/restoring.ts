/** How long a server takes that was killed, until it answers again and has restored its sessions. */
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { floodKernel } from "../harness/kernel.ts";
import type { Checkout } from "../harness/options.ts";
import { cpuOf, later, settled } from "../harness/process.ts";
import type { Bench, Figures, Question } from "../harness/question.ts";
import {
  execute,
  keeperIn,
  type Message,
  messageOf,
  type Server,
  startServe,
} from "../harness/server.ts";

const SESSIONS = 50;
/** How many sessions are filled at the same time. */
const AT_ONCE = 4;
/** The longest wait until all sessions are restored. */
const LONGEST_MS = 120_000;
const STATUS_INTERVAL_MS = 20;

export const question: Question = {
  asks: "How long until a killed server with many kept sessions answers again, and has restored them?",
  async run(bench) {
    for (const [name, messages] of cases) await measure(bench, name, messages);
  },
};

/** The messages that fill a session. */
type Filling = (scale: number) => Iterable<Message>;

async function measure(
  bench: Bench,
  name: string,
  messages: Filling,
): Promise<void> {
  const { ours, scale, cases: selected } = bench.options;
  const isSelected = selected.some((part) => name.includes(part));
  if (selected.length > 0 && !isSelected) return;
  const states: KeptState[] = [];
  try {
    for (const checkout of ours) {
      const state = new KeptState(checkout);
      states.push(state);
      await state.fill(() => messages(scale));
      const megabytes = Math.round(state.bytes / 1e6);
      console.log(`${name}, ${checkout.name}: ${megabytes} MB of state`);
    }
    const candidates = states.map((state) => ({
      name: state.checkout.name,
      run: () => state.restart(),
    }));
    await bench.compare(`${SESSIONS} sessions, ${name}`, candidates);
  } finally {
    for (const state of states) await state[Symbol.asyncDispose]();
  }
}

/** The state of a server that is killed and started again. */
class KeptState implements AsyncDisposable {
  readonly checkout: Checkout;
  readonly #room = mkdtempSync(join(tmpdir(), "bench-"));
  #server: Server | undefined;

  constructor(checkout: Checkout) {
    this.checkout = checkout;
  }

  get bytes(): number {
    return readdirSync(this.#room, { recursive: true }).reduce(
      (sum, name) => sum + statSync(join(this.#room, String(name))).size,
      0,
    );
  }

  /** Makes the sessions. */
  async fill(messages: () => Iterable<Message>): Promise<void> {
    const server = await this.#start();
    let left = SESSIONS;
    const fillNext = async (): Promise<void> => {
      while ((left -= 1) >= 0) {
        const session = await server.start(floodKernel());
        for (const message of messages()) await session.send(message);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, fillNext));
    await settled(server.pid, keeperIn(this.#room));
  }

  async restart(): Promise<Figures> {
    await this.#kill();
    const began = performance.now();
    const server = await this.#start();
    let longest = 0;
    let answered: number | undefined;
    for (;;) {
      const requested = performance.now();
      const restoring = await restoringAt(server);
      const now = performance.now();
      if (answered === undefined) answered = now - began;
      else longest = Math.max(longest, now - requested);
      if (restoring === 0) {
        return {
          "answers ms": answered,
          "restored ms": now - began,
          "CPU ms": cpuOf(server.pid) / 1000,
          "longest answer ms": longest,
        };
      }
      if (now - began > LONGEST_MS) {
        throw new Error(`${restoring} sessions are not restored`);
      }
      await later(STATUS_INTERVAL_MS);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const keeper = keeperIn(this.#room);
    await this.#server?.[Symbol.asyncDispose]();
    for (
      let tries = 0;
      tries < 500 && existsSync(`/proc/${keeper}`);
      tries += 1
    )
      await later(STATUS_INTERVAL_MS);
    rmSync(this.#room, { recursive: true, force: true });
  }

  async #start(): Promise<Server> {
    const room = this.#room;
    return (this.#server = await startServe(this.checkout, {
      isKeeping: true,
      room,
    }));
  }

  async #kill(): Promise<void> {
    const child = this.#server?.child;
    if (child === undefined) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }
}

const cases: readonly (readonly [name: string, messages: Filling])[] = [
  ["20 MB each", longWork],
  ["short code", shortCode],
];

/** What a day with a notebook leaves, 20 MB: much text, some pictures, displays that change, short code, and comms. */
function* longWork(scale: number): Generator<Message> {
  const many = (count: number) => Math.max(1, Math.round(count * scale));
  yield execute(`flood ${many(13_000)} 600 stream`);
  yield execute(`flood ${many(6)} 1000000 display`);
  for (let round = 0; round < 3; round += 1) {
    yield execute(`flood ${many(20)} 10000 updated`);
    yield execute(`flood ${many(1_500)} 600 stream`);
    for (let count = 0; count < many(20); count += 1) {
      yield execute("1+1");
      if (count % 5 === 0) yield commOpen(`${round}-${count}`);
    }
  }
}

/** About a thousand small blocks in the journal. */
function* shortCode(scale: number): Generator<Message> {
  for (let count = 0; count < 250 * scale; count += 1) yield execute("1+1");
}

function commOpen(comm_id: string): Message {
  return messageOf("comm_open", { comm_id, target_name: "bench", data: {} });
}

async function restoringAt({ url, token }: Server): Promise<number> {
  const headers = { authorization: `Bearer ${token}` };
  const response = await fetch(`${url}/status`, { headers });
  const { restoring } = (await response.json()) as { restoring: number };
  return restoring;
}
