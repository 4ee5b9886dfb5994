/** Long floods without a reader: the memory that they need, and the messages that are lost although the disk has room for them. */
import { lostEntries } from "../harness/events.ts";
import { floodKernel } from "../harness/kernel.ts";
import { memoryOf, settled } from "../harness/process.ts";
import type { Question } from "../harness/question.ts";
import { execute, startOurs } from "../harness/server.ts";

const MB = 1_000_000;
const CASES = [
  { name: "10 GB of 10 kB", count: 1_000_000, size: 10_000 },
  { name: "1.2 million of 600 B", count: 1_200_000, size: 600 },
];

export const question: Question = {
  asks: "What happens to a long flood without a reader?",
  async run(bench) {
    for (const { name, count, size } of CASES) {
      const times = Math.ceil(count * bench.options.scale);
      await bench.compare(
        name,
        bench.options.ours.map((checkout) => ({
          name: checkout.name,
          async run() {
            await using server = await startOurs(checkout);
            await using session = await server.start(floodKernel());
            const began = performance.now();
            await session.send(execute(`flood ${times} ${size} stream`));
            const cost = await settled(server.pid);
            const seconds = (performance.now() - began) / 1000;
            const { peak } = memoryOf(server.pid);
            const lost = await lostEntries(session);
            return {
              "peak MB": peak / MB,
              "lost %": (100 * lost) / times,
              "server µs": cost / times,
              seconds,
            };
          },
        })),
        { warmUp: 0 },
      );
    }
  },
};
