/** Processor time of the server for each message of a flood, by size and by door. */
import { candidatesOf, cases, flood } from "../harness/flood.ts";
import { startPlain } from "../harness/plain.ts";
import type { Question } from "../harness/question.ts";
import { Readers } from "../harness/readers.ts";
import { serversOf } from "../harness/server.ts";

export const question: Question = {
  asks: "What does it cost to relay one message from a kernel to one reader?",
  async run(bench) {
    const { scale } = bench.options;
    await using readers = new Readers();
    await using servers = await serversOf(bench.options, {
      jupyter: true,
      args: ["--resource-sample-interval", "0"],
    });
    servers.list.push(
      await startPlain("plain", { does: "relay", driver: "zmtp" }),
    );
    await using floor = await startPlain("floor", {
      does: "verify",
      driver: "zmtp",
    });
    for (const what of cases) {
      await bench.compare(what.name, [
        ...candidatesOf(what, servers.list, {
          doors: ["channel", "stock", "client", "trpc", "sse", "none"],
          readers,
          scale,
        }),
        {
          name: "floor: signatures only",
          run: () => flood(what, { server: floor, scale }),
        },
      ]);
    }
  },
};
