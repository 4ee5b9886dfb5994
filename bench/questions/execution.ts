/** The cost of one execution for the server, and how much later its end arrives than at a client that is connected to the kernel itself. */
import { compareExecutions } from "../harness/executions.ts";
import type { Question } from "../harness/question.ts";
import { type Server, serversOf } from "../harness/server.ts";

export const question: Question = {
  asks: "What does one execution cost, and how much longer does it take than without a server?",
  async run(bench) {
    await using servers = await serversOf(bench.options, {
      jupyter: true,
      args: ["--resource-sample-interval", "0"],
    });
    await compareExecutions(bench, servers.list, {
      times: 300,
      warmUp: 500,
      waysOf,
    });
  },
};

function waysOf({ kind }: Server) {
  if (kind === "ours") return ["channel", "stock", "client", "rest"] as const;
  return kind === "kcserver"
    ? (["channel", "rest"] as const)
    : (["channel"] as const);
}
