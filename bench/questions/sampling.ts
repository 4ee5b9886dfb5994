/** The cost of a hundred idle sessions that report the resource usage of their kernels to a listener each second. */
import { floodKernel } from "../harness/kernel.ts";
import { cpuOf, later } from "../harness/process.ts";
import type { Question } from "../harness/question.ts";
import { Reader } from "../harness/readers.ts";
import { serversOf } from "../harness/server.ts";

const SESSIONS = 100;
const LOOK_MS = 10_000;

export const question: Question = {
  asks: "What do a hundred idle sessions with listeners cost, sampled each second?",
  async run(bench) {
    await using servers = await serversOf(bench.options);
    await using listener = new Reader();
    for (const server of servers.list) {
      for (let n = 0; n < SESSIONS; n += 1) {
        const session = await server.start(floodKernel()); // ends with its server
        await listener.attach("channel", session);
      }
    }
    await bench.compare(
      `${SESSIONS} sessions`,
      servers.list.map((server) => ({
        name: server.name,
        async run() {
          const before = cpuOf(server.pid);
          await later(LOOK_MS);
          const used = cpuOf(server.pid) - before;
          return { "% of a core": used / 10 / LOOK_MS };
        },
      })),
    );
  },
};
