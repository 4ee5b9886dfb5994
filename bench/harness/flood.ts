/** Measures one flood from the publisher through a server to a reader. */
import { floodKernel } from "./kernel.ts";
import { cpuOf, settled } from "./process.ts";
import type { Candidate, Figures } from "./question.ts";
import type { Door } from "./reader.ts";
import { sentOnce, type Reader, type Readers } from "./readers.ts";
import { execute, type Server, type Session } from "./server.ts";

export interface Case {
  readonly name: string;
  readonly count: number;
  readonly size: number;
  readonly kind: "stream" | "display" | "updated" | "buffer";
}

export const cases: readonly Case[] = [
  { name: "600 B", count: 100_000, size: 600, kind: "stream" },
  { name: "10 kB", count: 10_000, size: 10_000, kind: "stream" },
  { name: "1 MB", count: 150, size: 1_000_000, kind: "display" },
  { name: "10 MB buffer", count: 20, size: 10_000_000, kind: "buffer" },
];

const WARM_UP = 0.1; // the part of the flood that is sent before, in the same session, and not measured

export interface FloodOptions {
  readonly server: Server;
  /** `undefined`: there is no reader. */
  readonly door?: Door;
  readonly reader?: Reader;
  readonly readers?: number;
  readonly scale: number;
}

/** `server µs` and `reader µs` are the processor time for each message; `messages/s` is the rate at the reader. */
export async function flood(
  what: Case,
  options: FloodOptions,
): Promise<Figures> {
  const { server, door, reader, readers = 1, scale } = options;
  await using session = await server.start(floodKernel());
  if (door !== undefined) await reader?.attach(door, session, { readers });
  const count = Math.max(3, Math.round(what.count * scale));
  await once(what, Math.ceil(count * WARM_UP), options, session);
  const figures = await once(what, count, options, session);
  await reader?.detach();
  return figures;
}

async function once(
  { size, kind }: Case,
  count: number,
  { server, door, reader, readers = 1 }: FloodOptions,
  session: Session,
): Promise<Figures> {
  const request = execute(`flood ${count} ${size} ${kind}`);
  const before = await cpuAtRest(server);
  if (reader === undefined || door === undefined) {
    await session.send(request);
    return { "server µs": ((await cpuAtRest(server)) - before) / count };
  }
  const readBefore = cpuOf(reader.pid);
  const { ms } = await reader.receive(
    { count, least: leastOf(size, door) },
    door === "channel" ? sentOnce(request) : () => session.send(request),
  );
  const after = await cpuAtRest(server);
  return {
    "server µs": (after - before) / count,
    "reader µs": (cpuOf(reader.pid) - readBefore) / count / readers,
    "messages/s": (1000 * count) / ms,
  };
}

function cpuAtRest({ pid, keeperPid }: Server): Promise<number> {
  return settled(pid, keeperPid?.());
}

/** The size in bytes of the smallest frame that counts. A reader of `v1` is not the client that sends the request, so it does not get all the messages beside the flood. */
function leastOf(size: number, door: Door): number {
  if (size >= 5_000) return size * 0.8;
  return door === "v1" ? size * 0.85 : 0;
}

/** A candidate for each server and each of its doors; `none`: without a reader. */
export function candidatesOf(
  what: Case,
  servers: readonly Server[],
  {
    doors,
    readers,
    scale,
  }: {
    readonly doors: readonly (Door | "none")[];
    readonly readers: Readers;
    readonly scale: number;
  },
): Candidate[] {
  return servers.flatMap((server) =>
    doors
      .filter((door) => hasDoor(server, door))
      .map((door) => ({
        name: `${server.name}, ${named[door]}`,
        run: () =>
          door === "none"
            ? flood(what, { server, scale })
            : flood(what, {
                server,
                door,
                reader: readers.of(door, server),
                scale,
              }),
      })),
  );
}

function hasDoor({ kind }: Server, door: Door | "none"): boolean {
  if (kind === "ours") return true;
  if (kind === "jupyter" && door === "v1") return true;
  return door === "channel" || (door === "none" && kind === "kcserver");
}

const named = {
  channel: "channel",
  v1: "v1",
  trpc: "tRPC",
  stock: "stock tRPC client",
  client: "our client",
  sse: "SSE",
  none: "no reader",
};
