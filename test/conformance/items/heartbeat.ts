/** Heartbeats: a stopped kernel is offline, and when it continues it has its earlier status. */
import { at, equal } from "../harness/check.ts";
import type { Channel } from "../harness/channel.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import type { Server } from "../harness/server.ts";
import { Session } from "../harness/session.ts";

interface World {
  readonly server: Server;
  /** Two kernels are stopped until they are offline, and then continued; done once, by the first item that needs it. */
  readonly outage: () => Promise<Outage>;
}

interface Outage {
  readonly idle: Channel;
  readonly busy: Channel;
  readonly statusWhileAway: readonly unknown[];
}

/** Kallichore waits 5 s for an echo, after a pause of 2 s; the rest is for a slow machine. */
const OFFLINE_MS = 20_000;

export const group = outline<World>({
  id: "HEART",
  open: async (ground) => {
    const server = await ground.start();
    let once: Promise<Outage> | undefined;
    return { server, outage: () => (once ??= outage(server)) };
  },
  items: [
    {
      id: "HEART-01",
      claim:
        "a stopped kernel becomes `offline`, with the reason `lost heartbeat`",
      source: KALLICHORE,
      mark: "same",
      timeout_ms: 60_000,
      run: async ({ outage: seen }) => {
        const { idle, statusWhileAway } = await seen();
        const frame = await idle.event("status", "offline");
        equal(at(frame.body, "status", "reason"), "lost heartbeat", "reason");
        equal(statusWhileAway, ["offline", "offline"], "status while away");
      },
    },
    {
      id: "HEART-02",
      claim: "an idle kernel that continues is `idle` again",
      source: KALLICHORE,
      mark: "same",
      timeout_ms: 60_000,
      run: async ({ outage: seen }) => {
        const { idle } = await seen();
        const offline = await idle.event("status", "offline");
        await idle.event("status", "idle", {
          from: offline.index,
          within_ms: OFFLINE_MS,
        });
        equal(
          at((await idle.run("")).reply, "status"),
          "ok",
          "an execution after it",
        );
      },
    },
    {
      id: "HEART-03",
      claim: "a busy kernel that continues is `busy` again, not idle",
      source: FAULT,
      mark: "mended",
      timeout_ms: 60_000,
      run: async ({ outage: seen }) => {
        const { busy } = await seen();
        const { index } = await busy.event("status", "offline");
        const frame = await busy.event("status", undefined, {
          from: index + 1,
          within_ms: OFFLINE_MS,
        });
        equal(
          at(frame.body, "status", "status"),
          "busy",
          "the status after offline",
        );
      },
    },
    {
      id: "HEART-04",
      claim: "a stopped kernel can be killed",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        process.kill(await session.pid(), "SIGSTOP");
        equal((await session.post("kill")).status, 200, "kill");
        await channel.event("exited", -1);
      },
    },
  ],
});

async function outage(server: Server): Promise<Outage> {
  const sessions = [
    await Session.started(server),
    await Session.started(server),
  ] as const;
  const idle = await sessions[0].channel();
  const busy = await sessions[1].channel();
  await idle.run("");
  await sessions[0].becomes(["idle"]);
  await busy.busy(busy.execute("sleep 120"));
  await sessions[1].becomes(["busy"]);
  const pids = [await sessions[0].pid(), await sessions[1].pid()];
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  try {
    const wait = { within_ms: OFFLINE_MS };
    await Promise.all(
      [idle, busy].map((channel) => channel.event("status", "offline", wait)),
    );
    const details = await Promise.all(
      sessions.map((session) => session.details()),
    );
    const statusWhileAway = details.map((seen) => at(seen, "status"));
    return { idle, busy, statusWhileAway };
  } finally {
    for (const pid of pids) process.kill(pid, "SIGCONT");
  }
}
