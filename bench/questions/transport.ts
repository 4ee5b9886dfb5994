/** The cost to receive one message with each driver for ZeroMQ, without any further work. */
import { cases, flood } from "../harness/flood.ts";
import { startPlain } from "../harness/plain.ts";
import type { Question } from "../harness/question.ts";

export const question: Question = {
  asks: "What does it cost to receive one message, with each driver?",
  async run(bench) {
    const { scale } = bench.options;
    await using zmtp = await startPlain("zmtp", {
      does: "receive",
      driver: "zmtp",
    });
    await using libzmq = await startPlain("libzmq", {
      does: "receive",
      driver: "libzmq",
    });
    for (const what of cases.slice(0, 3)) {
      await bench.compare(
        what.name,
        [zmtp, libzmq].map((server) => ({
          name: server.name,
          run: () => flood(what, { server, scale }),
        })),
      );
    }
  },
};
