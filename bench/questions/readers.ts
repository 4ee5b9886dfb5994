/** The cost of each further reader of the same session: ten readers compared with one. The channel has one owner, so further readers use tRPC and SSE. */
import { type Case, cases, flood } from "../harness/flood.ts";
import type { Candidate, Question } from "../harness/question.ts";
import type { Door } from "../harness/reader.ts";
import { Readers } from "../harness/readers.ts";
import { type Server, serversOf } from "../harness/server.ts";

const MANY = 10;

export const question: Question = {
  asks: "What does each further reader cost?",
  async run(bench) {
    const { scale } = bench.options;
    await using readers = new Readers();
    await using servers = await serversOf(bench.options, {
      args: ["--resource-sample-interval", "0"],
    });
    const ours = servers.list.filter(({ kind }) => kind === "ours");
    const further = (what: Case, server: Server, door: Door): Candidate => ({
      name: `${server.name}, ${door === "trpc" ? "tRPC" : "SSE"}`,
      async run() {
        const reader = readers.of(door, server);
        const cost = async (count: number) => {
          const how = { server, door, reader, readers: count, scale };
          return (await flood(what, how))["server µs"] ?? NaN;
        };
        const [one, many] = [await cost(1), await cost(MANY)];
        return { "µs for each further": (many - one) / (MANY - 1), one, many };
      },
    });
    for (const what of cases.slice(0, 3)) {
      await bench.compare(
        what.name,
        ours.flatMap((server) => [
          further(what, server, "trpc"),
          further(what, server, "sse"),
        ]),
      );
    }
  },
};
