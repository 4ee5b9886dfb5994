/**
 * What does hearing one message cost, by each driver?
 *
 *     npx tsx bench/transport.ts [rounds]
 *
 * A child process publishes messages of seven frames over TCP and counts what it
 * sends; we take the processor time of this process, libzmq's threads included,
 * from the first message to the last. Drivers alternate round by round.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { libzmq } from "../src/zmq/libzmq.ts";
import type { KernelTransport } from "../src/zmq/transport.ts";
import { zmtp } from "../src/zmq/zmtp.ts";

interface Case {
  readonly name: string;
  readonly bytes: number;
  readonly count: number;
}

const CASES: readonly Case[] = [
  { name: "600 B", bytes: 600, count: 40_000 },
  { name: "10 kB", bytes: 10_000, count: 10_000 },
  { name: "1 MB", bytes: 1_000_000, count: 300 },
];

/** Topic, delimiter, signature, header, parent header, metadata; the content takes the rest. */
const SMALL_FRAMES = [16, 9, 64, 180, 180, 2];

const ROUND_PATIENCE_MS = 60_000;

if (process.send === undefined) await compare(Number(process.argv[2] ?? 7));
else await publish();

async function compare(rounds: number): Promise<void> {
  const drivers = [zmtp, libzmq];
  for (const what of CASES) {
    const costs = drivers.map((): number[] => []);
    for (let round = -1; round < rounds; round++) {
      for (const [i, driver] of drivers.entries()) {
        const cost = await listen(driver, what);
        if (round >= 0) costs[i]?.push(cost); // the first round warms up
      }
    }
    const [ours = NaN, theirs = NaN] = costs.map(median);
    console.log(
      `hear ${what.name.padEnd(6)} zmtp ${ours.toFixed(1)} µs/msg, libzmq ${theirs.toFixed(1)} µs/msg, ratio ${(theirs / ours).toFixed(1)}`,
    );
  }
}

/** Processor time of one message, in µs. */
async function listen(
  driver: KernelTransport,
  { bytes, count }: Case,
): Promise<number> {
  const publisher = fork(fileURLToPath(import.meta.url), [
    String(bytes),
    String(count),
  ]);
  try {
    const signal = AbortSignal.timeout(ROUND_PATIENCE_MS);
    const [endpoint] = (await once(publisher, "message", { signal })) as [
      string,
    ];
    let heard = 0;
    let used = 0;
    let before: NodeJS.CpuUsage | undefined;
    let after: NodeJS.CpuUsage | undefined;
    const { promise, resolve } = withResolvers();
    const link = driver.connect({
      type: "sub",
      endpoint,
      onMessages: (batch) => {
        before ??= process.cpuUsage();
        for (const frames of batch) used += frames.at(-1)?.[0] ?? 0;
        heard += batch.length;
        if (heard < count) return;
        after = process.cpuUsage(before);
        resolve();
      },
    });
    try {
      await Promise.race([promise, aborted(signal)]);
    } finally {
      link.close();
    }
    if (after === undefined || used !== count) {
      throw new Error(`heard ${heard} of ${count} messages, ${used} right`);
    }
    return (after.user + after.system) / count;
  } finally {
    if (publisher.connected) publisher.disconnect();
    if (publisher.exitCode === null) await once(publisher, "exit");
  }
}

/** The child: publishes once somebody subscribes, and ends when its parent lets go. */
async function publish(): Promise<void> {
  const { XPublisher } = await import("zeromq");
  const [bytes, count] = process.argv.slice(2).map(Number) as [number, number];
  const socket = new XPublisher({ linger: 0, sendHighWaterMark: 0 });
  process.once("disconnect", () => {
    socket.close(); // and until then it is referred to, so not collected with what it holds
    process.exit();
  });
  await socket.bind("tcp://127.0.0.1:*");
  process.send?.(socket.lastEndpoint);
  await socket.receive();
  const small = SMALL_FRAMES.map((size) => Buffer.alloc(size));
  const rest = bytes - SMALL_FRAMES.reduce((sum, size) => sum + size, 0);
  const frames = [...small, Buffer.alloc(rest, 1)];
  for (let i = 0; i < count; i++) await socket.send(frames);
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => {
      reject(new Error("the publisher fell silent"));
    });
  });
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((done) => (resolve = done));
  return { promise, resolve };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}
