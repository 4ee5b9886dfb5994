/** Resource usage: sampled while there are readers, for the kernel's whole tree, at the configured interval. */
import { setTimeout as sleep } from "node:timers/promises";

import { at, equal, holds, keys, shown } from "../harness/check.ts";
import { eventName } from "../harness/channel.ts";
import type { Channel } from "../harness/channel.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import type { Server } from "../harness/server.ts";
import { Session } from "../harness/session.ts";

interface World {
  readonly server: Server;
}

const FIELDS = [
  "cpu_percent",
  "memory_bytes",
  "thread_count",
  "sampling_period_ms",
  "timestamp",
];

export const group = outline<World>({
  id: "USE",
  open: async (ground) => ({
    server: await ground.start({ args: ["-r", "200"] }),
  }),
  items: [
    {
      id: "USE-01",
      claim:
        "resourceUsage has its five integers, a plausible memory and the current period",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const { channel } = await attached(server);
        const usage = await next(channel);
        for (const field of FIELDS)
          holds(
            Number.isInteger(at(usage, field)),
            `${field}: ${shown(usage)}`,
          );
        equal(at(usage, "sampling_period_ms"), 200, "sampling_period_ms");
        const memory = Number(at(usage, "memory_bytes"));
        holds(memory > 10e6 && memory < 2e9, `memory_bytes ${memory}`);
        const age = Math.abs(Date.now() - Number(at(usage, "timestamp")));
        holds(age < 60_000, `timestamp is ${age} ms off`);
      },
    },
    {
      id: "USE-02",
      claim: "the last sample is the session's resource_usage",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const { session, channel } = await attached(server);
        await next(channel);
        const usage = at(await session.details(), "resource_usage");
        equal([...keys(usage)].sort(), [...FIELDS].sort(), "keys");
      },
    },
    {
      id: "USE-03",
      claim: "a busy kernel has a cpu_percent near a whole core",
      source: FAULT, // counted against the time of all processors, of which a container sees some
      mark: "mended",
      run: async ({ server }) => {
        const { channel } = await attached(server);
        await next(channel);
        const msg_id = channel.execute("burn 2");
        await channel.busy(msg_id);
        const from = channel.frames.length;
        await channel.idle(msg_id);
        const shares = channel.frames
          .slice(from)
          .filter((frame) => eventName(frame) === "resourceUsage")
          .map((frame) =>
            Number(at(frame.body, "resourceUsage", "cpu_percent")),
          );
        const most = Math.max(0, ...shares);
        // On a busy machine one thread gets less than a core, and never much more.
        holds(
          most >= 20 && most <= 250,
          `cpu_percent while burning: ${shown(shares)}`,
        );
      },
    },
    {
      id: "USE-04",
      claim: "a child in its own process group counts too",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const { channel } = await attached(server);
        const before = Number(at(await next(channel), "thread_count"));
        await channel.run("spawn detached\nspawn detached");
        await channel.waitFor(
          `more than ${before} threads`,
          (frame) =>
            Number(at(frame.body, "resourceUsage", "thread_count")) >=
            before + 2,
        );
      },
    },
    {
      id: "USE-05",
      claim: "kernels without readers are not sampled",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        await sleep(700); // three and a half periods
        const details = await session.details();
        holds(
          !keys(details).includes("resource_usage"),
          "resource_usage is there",
        );
      },
    },
    {
      id: "USE-06",
      claim: "the interval can be changed, and 0 turns sampling off",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const { channel } = await attached(server);
        await configure(server, 300);
        await channel.waitFor(
          "a sample with the new period",
          (frame) =>
            at(frame.body, "resourceUsage", "sampling_period_ms") === 300,
        );
        await configure(server, 0);
        await sleep(400); // a sample that was under way may still arrive
        const from = channel.frames.length;
        await sleep(900); // three of the old periods
        const late = channel.frames
          .slice(from)
          .map((frame) => eventName(frame));
        equal(
          late.filter((name) => name === "resourceUsage"),
          [],
          "samples after 0",
        );
        await configure(server, 200);
        await channel.event("resourceUsage", undefined, {
          from: channel.frames.length,
        });
      },
    },
  ],
});

async function attached(server: Server) {
  const session = await Session.started(server);
  const channel = await session.channel();
  return { session, channel };
}

/** The next sample. */
async function next(channel: Channel): Promise<unknown> {
  const from = channel.frames.length;
  const frame = await channel.event("resourceUsage", undefined, {
    from,
    within_ms: 5_000,
  });
  return at(frame.body, "resourceUsage");
}

async function configure(server: Server, interval_ms: number): Promise<void> {
  const body = { resource_sample_interval_ms: interval_ms };
  const answer = await server.request("POST", "/server_configuration", {
    body,
  });
  equal(answer.status, 200, "POST /server_configuration");
}
