/** The time from the start of a server to its first answer, compared with an empty Node program. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cpuOf, ended, owned } from "../harness/process.ts";
import type { Figures, Question } from "../harness/question.ts";
import { programOf } from "../harness/server.ts";

const EMPTY = "process.stdout.write('.'); setInterval(() => {}, 1000)";

export const question: Question = {
  asks: "How long from the start of a server to its first answer?",
  async run(bench) {
    const { ours, kcserver } = bench.options;
    const programs = ours.map((checkout): [string, readonly string[]] => [
      checkout.name,
      [process.execPath, programOf(checkout)],
    ]);
    if (kcserver !== undefined) programs.push(["kcserver", [kcserver]]);
    await bench.compare("start", [
      { name: "an empty Node program", run: nothing },
      ...programs.map(([name, argv]) => ({
        name,
        run: () => answered(argv),
      })),
    ]);
  },
};

async function nothing(): Promise<Figures> {
  const began = performance.now();
  const child = owned(
    spawn(process.execPath, ["-e", EMPTY], {
      stdio: ["ignore", "pipe", "ignore"],
    }),
  );
  await once(child.stdout, "data");
  return figures(child, began);
}

/** Starts the server, gets its address by the handshake, and requests its status. */
async function answered([
  command = "",
  ...args
]: readonly string[]): Promise<Figures> {
  const room = mkdtempSync(join(tmpdir(), "bench-"));
  const path = join(room, "handshake");
  const listener = createServer().listen(path);
  await once(listener, "listening");
  const began = performance.now();
  const child = owned(
    spawn(
      command,
      [...args, "--handshake-socket", path, "--transport", "tcp"],
      { stdio: "ignore" },
    ),
  );
  try {
    const [socket] = (await Promise.race([
      once(listener, "connection"),
      once(child, "exit").then(() => Promise.reject(new Error("it ended"))),
    ])) as [AsyncIterable<Buffer>];
    let text = "";
    for await (const chunk of socket) text += chunk.toString();
    const { base_path } = JSON.parse(text) as { base_path: string };
    await (await fetch(`${base_path}/status`)).text();
    return await figures(child, began);
  } finally {
    listener.close();
    await ended(child);
    rmSync(room, { recursive: true, force: true });
  }
}

async function figures(child: ChildProcess, began: number): Promise<Figures> {
  const ms = performance.now() - began;
  const cpu = cpuOf(child.pid ?? 0) / 1000;
  await ended(child);
  return { ms, "CPU ms": cpu };
}
