/** The answers to all operations of the contract. */
import { executions } from "./executions.ts";
import { external_kernels } from "./external-kernels.ts";
import type { Answers } from "./implement.ts";
import { jupyter } from "./jupyter.ts";
import { jupyterRequests } from "./jupyter-requests.ts";
import { kernelspecs } from "./kernelspecs.ts";
import { server } from "./server.ts";
import { sessions } from "./sessions.ts";

export const answers: Answers = {
  sessions,
  executions,
  kernelspecs,
  server,
  external_kernels,
  jupyter: { ...jupyter, ...jupyterRequests },
};
