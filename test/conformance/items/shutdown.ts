/** POST /shutdown: it answers, and everything ends within a time limit, with any sessions. */
import { existsSync } from "node:fs";
import { join } from "node:path";

import { at, equal, holds, text } from "../harness/check.ts";
import type { Ground } from "../harness/ground.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import { alive, gone } from "../harness/processes.ts";
import { until } from "../harness/request.ts";
import type { Server } from "../harness/server.ts";
import { Session } from "../harness/session.ts";

const BOUND_MS = 30_000;

export const group = outline<Ground>({
  id: "DOWN",
  apart: true,
  open: (ground) => Promise.resolve(ground),
  items: [
    {
      id: "DOWN-01",
      claim: "without sessions: 200 null, then exit 0",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        await shutDown(await ground.start(), 5_000);
      },
    },
    {
      id: "DOWN-02",
      claim:
        "running kernels get a request to end, and end; sockets are removed",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const server = await ground.start({ transport: "socket" });
        const sessions = [
          await Session.started(server),
          await Session.started(server),
        ];
        const pids = [];
        for (const session of sessions) pids.push(await session.pid());
        await shutDown(server, 10_000);
        holds(
          !existsSync(text(at(server.connection, "socket_path"))),
          "the socket is there",
        );
        for (const pid of pids) await gone(pid);
      },
    },
    {
      id: "DOWN-03",
      claim: "the connection file is removed",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const server = await ground.start();
        await shutDown(server, 5_000);
        holds(
          !existsSync(join(server.home, "connection.json")),
          "it is still there",
        );
      },
    },
    {
      id: "DOWN-04",
      claim: "with a session that never started, the server ends too",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const server = await ground.start();
        await Session.create(server);
        await shutDown(server, 10_000);
      },
    },
    {
      id: "DOWN-05",
      claim: "with an exited session, it ends at once",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const server = await ground.start();
        const session = await Session.started(server);
        await session.post("kill");
        await session.becomes(["exited"]);
        await shutDown(server, 5_000);
      },
    },
    {
      id: "DOWN-06",
      claim:
        "with a kernel that ignores requests and signals, it ends within a time limit, and so does the kernel",
      source: FAULT,
      mark: "mended",
      timeout_ms: 60_000,
      run: async (ground) => {
        const server = await ground.start();
        const session = await Session.started(server, { kernel: ["stubborn"] });
        const pid = await session.pid();
        await shutDown(server, BOUND_MS);
        holds(!alive(pid), `kernel ${pid} runs on`);
      },
    },
    {
      id: "DOWN-07",
      claim:
        "with a start under way, it ends within a time limit, and nothing of the start is left",
      source: FAULT,
      mark: "mended",
      timeout_ms: 60_000,
      run: async (ground) => {
        const server = await ground.start();
        const session = await Session.create(server, { kernel: ["deaf"] });
        const starting = session.start().catch(() => undefined);
        const pid = await until(
          "process_id while it starts",
          () => session.pid(),
          {
            holds: (seen) => seen > 0,
          },
        );
        await shutDown(server, BOUND_MS);
        await starting;
        await gone(pid);
      },
    },
    {
      id: "DOWN-08",
      claim:
        "with a stopped kernel, it ends within a time limit, and the kernel is gone",
      source: FAULT,
      mark: "mended",
      timeout_ms: 60_000,
      run: async (ground) => {
        const server = await ground.start();
        const session = await Session.started(server);
        const pid = await session.pid();
        process.kill(pid, "SIGSTOP");
        await shutDown(server, BOUND_MS);
        holds(!alive(pid), `kernel ${pid} runs on`);
      },
    },
    {
      id: "DOWN-09",
      claim: "busy kernels and their children are ended too",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const server = await ground.start();
        const session = await Session.started(server);
        const channel = await session.channel();
        const child = Number(await channel.result("spawn"));
        await channel.busy(channel.execute("sleep 300"));
        await shutDown(server, BOUND_MS);
        await gone(child);
      },
    },
  ],
});

async function shutDown(server: Server, within_ms: number): Promise<void> {
  const answer = await server.request("POST", "/shutdown");
  equal([answer.status, answer.text], [200, "null"], "the answer");
  equal(
    await server.ended(within_ms),
    { code: 0, signal: null },
    `exit in ${within_ms} ms`,
  );
}
