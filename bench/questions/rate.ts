/** The number of small messages that arrive at one reader in a second, while the publisher, the server and the reader share the machine. */
import { candidatesOf, cases } from "../harness/flood.ts";
import type { Question } from "../harness/question.ts";
import { Readers } from "../harness/readers.ts";
import { serversOf } from "../harness/server.ts";

export const question: Question = {
  asks: "How many small messages a second arrive at one reader?",
  async run(bench) {
    await using readers = new Readers();
    await using servers = await serversOf(bench.options, { jupyter: true });
    for (const what of cases.slice(0, 1)) {
      const candidates = candidatesOf(what, servers.list, {
        doors: ["channel", "trpc"],
        readers,
        scale: bench.options.scale,
      });
      await bench.compare(
        what.name,
        candidates.map(({ name, run }) => ({
          name,
          async run() {
            const { "messages/s": rate = NaN } = await run();
            return { "messages/s": rate };
          },
        })),
      );
    }
  },
};
