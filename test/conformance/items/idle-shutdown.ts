/** Idle shutdown with the shortest setting, 30 s. Five servers wait side by side, once. These items are slow. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";

import { equal, holds } from "../harness/check.ts";
import type { Ground } from "../harness/ground.ts";
import { KALLICHORE, group as outline } from "../harness/item.ts";
import type { Exit, Server } from "../harness/server.ts";
import { Session } from "../harness/session.ts";

interface World {
  readonly waited: () => Promise<Waited>;
}

interface Waited {
  readonly without: Exit | undefined;
  readonly withIdleKernel: Exit | undefined;
  readonly heartbeat: {
    readonly server: Server;
    readonly client: ChildProcess;
  };
  readonly connected: Server;
  readonly busy: Server;
}

const SLOW = {
  source: KALLICHORE,
  mark: "same",
  slow: true,
  timeout_ms: 180_000,
} as const;
/** One and a half periods: by then a server that counts as idle has ended. */
const PERIOD_MS = 45_000;
/** The longest time for a server that saw its last client just after a tick. */
const PERIODS_MS = 70_000;

export const group = outline<World>({
  id: "IDLE",
  open: (ground) => {
    let once: Promise<Waited> | undefined;
    return Promise.resolve({ waited: () => (once ??= wait(ground)) });
  },
  items: [
    {
      id: "IDLE-01",
      claim: "0 hours: a server without sessions ends after 30 s, with 0",
      ...SLOW,
      run: async ({ waited }) => {
        equal((await waited()).without, { code: 0, signal: null }, "exit");
      },
    },
    {
      id: "IDLE-02",
      claim:
        "so does one with an idle kernel and no client, and the kernel ends with it",
      ...SLOW,
      run: async ({ waited }) => {
        equal(
          (await waited()).withIdleKernel,
          { code: 0, signal: null },
          "exit",
        );
      },
    },
    {
      id: "IDLE-03",
      claim:
        "the pid of a client's heartbeat keeps the server while that process lives, and no longer",
      source: "positron#8048, positron#7909",
      mark: "same",
      slow: true,
      timeout_ms: 180_000,
      run: async ({ waited }) => {
        const { server, client } = (await waited()).heartbeat;
        holds(
          !server.hasExited(),
          "it ended though the client's process lives",
        );
        client.kill("SIGKILL");
        equal(
          await server.ended(PERIODS_MS),
          { code: 0, signal: null },
          "exit after it",
        );
      },
    },
    {
      id: "IDLE-04",
      claim: "an open channel keeps the server",
      ...SLOW,
      run: async ({ waited }) => {
        holds(!(await waited()).connected.hasExited(), "it ended");
      },
    },
    {
      id: "IDLE-05",
      claim: "a busy kernel keeps the server",
      ...SLOW,
      run: async ({ waited }) => {
        holds(!(await waited()).busy.hasExited(), "it ended");
      },
    },
  ],
});

async function wait(ground: Ground): Promise<Waited> {
  const start = () => ground.start({ args: ["--idle-shutdown-hours", "0"] });
  const without = await start();
  const withIdleKernel = await start();
  await Session.started(withIdleKernel);
  const heartbeat = await start();
  const client = ground.owned(spawn("sleep", ["170"], { stdio: "ignore" }));
  const body = { process_id: client.pid };
  await heartbeat.request("POST", "/client_heartbeat", { body });
  const connected = await start();
  await (await Session.started(connected)).channel();
  const busy = await start();
  const session = await Session.started(busy);
  const channel = await session.channel();
  await channel.busy(channel.execute("sleep 170"));
  await channel.close();
  const quiet = performance.now();
  const [first, second] = await Promise.all(
    [without, withIdleKernel].map((server) => server.ended(PERIODS_MS)),
  );
  await sleep(Math.max(0, quiet + PERIOD_MS - performance.now()));
  return {
    without: first,
    withIdleKernel: second,
    heartbeat: { server: heartbeat, client },
    connected,
    busy,
  };
}
