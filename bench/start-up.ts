/**
 * How long from the start of a server until a client knows where it is?
 *
 *     npx tsx bench/start-up.ts [rounds] [kcserver …]
 *
 * Each candidate in turn, round after round, so that a busy machine is as busy
 * for all. Printed: the time and the CPU time until the handshake, the least
 * and the median, and how they compare with a Node that does nothing at all.
 * CPU time is Linux only; it is what to look at where the machine is not idle.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

interface Sample {
  readonly wall_ms: number;
  readonly cpu_ms: number;
}

const [rounds = "10", ...asked] = process.argv.slice(2);
const programs = asked.length > 0 ? asked : ["dist/bin/kcserver.js"];
const room = mkdtempSync(join(tmpdir(), "bench-"));
const samples = new Map<string, Sample[]>();

try {
  for (let round = 0; round < Number(rounds); round += 1) {
    note("node", await nothing());
    for (const [i, program] of programs.entries()) {
      note(program, await handshake(program, join(room, `${round}-${i}`)));
    }
  }
} finally {
  rmSync(room, { recursive: true, force: true });
}
report();

function note(name: string, sample: Sample): void {
  samples.set(name, [...(samples.get(name) ?? []), sample]);
}

/** A Node that says a word as soon as it can; what it costs until then. */
async function nothing(): Promise<Sample> {
  const script = "process.stdout.write('.'); setInterval(() => {}, 1000)";
  const began = performance.now();
  const child = spawn(process.execPath, ["-e", script], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  await once(child.stdout, "data");
  return sampled(child, began);
}

async function handshake(program: string, path: string): Promise<Sample> {
  const listener = createServer().listen(path);
  await once(listener, "listening");
  const args = ["--handshake-socket", path, "--transport", "tcp"];
  const isScript = /\.[cm]?js$/.test(program);
  const [command, ...all] = isScript
    ? [process.execPath, program, ...args]
    : [program, ...args];
  const began = performance.now();
  const child = spawn(command, all, { stdio: "ignore" });
  const [socket] = (await Promise.race([
    once(listener, "connection"),
    once(child, "exit").then(() => Promise.reject(new Error("it ended"))),
  ])) as [NodeJS.ReadableStream];
  await once(socket, "data");
  listener.close();
  socket.resume();
  return sampled(child, began);
}

async function sampled(child: ChildProcess, began: number): Promise<Sample> {
  const wall_ms = performance.now() - began;
  const cpu_ms = cpuOf(child.pid ?? 0);
  const ended = once(child, "exit");
  child.kill();
  await ended;
  return { wall_ms, cpu_ms };
}

/** Of all its threads. */
function cpuOf(pid: number): number {
  if (process.platform !== "linux") return NaN;
  const tasks = `/proc/${pid}/task`;
  const spent = readdirSync(tasks).map((task) => {
    const [ns = "0"] = readFileSync(`${tasks}/${task}/schedstat`, "utf8").split(
      " ",
    );
    return Number(ns) / 1e6;
  });
  return spent.reduce((sum, ms) => sum + ms, 0);
}

function report(): void {
  const base = figures(samples.get("node") ?? []);
  for (const [name, all] of samples) {
    const { wall, cpu } = figures(all);
    console.log(
      `${name.padEnd(44)} wall ${said(wall)} ms  cpu ${said(cpu)} ms` +
        `  ${(cpu.median / base.cpu.median).toFixed(1)} x node`,
    );
  }
}

interface Spread {
  readonly least: number;
  readonly median: number;
}

function figures(all: readonly Sample[]): { wall: Spread; cpu: Spread } {
  return {
    wall: spread(all.map(({ wall_ms }) => wall_ms)),
    cpu: spread(all.map(({ cpu_ms }) => cpu_ms)),
  };
}

function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  return {
    least: sorted[0] ?? NaN,
    median: sorted[Math.floor(sorted.length / 2)] ?? NaN,
  };
}

function said({ least, median }: Spread): string {
  return `${least.toFixed(0).padStart(4)} … ${median.toFixed(0).padStart(4)}`;
}
