/** Processor time of a server and its keeper for each message of a flood, and the time of `1+1`, beside those of a server without `--keep`. */
import { compareExecutions } from "../harness/executions.ts";
import { candidatesOf, cases } from "../harness/flood.ts";
import type { Question } from "../harness/question.ts";
import { Readers } from "../harness/readers.ts";
import { Servers, startServe } from "../harness/server.ts";

export const question: Question = {
  asks: "What does --keep cost for one message from a kernel to one reader, and for one execution?",
  async run(bench) {
    const { scale, ours } = bench.options;
    await using readers = new Readers();
    await using servers = new Servers();
    for (const checkout of ours) {
      for (const isKeeping of [false, true]) {
        servers.list.push(await startServe(checkout, { isKeeping }));
      }
    }
    for (const what of cases) {
      for (const door of ["channel", "none"] as const) {
        const how = { doors: [door], readers, scale };
        const candidates = candidatesOf(what, servers.list, how);
        await bench.compare(`${what.name}, ${door}`, candidates);
      }
    }
    await compareExecutions(bench, servers.list, {
      times: 300,
      warmUp: 500,
      waysOf: () => ["channel"],
      title: "1+1, ",
    });
  },
};
