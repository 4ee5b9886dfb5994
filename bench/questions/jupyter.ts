/** The cost of Jupyter's doors: to relay a message from a kernel to a reader of `v1`, and to execute code with JupyterLab's own client library. */
import { compareExecutions } from "../harness/executions.ts";
import { candidatesOf, cases } from "../harness/flood.ts";
import type { Bench, Question } from "../harness/question.ts";
import { Readers } from "../harness/readers.ts";
import { type Server, serversOf } from "../harness/server.ts";

export const question: Question = {
  asks: "What do Jupyter's clients cost, and how much later do they receive the end of code?",
  async run(bench) {
    await using servers = await serversOf(bench.options, {
      jupyter: true,
      args: ["--resource-sample-interval", "0"],
    });
    const list = (["jupyter", "ours"] as const).flatMap((name) =>
      servers.list.filter(({ kind }) => kind === name),
    );
    await relayed(bench, list);
    await compareExecutions(bench, list, {
      times: 200,
      warmUp: 300,
      title: "1+1, ",
      waysOf: () => ["lab"],
    });
  },
};

/** The other servers are compared with Jupyter Server, if it is given. */
async function relayed(bench: Bench, servers: readonly Server[]) {
  const { scale } = bench.options;
  await using readers = new Readers();
  for (const what of cases.slice(0, 2)) {
    await bench.compare(
      `v1, ${what.name}`,
      servers.flatMap((server) =>
        candidatesOf(what, [server], {
          doors: ["v1", "channel"],
          readers,
          scale: server.kind === "jupyter" ? scale / 4 : scale,
        }),
      ),
    );
  }
}
