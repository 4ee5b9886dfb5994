/** Measures one execution of `1+1` through servers, beside a client that talks to the kernel itself. */
import { Executor, type Way } from "./executor.ts";
import { floodKernel, pythonKernel } from "./kernel.ts";
import { settled } from "./process.ts";
import { type Bench, type Candidate, median } from "./question.ts";
import type { Server } from "./server.ts";
import { Stack } from "./stack.ts";

const CODE = "1+1";

const named = {
  channel: "channel",
  stock: "stock tRPC client",
  client: "our client",
  rest: "REST",
  lab: "JupyterLab's client",
};

export interface ExecutionOptions {
  /** Executions in each round, and before the first one. */
  readonly times: number;
  readonly warmUp: number;
  readonly waysOf: (server: Server) => readonly Exclude<Way, "direct">[];
  /** What is printed before the name of the kernel. */
  readonly title?: string;
}

/** In the tiny kernel, and in ipykernel if a Python is given. */
export async function compareExecutions(
  bench: Bench,
  servers: readonly Server[],
  options: ExecutionOptions,
): Promise<void> {
  const { ipykernel, scale } = bench.options;
  const { waysOf, title = "" } = options;
  const times = Math.ceil(options.times * scale);
  const warmUp = Math.ceil(options.warmUp * scale);
  const kernels = {
    "tiny kernel": floodKernel(),
    ...(ipykernel === undefined ? {} : { ipykernel: pythonKernel(ipykernel) }),
  };
  for (const [kernel, argv] of Object.entries(kernels)) {
    await using stack = new Stack();
    let floor = NaN; // the time of this round without a server
    const direct = stack.use(new Executor());
    await direct.openDirect(argv);
    await direct.execute(CODE, warmUp);
    const candidates: Candidate[] = [];
    for (const server of servers) {
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
    await bench.compare(`${title}${kernel}`, [
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
}

/** An executor with a session of its own, which ends with its server. */
async function opened(
  way: Exclude<Way, "direct">,
  server: Server,
  argv: readonly string[],
): Promise<Executor> {
  const executor = new Executor();
  await executor.open(way, await server.start(argv));
  return executor;
}
