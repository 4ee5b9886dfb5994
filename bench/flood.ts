/**
 * What does a flood cost in memory, when nobody reads, somebody reads slowly,
 * or many read?
 *
 *     npx tsx bench/flood.ts [gigabytes] [none|slow|many|fast …]
 *
 * A server in a process of its own, a kernel that says 10 kB messages as fast
 * as it can. Printed: the most memory that the server's process ever had, what
 * its journal keeps in memory and on disk, and how much of it is
 * forgotten: before its oldest entry, and, of all, what no disk could take.
 */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { startServer } from "../src/serve.ts";
import { installKernelspecs } from "../test/kernels/index.ts";

const TOKEN = "bench";
const MESSAGE = 10_000; // bytes, about
const MIB = 1024 * 1024;
const READERS = { none: 0, slow: 1, fast: 1, many: 100 } as const;
type Kind = keyof typeof READERS;

interface Figures {
  readonly peak: number;
  readonly memory: number;
  readonly disk: number;
  readonly first: number;
  readonly lost: number;
  readonly last: number;
  readonly cpu: number;
}

if (process.send === undefined) {
  const [size = "2", ...wanted] = process.argv.slice(2);
  const kinds = wanted.length > 0 ? wanted : ["none", "slow", "fast", "many"];
  for (const kind of kinds)
    await flood(kind as Kind, Number(size) * 1024 * MIB);
} else await serve();

async function flood(kind: Kind, bytes: number): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url));
  try {
    const [url] = (await once(child, "message")) as [string];
    const count = Math.round(bytes / MESSAGE);
    await ask(url, "PUT", "/sessions", {
      session_id: "s",
      kernel_name: "witness",
    });
    await ask(url, "POST", "/sessions/s/start");
    const readers = Array.from({ length: READERS[kind] }, () =>
      read(url, kind === "slow"),
    );
    const began = performance.now();
    await ask(url, "POST", "/sessions/s/messages", {
      channel: "shell",
      header: { msg_id: "flood", msg_type: "execute_request" },
      content: { code: `flood ${count} ${MESSAGE} exact` },
      buffers: [],
    });
    const figures = await figuresAt(child, count);
    const seconds = (performance.now() - began) / 1000;
    for (const reader of readers) reader.terminate();
    const percent = (entries: number) =>
      `${((100 * entries) / figures.last).toFixed(0)} %`;
    console.log(
      `flood ${kind.padEnd(4)} ${(bytes / MIB / 1024).toFixed(1)} GiB in ${seconds.toFixed(0)} s: ` +
        `peak ${mib(figures.peak)}, journal ${mib(figures.memory)} in memory, ${mib(figures.disk)} on disk, ` +
        `the oldest ${percent(figures.first - 1)} forgotten, ${percent(figures.lost)} on no disk, ${(figures.cpu / figures.last).toFixed(1)} µs/msg` +
        (readers.length > 0
          ? `, readers got ${mib(readers.reduce((sum, { got }) => sum + got, 0))}`
          : ""),
    );
  } finally {
    if (child.connected) child.disconnect();
    if (child.exitCode === null) await once(child, "exit");
  }
}

/** Asks the child now and then until its journal has come to `count`. */
async function figuresAt(child: ChildProcess, count: number): Promise<Figures> {
  for (;;) {
    child.send("figures");
    const [figures] = (await once(child, "message")) as [Figures];
    if (figures.last > count) return figures;
    await later(500);
  }
}

interface Reader {
  got: number;
  terminate(): void;
}

/** A slow one takes a chunk every tenth of a second. */
function read(url: string, isSlow: boolean): Reader {
  const socket = new WebSocket(
    `${url.replace("http", "ws")}/trpc?token=${TOKEN}`,
  );
  const reader: Reader = { got: 0, terminate: () => socket.terminate() };
  socket.on("error", () => {});
  socket.on("open", () => {
    socket.send(
      JSON.stringify({
        id: 1,
        method: "subscription",
        params: { path: "sessions.events", input: { session_id: "s" } },
      }),
    );
  });
  socket.on("message", (data: Buffer) => {
    reader.got += data.length;
    if (!isSlow || socket.isPaused) return;
    socket.pause();
    setTimeout(() => socket.resume(), 100);
  });
  return reader;
}

/** The child: serves, and says how it is when it is asked. */
async function serve(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "kallichore-flood-"));
  installKernelspecs(folder, ["witness"]);
  const server = await startServer({
    token: TOKEN,
    kernelspecDirs: [folder],
    runtimeDirectory: folder,
  });
  let peak = 0;
  const timer = setInterval(
    () => (peak = Math.max(peak, process.memoryUsage.rss())),
    50,
  );
  process.on("message", () => {
    const { journal } = server.supervisor.session("s");
    const { user, system } = process.cpuUsage();
    process.send?.({
      peak,
      memory: journal.bytes,
      disk: journal.diskBytes,
      first: journal.first,
      lost: journal.lost,
      last: journal.last,
      cpu: user + system,
    } satisfies Figures);
  });
  process.once("disconnect", () => {
    clearInterval(timer);
    void server[Symbol.asyncDispose]().finally(() => {
      rmSync(folder, { recursive: true, force: true });
      process.exit();
    });
  });
  process.send?.(server.url);
}

function ask(
  url: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const req = request(
      `${url}${path}`,
      {
        method,
        headers: { authorization: `Bearer ${TOKEN}`, connection: "close" },
      },
      (res) => {
        res.resume();
        res.on("end", () => {
          if ((res.statusCode ?? 500) < 300) resolve();
          else reject(new Error(`${method} ${path}: ${res.statusCode}`));
        });
      },
    );
    req.on("error", reject);
    req.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function mib(bytes: number): string {
  return `${Math.round(bytes / MIB)} MiB`;
}

function later(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
