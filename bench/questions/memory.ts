/** The memory of an idle server, compared with an empty Node program, and that of an idle reader. */
import { spawn } from "node:child_process";
import { floodKernel } from "../harness/kernel.ts";
import type { Checkout } from "../harness/options.ts";
import { ended, later, memoryOf, owned } from "../harness/process.ts";
import type { Question } from "../harness/question.ts";
import type { Door } from "../harness/reader.ts";
import { Reader } from "../harness/readers.ts";
import { startKcserver, startOurs } from "../harness/server.ts";

const KB = 1000;
const READERS = 500;
const REST_MS = 3000;

export const question: Question = {
  asks: "How much memory does an idle server take, and an idle reader?",
  async run(bench) {
    const { ours, kcserver } = bench.options;
    await bench.compare(
      "an idle server, over an empty Node program",
      [
        ...(kcserver === undefined
          ? []
          : [
              {
                name: "kcserver",
                run: () =>
                  idle(() =>
                    startKcserver("kcserver", {
                      argv: [kcserver],
                      args: [],
                      kind: "kcserver",
                    }),
                  ),
              },
            ]),
        ...ours.map((checkout) => ({
          name: checkout.name,
          run: () => idle(() => startOurs(checkout)),
        })),
      ],
      { warmUp: 0 },
    );
    for (const door of ["trpc", "sse"] as const) {
      await bench.compare(
        `an idle reader by ${door}`,
        ours.map((checkout) => ({
          name: checkout.name,
          run: async () => ({ kB: (await perReader(checkout, door)) / KB }),
        })),
        { warmUp: 0 },
      );
    }
  },
};

async function idle(start: () => Promise<{ pid: number } & AsyncDisposable>) {
  const waits = ["-e", "setInterval(() => {}, 1e6)"];
  const empty = owned(spawn(process.execPath, waits));
  await using server = await start();
  await later(REST_MS);
  const bare = memoryOf(empty.pid ?? 0).rss;
  await ended(empty);
  const { rss } = memoryOf(server.pid);
  return { "MB over bare": (rss - bare) / KB / KB, MB: rss / KB / KB };
}

/** Bytes for each reader. Half of the readers attach before the first measurement, so that compiled code and the first growth of the heap are not counted. */
async function perReader(checkout: Checkout, door: Door): Promise<number> {
  await using server = await startOurs(checkout);
  await using session = await server.start(floodKernel());
  await using first = new Reader();
  await using second = new Reader();
  await first.attach(door, session, { readers: READERS });
  await later(REST_MS);
  const before = memoryOf(server.pid).rss;
  await second.attach(door, session, { readers: READERS });
  await later(REST_MS);
  return (memoryOf(server.pid).rss - before) / READERS;
}
