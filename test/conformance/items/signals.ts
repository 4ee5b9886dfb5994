/** Signals: every polite one ends the server and everything that it started; under nohup, SIGHUP does not. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { at, equal, holds, shown, text } from "../harness/check.ts";
import type { Ground } from "../harness/ground.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import type { Item } from "../harness/item.ts";
import { alive, gone } from "../harness/processes.ts";
import { Session, kernelArgv } from "../harness/session.ts";

const BOUND_MS = 25_000;

export const group = outline<Ground>({
  id: "SIG",
  apart: true,
  open: (ground) => Promise.resolve(ground),
  items: [
    graceful("SIG-01", "SIGTERM", "same"),
    graceful("SIG-02", "SIGINT", "same"),
    graceful("SIG-03", "SIGHUP", "mended"),
    {
      id: "SIG-04",
      claim:
        "connection file and an explicit --unix-socket are removed on SIGTERM",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const socket = join(ground.home(), "mine.sock");
        const server = await ground.start({
          transport: "socket",
          args: ["--unix-socket", socket],
        });
        server.signal("SIGTERM");
        equal(await server.ended(BOUND_MS), { code: 0, signal: null }, "exit");
        holds(!existsSync(socket), "the socket is still there");
        const file = join(server.home, "connection.json");
        holds(!existsSync(file), "the connection file is still there");
      },
    },
    {
      id: "SIG-05",
      claim: "a session that never started does not delay the end",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const server = await ground.start();
        await Session.create(server);
        server.signal("SIGTERM");
        equal(
          await server.ended(5_000),
          { code: 0, signal: null },
          "exit within 5 s",
        );
      },
    },
    {
      id: "SIG-06",
      claim:
        "a kernel that ignores every request and signal is ended with the server, within a time limit",
      source: FAULT,
      mark: "mended",
      timeout_ms: 60_000,
      run: async (ground) => {
        const server = await ground.start();
        const session = await Session.started(server, { kernel: ["stubborn"] });
        const pid = await session.pid();
        server.signal("SIGTERM");
        const exit = await server.ended(BOUND_MS);
        holds(exit !== undefined, `the server runs on after ${BOUND_MS} ms`);
        holds(!alive(pid), `kernel ${pid} runs on`);
      },
    },
    {
      id: "SIG-07",
      claim: "a second SIGTERM during the end has no bad effect",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const server = await ground.start();
        const session = await Session.started(server);
        const pid = await session.pid();
        server.signal("SIGTERM");
        server.signal("SIGTERM");
        equal(await server.ended(BOUND_MS), { code: 0, signal: null }, "exit");
        await gone(pid);
      },
    },
    {
      id: "SIG-08",
      claim: "SIGTERM during a start ends server and kernel",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const server = await ground.start();
        const session = await Session.create(server, { kernel: ["deaf"] });
        const starting = session.start().catch(() => undefined);
        await session.becomes(["starting"]);
        server.signal("SIGTERM");
        const exit = await server.ended(BOUND_MS);
        equal(exit, { code: 0, signal: null }, "exit");
        await starting;
      },
    },
    {
      id: "SIG-10",
      claim:
        "started with SIGHUP ignored (nohup), the server survives SIGHUP, and SIGTERM still ends it",
      source: "Positron keeps its supervisor with nohup",
      mark: "same",
      run: async (ground) => {
        const server = await ground.start({ through: NOHUP });
        server.signal("SIGHUP");
        await sleep(300); // a server that handles the signal needs a moment to end
        equal(
          (await server.anonymous("GET", "/status")).status,
          200,
          "GET /status",
        );
        server.signal("SIGTERM");
        equal(await server.ended(BOUND_MS), { code: 0, signal: null }, "exit");
      },
    },
    {
      id: "SIG-11",
      claim:
        "under nohup kernels start with SIGINT at its default, and interrupts work",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const server = await ground.start({ through: NOHUP });
        const seen = join(server.home, "dispositions");
        const script = `grep SigIgn /proc/self/status > '${seen}'; exec "$@"`;
        const argv = ["/bin/sh", "-c", script, "sh", ...kernelArgv("obedient")];
        const session = await Session.started(server, { body: { argv } });
        const mask = BigInt(
          `0x${/SigIgn:\s*(\S+)/.exec(readFileSync(seen, "utf8"))?.[1] ?? "0"}`,
        );
        holds((mask & 2n) === 0n, `SIGINT is ignored: ${mask.toString(16)}`);
        const channel = await session.channel();
        const msg_id = channel.execute("sleep 60");
        await channel.busy(msg_id);
        equal((await session.post("interrupt")).status, 200, "interrupt");
        equal(
          at(await channel.reply(msg_id), "status"),
          "error",
          "the interrupted reply",
        );
      },
    },
    {
      id: "SIG-12",
      claim:
        "kernels are in their own process group, and their stdin is at its end",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const server = await ground.start();
        const session = await Session.started(server);
        const pid = await session.pid();
        const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
        const group_id = Number(
          stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2],
        );
        equal(group_id, pid, "the kernel's process group");
        const channel = await session.channel();
        equal(
          await channel.result("stdin"),
          "",
          "what the kernel reads on stdin",
        );
      },
    },
    {
      id: "SIG-13",
      claim: "an open channel does not delay the end, and is closed",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const server = await ground.start();
        const session = await Session.started(server);
        const channel = await session.channel();
        server.signal("SIGTERM");
        equal(await server.ended(BOUND_MS), { code: 0, signal: null }, "exit");
        const code = await channel.closed;
        holds(code > 0, `close code ${shown(code)}`);
      },
    },
  ],
});

/** As `nohup … &` of a non-interactive shell sets them. */
const NOHUP = ["/bin/sh", "-c", `trap '' HUP INT QUIT; exec "$@"`, "sh"];

function graceful(
  id: string,
  signal: NodeJS.Signals,
  mark: "same" | "mended",
): Item<Ground> {
  return {
    id,
    claim: `${signal}: exit 0, the server's socket removed, kernels gone`,
    source: mark === "same" ? KALLICHORE : FAULT,
    mark,
    run: async (ground) => {
      const server = await ground.start({ transport: "socket" });
      const session = await Session.started(server);
      const pid = await session.pid();
      holds(alive(pid), `process_id ${pid} is no process`);
      server.signal(signal);
      equal(await server.ended(BOUND_MS), { code: 0, signal: null }, "exit");
      const socket = text(at(server.connection, "socket_path"));
      holds(!existsSync(socket), "the socket is still there");
      await gone(pid);
    },
  };
}
