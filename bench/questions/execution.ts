/** The cost of one execution for the server, and how much later its end arrives than at a client that is connected to the kernel itself. */
import { Executor } from "../harness/executor.ts";
import { floodKernel, pythonKernel } from "../harness/kernel.ts";
import { settled } from "../harness/process.ts";
import { type Candidate, median, type Question } from "../harness/question.ts";
import { type Server, serversOf } from "../harness/server.ts";
import { Stack } from "../harness/stack.ts";

const TIMES = 300;
const WARM_UP = 500;
const CODE = "1+1";

export const question: Question = {
  asks: "What does one execution cost, and how much longer does it take than without a server?",
  async run(bench) {
    const { ipykernel, scale } = bench.options;
    const times = Math.ceil(TIMES * scale);
    const warmUp = Math.ceil(WARM_UP * scale);
    await using servers = await serversOf(bench.options, {
      jupyter: true,
      args: ["--resource-sample-interval", "0"],
    });
    const kernels = {
      "tiny kernel": floodKernel(),
      ...(ipykernel === undefined
        ? {}
        : { ipykernel: pythonKernel(ipykernel) }),
    };
    for (const [kernel, argv] of Object.entries(kernels)) {
      await using stack = new Stack();
      let floor = NaN; // the time of this round without a server
      const direct = stack.use(new Executor());
      await direct.openDirect(argv);
      await direct.execute(CODE, warmUp);
      const candidates: Candidate[] = [];
      for (const server of servers.list) {
        for (const way of waysOf(server)) {
          const executor = stack.use(await opened(way, server, argv));
          try {
            await executor.execute(CODE, warmUp);
          } catch (error) {
            console.log(`${server.name} has no ${way}: ${String(error)}`);
            continue;
          }
          candidates.push({
            name: `${server.name}, ${named[way]}`,
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
      }
      await bench.compare(kernel, [
        ...candidates,
        {
          name: "direct",
          async run() {
            floor = median(await direct.execute(CODE, times));
            return { "p50 ms": floor };
          },
        },
      ]);
      await direct.close();
    }
  },
};

const named = {
  channel: "channel",
  stock: "stock tRPC client",
  client: "our client",
  rest: "REST",
};

function waysOf({ kind }: Server): (keyof typeof named)[] {
  if (kind === "ours") return ["channel", "stock", "client", "rest"];
  return kind === "kcserver" ? ["channel", "rest"] : ["channel"];
}

/** An executor with a session of its own, which ends with its server. */
async function opened(
  way: keyof typeof named,
  server: Server,
  argv: readonly string[],
): Promise<Executor> {
  const executor = new Executor();
  await executor.open(way, await server.start(argv));
  return executor;
}
