/** Every operation: its input and its output. */
import { executions } from "./executions.ts";
import { external_kernels } from "./external-kernels.ts";
import { jupyter } from "./jupyter.ts";
import { jupyterRequests } from "./jupyter-requests.ts";
import { kernelspecs } from "./kernelspecs.ts";
import { server } from "./server.ts";
import { sessions } from "./sessions.ts";
import type { RouterOf } from "./trpc.ts";

export const contract = {
  sessions,
  executions,
  kernelspecs,
  server,
  external_kernels,
  jupyter: { ...jupyter, ...jupyterRequests },
} as const;

/** The router's type, for tRPC clients: `createTRPCClient<AppRouter>()`. */
export type AppRouter = RouterOf<typeof contract>;
