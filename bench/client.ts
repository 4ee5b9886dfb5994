/**
 * What does it cost a program to use the client?
 *
 *     npx tsx bench/client.ts [rounds]
 *
 * Hearing: a kernel floods, and one client hears all of it, as ours does, as
 * tRPC's own client does, and as who only reads the frames of the WebSocket;
 * from the journal, so that the kernel's speed is not in it. Asking: executions
 * by our client, and by tRPC's own, one by one and together. Printed: wall
 * clock and the processor time of the client's process, for each message or
 * execution, and how they compare with ours. The server is a process of its
 * own; the candidates alternate round by round.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createTRPCClient, createWSClient, wsLink } from "@trpc/client";
import { WebSocket } from "ws";
import { type Client, connect } from "../client/index.ts";
import type { AppRouter } from "../contract/index.ts";
import { startServer } from "../src/serve.ts";
import { installKernelspecs } from "../test/kernels/index.ts";

const TOKEN = "bench";
const MESSAGES = 30_000;
const EXECUTIONS = 500;
const PATIENCE_MS = 120_000;

if (process.send === undefined) await compare(Number(process.argv[2] ?? 5));
else await serve();

interface Cost {
  /** µs by the clock, and of the client's processor time. */
  readonly wall: number;
  readonly cpu: number;
}

type Candidate = readonly [name: string, run: () => Promise<void>];

async function compare(rounds: number): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url));
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const [url] = (await once(child, "message", { signal })) as [string];
    await using client = await connect({ url, token: TOKEN });
    await hear(client, url, rounds);
    await ask(client, url, rounds);
  } finally {
    await ended(child);
  }
}

async function hear(client: Client, url: string, rounds: number) {
  await using session = await client.start("echo");
  const { session_id } = session;
  const { last_seq: after } = await session.info();
  const flood = session.execute(`flood ${MESSAGES}`, { collect: false });
  await flood;
  const { last_seq } = await session.info();
  const trpc = stock(url);
  const candidates: readonly Candidate[] = [
    [
      "ours",
      async () => {
        for await (const { seq } of session.events({ after })) {
          if (seq >= last_seq) return;
        }
      },
    ],
    [
      "ours, of an execution",
      async () => {
        const execution = session.execution(flood.execution_id);
        for await (const said of execution) if (said.seq >= last_seq) return;
      },
    ],
    [
      "tRPC's",
      () =>
        new Promise((resolve, reject) => {
          const lastEventId = String(after);
          const input = { session_id, lastEventId };
          const subscription = trpc.client.sessions.events.subscribe(input, {
            onData({ data: { seq } }) {
              if (seq < last_seq) return;
              subscription.unsubscribe();
              resolve();
            },
            onError: reject,
          });
        }),
    ],
    ["frames", () => frames(url, session_id, after, last_seq - after)],
  ];
  await alternate("hear", candidates, MESSAGES, rounds);
  await trpc.end();
}

async function ask(client: Client, url: string, rounds: number) {
  await using session = await client.start("echo");
  const { session_id } = session;
  const trpc = stock(url);
  const byTrpc = async () => {
    const input = { session_id, code: "x" };
    const { execution_id } = await trpc.client.executions.create.mutate(input);
    const asked = { session_id, execution_id };
    await trpc.client.executions.wait.mutate(asked);
  };
  await alternate(
    "execute one by one",
    [
      [
        "ours",
        async () => {
          for (let n = 0; n < EXECUTIONS; n += 1) await session.execute("x");
        },
      ],
      [
        "tRPC's",
        async () => {
          for (let n = 0; n < EXECUTIONS; n += 1) await byTrpc();
        },
      ],
    ],
    EXECUTIONS,
    rounds,
  );
  await alternate(
    "execute together",
    [
      ["ours", () => together(() => session.execute("x"))],
      ["tRPC's", () => together(byTrpc)],
    ],
    EXECUTIONS,
    rounds,
  );
  await trpc.end();
}

async function together(run: () => PromiseLike<unknown>): Promise<void> {
  await Promise.all(Array.from({ length: EXECUTIONS }, run));
}

/** As anybody would make one. */
function stock(url: string) {
  const socket = createWSClient({
    url: `${url.replace("http", "ws")}/trpc?token=${TOKEN}`,
    WebSocket: WebSocket as never,
  });
  const client = createTRPCClient<AppRouter>({
    links: [wsLink({ client: socket })],
  });
  return { client, end: () => socket.close() };
}

/** Counts frames, and parses none. */
async function frames(
  url: string,
  session_id: string,
  after: number,
  count: number,
): Promise<void> {
  const socket = new WebSocket(
    `${url.replace("http", "ws")}/trpc?token=${TOKEN}`,
  );
  await once(socket, "open");
  const input = { session_id, lastEventId: String(after) };
  const params = { path: "sessions.events", input };
  socket.send(JSON.stringify({ id: 1, method: "subscription", params }));
  let left = count + 1; // and that it has begun
  await new Promise<void>((resolve) => {
    socket.on("message", () => {
      left -= 1;
      if (left === 0) resolve();
    });
  });
  socket.terminate();
}

async function alternate(
  what: string,
  candidates: readonly Candidate[],
  count: number,
  rounds: number,
): Promise<void> {
  const costs = candidates.map((): Cost[] => []);
  for (let round = -1; round < rounds; round += 1) {
    for (const [index, [, run]] of candidates.entries()) {
      const cost = await costOf(run);
      if (round >= 0) costs[index]?.push(cost); // the first round warms up
    }
  }
  const walls = costs.map((all) => median(all.map(({ wall }) => wall)) / count);
  const cpus = costs.map((all) => median(all.map(({ cpu }) => cpu)) / count);
  const ours = { wall: walls[0] ?? NaN, cpu: cpus[0] ?? NaN };
  for (const [index, [name]] of candidates.entries()) {
    const wall = walls[index] ?? NaN;
    const cpu = cpus[index] ?? NaN;
    console.log(
      `${what.padEnd(18)} ${name.padEnd(22)} ${wall.toFixed(1)} µs (${(wall / ours.wall).toFixed(2)}), processor ${cpu.toFixed(1)} µs (${(cpu / ours.cpu).toFixed(2)})`,
    );
  }
}

async function costOf(run: () => Promise<void>): Promise<Cost> {
  const before = process.cpuUsage();
  const began = performance.now();
  await run();
  const wall = (performance.now() - began) * 1000;
  const { user, system } = process.cpuUsage(before);
  return { wall, cpu: user + system };
}

/** The child: serves until its parent lets go. */
async function serve(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "kallichore-client-"));
  installKernelspecs(folder, ["echo"]);
  const server = await startServer({
    token: TOKEN,
    kernelspecDirs: [join(folder, "kernels")],
    runtimeDirectory: folder,
  });
  process.once("disconnect", () => {
    void server[Symbol.asyncDispose]().finally(() => {
      rmSync(folder, { recursive: true, force: true });
      process.exit();
    });
  });
  process.send?.(server.url);
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.connected) child.disconnect();
  if (child.exitCode === null) await once(child, "exit");
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}
