/** The cost of our client for a program, compared with tRPC's own client and with a reader that only finds frames. */
import { Executor } from "../harness/executor.ts";
import { floodKernel } from "../harness/kernel.ts";
import { cpuOf, settled } from "../harness/process.ts";
import type { Candidate, Question } from "../harness/question.ts";
import { lastPosition, Readers } from "../harness/readers.ts";
import { execute, startOurs } from "../harness/server.ts";
import { Stack } from "../harness/stack.ts";

const MESSAGES = 50_000;
const EXECUTIONS = 500;

export const question: Question = {
  asks: "What does it cost a program to use the client?",
  async run(bench) {
    const { scale, ours } = bench.options;
    const count = Math.ceil(MESSAGES * scale);
    await using stack = new Stack();
    await using readers = new Readers();
    const reading: Candidate[] = [];
    const executing: { together: boolean; candidates: Candidate[] }[] = [
      { together: false, candidates: [] },
      { together: true, candidates: [] },
    ];
    for (const checkout of ours) {
      const server = stack.use(await startOurs(checkout));
      const session = stack.use(await server.start(floodKernel()));
      const after = await lastPosition(session);
      await session.send(execute(`flood ${count} 600 stream`));
      await settled(server.pid);
      for (const door of ["stock", "client", "trpc"] as const) {
        reading.push({
          name: `${checkout.name}, ${named[door]}`,
          async run() {
            const reader = readers.of(door, server);
            const before = cpuOf(reader.pid);
            const flood = { count: count - 4, least: 0 };
            const { ms } = await reader.catchUp(door, session, flood, {
              after,
            });
            const cost = cpuOf(reader.pid) - before;
            await reader.detach();
            return {
              "reader µs": cost / count,
              "wall µs": (1000 * ms) / count,
            };
          },
        });
      }
      for (const way of ["stock", "client"] as const) {
        const executor = stack.use(new Executor());
        await executor.open(way, stack.use(await server.start(floodKernel())));
        for (const { together, candidates } of executing) {
          candidates.push({
            name: `${checkout.name}, ${named[way]}`,
            async run() {
              const times = Math.ceil(EXECUTIONS * scale);
              const before = cpuOf(executor.pid);
              const began = performance.now();
              await executor.execute("1+1", times, { together });
              const ms = performance.now() - began;
              const cost = cpuOf(executor.pid) - before;
              return {
                "client µs": cost / times,
                "wall µs": (1000 * ms) / times,
              };
            },
          });
        }
      }
    }
    await bench.compare("read 600 B from the journal", reading);
    for (const { together, candidates } of executing) {
      const how = together ? "together" : "one by one";
      await bench.compare(`execute ${how}`, candidates);
    }
  },
};

const named = {
  stock: "stock tRPC client",
  client: "our client",
  trpc: "frames alone",
};
