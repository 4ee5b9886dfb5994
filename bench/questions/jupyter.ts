/** The cost of Jupyter's doors: to relay a message from a kernel to a reader of `v1`, and to execute code with JupyterLab's own client library. */
import { Executor } from "../harness/executor.ts";
import { candidatesOf, cases } from "../harness/flood.ts";
import { floodKernel, pythonKernel } from "../harness/kernel.ts";
import { settled } from "../harness/process.ts";
import {
  type Bench,
  type Candidate,
  median,
  type Question,
} from "../harness/question.ts";
import { Readers } from "../harness/readers.ts";
import { type Server, serversOf } from "../harness/server.ts";
import { Stack } from "../harness/stack.ts";

const TIMES = 200;
const WARM_UP = 300;
const CODE = "1+1";

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
    await executed(bench, list);
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

async function executed(bench: Bench, servers: readonly Server[]) {
  const { ipykernel, scale } = bench.options;
  const times = Math.ceil(TIMES * scale);
  const warmUp = Math.ceil(WARM_UP * scale);
  const kernels = {
    "tiny kernel": floodKernel(),
    ...(ipykernel === undefined ? {} : { ipykernel: pythonKernel(ipykernel) }),
  };
  for (const [kernel, argv] of Object.entries(kernels)) {
    await using stack = new Stack();
    const direct = stack.use(new Executor());
    await direct.openDirect(argv);
    await direct.execute(CODE, warmUp);
    let floor = NaN; // of this round
    const candidates: Candidate[] = [];
    for (const server of servers) {
      const executor = stack.use(new Executor());
      await executor.open("lab", await server.start(argv));
      await executor.execute(CODE, warmUp);
      candidates.push({
        name: `${server.name}, JupyterLab's client`,
        async run() {
          const before = await settled(server.pid);
          const p50 = median(await executor.execute(CODE, times));
          const cost = (await settled(server.pid)) - before;
          return {
            "server ms": cost / 1000 / times,
            "p50 ms": p50,
            "p50 ms over direct": p50 - floor,
          };
        },
      });
    }
    await bench.compare(`1+1, ${kernel}`, [
      {
        name: "direct",
        async run() {
          floor = median(await direct.execute(CODE, times));
          return { "p50 ms": floor };
        },
      },
      ...candidates,
    ]);
    await direct.close();
  }
}
