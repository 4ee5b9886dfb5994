/** The cost of a late reader of a long journal of small messages, most of which are on disk. */
import { floodKernel } from "../harness/kernel.ts";
import { settled } from "../harness/process.ts";
import type { Candidate, Question } from "../harness/question.ts";
import type { Door } from "../harness/reader.ts";
import { Readers } from "../harness/readers.ts";
import { execute, type Server, serversOf } from "../harness/server.ts";

const COUNT = 1_000_000; // of 600 bytes: less than a journal may keep on disk
const KEPT = 0.8; // the part of the messages to wait for: a journal without readers may have lost some, see `unread`

export const question: Question = {
  asks: "What does a late reader cost, for each of a million small messages?",
  async run(bench) {
    const count = Math.ceil(COUNT * bench.options.scale);
    await using readers = new Readers();
    await using servers = await serversOf(bench.options, {
      args: ["--resource-sample-interval", "0"],
    });
    const late = (server: Server, door: Door): Candidate => ({
      name: `${server.name}, ${door}`,
      async run() {
        const reader = readers.of(door, server);
        await using session = await server.start(floodKernel());
        await session.send(execute(`flood ${count} 600 stream`));
        const before = await settled(server.pid);
        const flood = { count: Math.ceil(count * KEPT), least: 0 };
        const { ms } = await reader.catchUp(door, session, flood, {
          after: undefined,
        });
        const cost = (await settled(server.pid)) - before;
        const { messages } = await reader.detach();
        return {
          "server µs": cost / messages,
          "messages/s": (1000 * flood.count) / ms,
        };
      },
    });
    const { list } = servers;
    await bench.compare(
      "600 B",
      list.flatMap((server) => {
        const doors = ["channel", "trpc", "sse"] as const;
        const some = server.kind === "ours" ? doors : doors.slice(0, 1);
        return some.map((door) => late(server, door));
      }),
      { warmUp: 0 },
    );
  },
};
