/**
 * Conformance kit: checks any `kcserver` executable from outside: which
 * behaviour it shares with Kallichore, and what a successor must do. It imports
 * nothing of the server under test.
 *
 *   npm run conformance -- /path/to/kcserver [--only PREFIX] [--slow] [--json] [--list]
 */
import { execFileSync } from "node:child_process";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { group as adopt } from "./items/adopt.ts";
import { group as channels } from "./items/channels.ts";
import { group as commandLine } from "./items/command-line.ts";
import { group as configuration } from "./items/configuration.ts";
import { group as environment } from "./items/environment.ts";
import { group as execute } from "./items/execute.ts";
import { group as failures } from "./items/failures.ts";
import { group as heartbeat } from "./items/heartbeat.ts";
import { group as history } from "./items/history.ts";
import { group as idleShutdown } from "./items/idle-shutdown.ts";
import { group as interrupt } from "./items/interrupt.ts";
import { group as keepAlive } from "./items/keep-alive.ts";
import { group as lifecycle } from "./items/lifecycle.ts";
import { group as python } from "./items/python.ts";
import { group as queue } from "./items/queue.ts";
import { group as registration } from "./items/registration.ts";
import { group as resources } from "./items/resources.ts";
import { group as rest } from "./items/rest.ts";
import { group as restart } from "./items/restart.ts";
import { group as shutdown } from "./items/shutdown.ts";
import { group as signals } from "./items/signals.ts";
import { group as startUp } from "./items/start-up.ts";
import { group as trust } from "./items/trust.ts";
import { group as unixSocket } from "./items/unix-socket.ts";
import { closeAll } from "./harness/ground.ts";
import { closing, line, summary } from "./harness/report.ts";
import { itemsOf, runAll } from "./harness/runner.ts";
import type { Result } from "./harness/runner.ts";

const GROUPS = [
  commandLine,
  startUp,
  signals,
  rest,
  trust,
  configuration,
  lifecycle,
  environment,
  failures,
  registration,
  channels,
  unixSocket,
  queue,
  execute,
  history,
  interrupt,
  restart,
  adopt,
  heartbeat,
  resources,
  shutdown,
  python,
  keepAlive,
  idleShutdown,
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: "string", default: "" },
    slow: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
    restarts: { type: "string", default: "20" },
    python: { type: "string" },
  },
});

for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => {
    void closeAll().finally(() => process.exit(130));
  });

const [kcserver] = positionals;
if (values.list) {
  for (const { id, mark, claim } of GROUPS.flatMap((group) => itemsOf(group)))
    console.log(`${id.padEnd(9)} ${mark.padEnd(6)} ${claim}`);
} else if (kcserver === undefined || positionals.length > 1) {
  console.error(
    "usage: conformance /path/to/kcserver [--only PREFIX] [--slow] [--json]",
  );
  process.exitCode = 2;
} else {
  process.exitCode = await judge(resolve(kcserver));
}

async function judge(path: string): Promise<number> {
  const settings = {
    kcserver: path,
    restarts: Number(values.restarts),
    python: pythonWithIpykernel(values.python),
  };
  const kernelless = await zeromqMissing();
  const { only, slow, json } = values;
  const results: Result[] = [];
  for await (const result of runAll(GROUPS, {
    settings,
    only,
    slow,
    kernelless,
  })) {
    results.push(result);
    if (!json) console.log(line(result));
  }
  if (json) {
    console.log(JSON.stringify(results, undefined, 2));
    console.error(closing(results)); // stdout must stay one JSON document
  } else {
    console.log(summary(results));
    console.log(closing(results));
  }
  return results.some((result) => result.outcome === "failed") ? 1 : 0;
}

/** The first Python that can run an ipykernel. */
function pythonWithIpykernel(wanted: string | undefined): string | undefined {
  const { VIRTUAL_ENV } = process.env;
  const active =
    VIRTUAL_ENV === undefined ? [] : [join(VIRTUAL_ENV, "bin", "python")];
  const candidates =
    wanted === undefined
      ? [...active, "python3", "/usr/bin/python3"]
      : [wanted];
  return candidates.find((candidate) => {
    try {
      execFileSync(candidate, ["-m", "ipykernel", "--version"], {
        stdio: "ignore",
        timeout: 10_000,
      });
      return true;
    } catch {
      return false; // there is no such Python, or it has no ipykernel
    }
  });
}

async function zeromqMissing(): Promise<string | undefined> {
  try {
    await import("zeromq");
    return undefined;
  } catch {
    return "npm zeromq cannot be loaded here, and the kit's kernels need it";
  }
}
