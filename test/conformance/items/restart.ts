/** Restarts: the order of events, many restarts, restarts of dead sessions, with a new environment and directory. */
import { realpathSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import { at, equal, holds, shown } from "../harness/check.ts";
import { life } from "../harness/channel.ts";
import type { Channel } from "../harness/channel.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import { alive, gone } from "../harness/processes.ts";
import type { Server } from "../harness/server.ts";
import { Session } from "../harness/session.ts";

interface World {
  readonly server: Server;
  readonly restarts: number;
}

const ORDER = "positron#10016, positron#10546";

export const group = outline<World>({
  id: "RERUN",
  open: async (ground) => ({
    server: await ground.start(),
    restarts: ground.settings.restarts,
  }),
  items: [
    {
      id: "RERUN-01",
      claim: "restart: 200 null, another process, the same channel",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        const first = Number(await channel.result("pid"));
        const answer = await session.restart();
        equal([answer.status, answer.text], [200, "null"], "the answer");
        const second = await channel.result("pid");
        holds(second !== first, `both runs have pid ${first}`);
        equal(await session.pid(), second, "process_id");
        await gone(first);
      },
    },
    {
      id: "RERUN-02",
      claim:
        "O1 to O5: `exited`, its code once, `starting`, then ready or idle, and no later message of the old run",
      source: ORDER,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        await channel.run("");
        const from = channel.frames.length;
        await session.restart();
        await channel.run("");
        const received = life(channel.frames.slice(from));
        isRestart(received.slice(received.indexOf("status:exited")));
      },
    },
    {
      id: "RERUN-03",
      claim:
        "the same order, in many fast restarts on one channel, with an execution after each",
      source: ORDER,
      mark: "mended",
      timeout_ms: 3_600_000, // each restart has a bound of its own
      run: async ({ server, restarts }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        const runs = new Set<unknown>([await channel.result("run")]);
        const pids = new Set<unknown>([await session.pid()]);
        for (let i = 0; i < restarts; i += 1) {
          const from = channel.frames.length;
          equal((await session.restart()).status, 200, `restart ${i + 1}`);
          runs.add(await channel.result("run")); // the same pid may occur twice in a thousand
          pids.add(await session.pid());
          const received = life(channel.frames.slice(from));
          isRestart(received.slice(received.indexOf("status:exited")));
        }
        equal(runs.size, restarts + 1, "different kernels");
        const living = [...pids].filter((pid) => alive(Number(pid)));
        equal(living, [await session.pid()], "processes still alive");
      },
    },
    {
      id: "RERUN-04",
      claim: "a restart during an execution ends it, in the same order",
      source: ORDER,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        const msg_id = channel.execute("sleep 60");
        await channel.busy(msg_id);
        const from = channel.frames.length;
        equal((await session.restart()).status, 200, "restart");
        await channel.run("");
        const received = life(channel.frames.slice(from));
        isRestart(received.slice(received.indexOf("status:exited")));
      },
    },
    {
      id: "RERUN-05",
      claim: "a restart of a session with a dead kernel starts it",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        await session.post("kill");
        await session.becomes(["exited"]);
        equal((await session.restart()).status, 200, "restart");
        const channel = await session.channel();
        equal(
          at((await channel.run("sleep 0.3")).reply, "status"),
          "ok",
          "an execution",
        );
        holds(alive(await session.pid()), "the new kernel is gone");
      },
    },
    {
      id: "RERUN-06",
      claim: "a restart of a session that never started starts it",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.create(server);
        equal((await session.restart()).status, 200, "restart");
        holds(alive(await session.pid()), "no kernel");
      },
    },
    {
      id: "RERUN-07",
      claim:
        "a new env replaces the list of actions, for later restarts too; an empty one keeps it",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const env = [{ action: "replace", name: "FIRST", value: "1" }];
        const session = await Session.started(server, { body: { env } });
        const channel = await session.channel();
        await session.restart({ env: [] });
        equal(
          await channel.result("env FIRST"),
          "1",
          "FIRST after an empty env",
        );
        const second = [{ action: "replace", name: "SECOND", value: "2" }];
        await session.restart({ env: second });
        equal(await channel.result("env SECOND"), "2", "SECOND");
        equal(await channel.result("env FIRST"), null, "FIRST");
        await session.restart();
        equal(
          await channel.result("env SECOND"),
          "2",
          "SECOND, a restart later",
        );
      },
    },
    {
      id: "RERUN-08",
      claim:
        "a new working_directory is used and reported; ~ is the home directory",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        await session.restart({ working_directory: "/usr" });
        equal(await channel.result("cwd"), "/usr", "cwd");
        equal(
          at(await session.details(), "working_directory"),
          "/usr",
          "as shown",
        );
        await session.restart({ working_directory: "~" });
        equal(
          await channel.result("cwd"),
          realpathSync(`${server.home}/home`),
          "cwd of ~",
        );
      },
    },
    {
      id: "RERUN-09",
      claim:
        "a working_directory that does not exist is ignored; without one the kernel's own is kept",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        await channel.run("chdir /usr");
        equal((await session.restart()).status, 200, "restart");
        equal(
          await channel.result("cwd"),
          "/usr",
          "the kernel's own directory",
        );
        equal(
          (await session.restart({ working_directory: "/no/such" })).status,
          200,
          "again",
        );
        equal(
          await channel.result("cwd"),
          "/usr",
          "with a directory that does not exist",
        );
      },
    },
    {
      id: "RERUN-10",
      claim: "a restart during a restart is 500 KS-13, a StartupError",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server, { kernel: ["slow"] });
        const first = session.restart();
        const second = await session.restart();
        equal(second.status, 500, "status code of the second");
        equal(at(second.body, "error", "code"), "KS-13", shown(second.body));
        equal((await first).status, 200, "status code of the first");
      },
    },
    {
      id: "RERUN-11",
      claim:
        "a kernel that ignores shutdown_request and SIGTERM is restarted too, within a time limit",
      source: FAULT,
      mark: "mended",
      timeout_ms: 60_000,
      run: async ({ server }) => {
        const session = await Session.started(server, { kernel: ["stubborn"] });
        const channel = await session.channel();
        const first = Number(await channel.result("pid"));
        equal((await session.restart()).status, 200, "restart");
        holds(!alive(first), "the old kernel lives on");
        await session.post("kill");
      },
    },
    {
      id: "RERUN-12",
      claim:
        "a restart without a body, with null, with {} and with unknown fields is the same",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        for (const raw of ["", "null", "{}", '{"future":1}']) {
          const answer = await session.post("restart", {
            raw,
            timeout_ms: 20_000,
          });
          equal(answer.status, 200, `status code with ${shown(raw)}`);
        }
      },
    },
    {
      id: "RERUN-13",
      claim: "children of the old kernel are ended by its restart",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        const child = Number(await channel.result("spawn"));
        await session.restart();
        await gone(child);
      },
    },
    {
      id: "RERUN-14",
      claim:
        "a restart together with a kill, an exit, a shutdown_request, an interrupt, another restart or a reconnect keeps the order, and leaves a session that works",
      source: ORDER,
      mark: "mended",
      timeout_ms: 180_000,
      run: async ({ server }) => {
        for (const [what, meets] of Object.entries(MEETINGS)) {
          for (const wait_ms of [0, 30]) {
            const session = await Session.started(server);
            const channel = await session.channel();
            await channel.run("");
            const rerun = session.restart();
            await sleep(wait_ms);
            await meets(session, channel);
            await rerun;
            const met = `${what}, ${wait_ms} ms after`;
            const received = channel.isOpen()
              ? channel
              : await session.channel();
            await worksAgain(session, received, met);
            isInOrder(life(channel.frames), met);
            await session.post("kill");
            await received.close();
          }
        }
      },
    },
  ],
});

/** The situations in which a restart may occur. */
const MEETINGS: Readonly<
  Record<string, (session: Session, channel: Channel) => unknown>
> = {
  kill: (session) => session.post("kill"),
  exit: (_, channel) => channel.execute("exit 3"),
  shutdown_request: (_, channel) =>
    channel.send({
      msg_type: "shutdown_request",
      content: { restart: false },
      channel: "control",
    }),
  interrupt: (session) => session.post("interrupt"),
  restart: (session) => session.restart(),
  reconnect: (session) => session.channel(),
};

/** At once, or after a restart if the situation has ended the new kernel. */
async function worksAgain(
  session: Session,
  channel: Channel,
  met: string,
): Promise<void> {
  const works = async () => {
    await session.becomes(["idle", "ready", "busy", "exited"], 20_000);
    if (at(await session.details(), "status") === "exited") {
      equal((await session.restart()).status, 200, `restart, ${met}`);
    }
    await channel.run("", { within_ms: 20_000 });
  };
  // The kernel may be ending at the time of the request.
  await works().catch(works);
}

/** Each run begins after the end of the one before, and ends once. */
function isInOrder(received: readonly string[], met: string): void {
  let last = "exited";
  for (const event of received) {
    const name = event.replace(/^exited:.*/, "exited");
    const before = BEFORE[name];
    if (before === undefined) continue;
    holds(before.includes(last), `${met}: ${shown(received)}`);
    last = name;
  }
}

const BEFORE: Readonly<Record<string, readonly string[]>> = {
  "status:starting": ["exited"],
  "status:exited": ["status:starting"],
  exited: ["status:exited"],
};

/** exited, its code, starting, perhaps ready, then the kernel's busy and idle. */
function isRestart(received: readonly string[]): void {
  const [exited, code = "", starting, ...after] = received;
  const order = [exited, code.replace(/:.*/, ""), starting];
  equal(
    order,
    ["status:exited", "exited", "status:starting"],
    `the order of ${shown(received)}`,
  );
  const late = after.filter((event) => /exited|starting/.test(event));
  equal(late, [], `what came late in ${shown(received)}`);
  holds(
    after.indexOf("status:ready") <= 0,
    `\`ready\` came late in ${shown(received)}`,
  );
}
