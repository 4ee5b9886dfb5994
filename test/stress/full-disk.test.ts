/**
 * A real full file system: a small one in memory, in a mount namespace of the
 * server, so that it does not affect the machine. It needs root.
 */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Room, useCommand } from "../command/kallichore.ts";
import { eventually } from "../harness.ts";
import {
  type Received,
  ServerProcess,
  type Witness,
} from "./server-process.ts";
import { needs } from "../needs.ts";

useCommand();

const SIZE_MIB = 24;
const MOUNT = `mount -t tmpfs -o size=${SIZE_MIB}m,mode=0700 none "$TMPDIR" && exec "$@"`;
const through = ["unshare", "--mount", "sh", "-c", MOUNT, "sh"];

test(
  "a full disk loses only the oldest entries, with a warning; when there is room, it is used again",
  { ...needs(mayMount(), "root, to mount a small disk"), timeout: 120_000 },
  async () => {
    await using room = new Room();
    const tmp = join(room.folder, "tmp");
    const log = join(tmp, "log");
    const server = await ServerProcess.in(
      room,
      ["--journal-limit", "8M", "--log-file", log, "--log-level", "debug"],
      { through },
    );
    const disk = `/proc/${server.pid}/root${tmp}`;
    const witness = await server.witness("s");

    // The journal itself fills it.
    await pacedFlood(witness, 10_000);
    expectTheNewest(await witness.read(), 10_000);
    expect(bytesIn(filesIn(disk))).toBeGreaterThan(
      (SIZE_MIB / 2) * 1024 * 1024,
    );
    expect(server.running.stderr).toMatch(/removes its oldest.+disk is full/);

    // Another program fills it.
    const filler = join(disk, "filler");
    fill(filler);
    await pacedFlood(witness, 4_000);
    fill(filler);
    await pacedFlood(witness, 4_000);
    expect((await server.ask("GET", "/status")).status).toBe(200);
    expectTheNewest(await witness.read(), 18_000);

    // There is room again.
    rmSync(filler);
    const old = new Set(filesIn(disk));
    const { last_seq } = await witness.describe();
    // A disk that failed is not used for ten seconds.
    const used = async () => {
      await witness.flood(1_000, 10_000);
      const young = filesIn(disk).filter((path) => !old.has(path));
      return bytesIn(young) > 4 * 1024 * 1024 ? true : undefined;
    };
    await eventually("the disk used again", used, 30_000);
    const printed = witness.printed;
    await witness.flood(2_000, 1_000);
    const received = await witness.read(Number(last_seq));
    expect(numbersIn(received).at(-1)).toBe(printed + 2_000);
    expect(numbersIn(received).slice(-2_000)).toEqual(
      Array.from({ length: 2_000 }, (_, index) => printed + index + 1),
    );
    const after = { session_id: "after", kernel_name: "echo" };
    await server.ask("PUT", "/sessions", after);
    await eventually("the log written again", () =>
      readFileSync(join(disk, "log"), "utf8").includes("[session after]")
        ? true
        : undefined,
    );
    expect(server.running.child.exitCode).toBe(null);
    rmSync(join(disk, "log"));
  },
);

test(
  "a full disk below kept sessions: nobody waits, and after a crash what was written is there, and a gap",
  { ...needs(mayMount(), "root, to mount a small disk"), timeout: 120_000 },
  async () => {
    await using room = new Room();
    const state = join(room.folder, "state");
    mkdirSync(state);
    const mount = `mount -t tmpfs -o size=${SIZE_MIB}m,mode=0700 none ${state} && exec "$@"`;
    const args = ["--keep", "--state-dir", state, "--journal-limit", "8M"];
    const first = await ServerProcess.in(room, args, {
      through: ["unshare", "--mount", "sh", "-c", mount, "sh"],
    });
    const { port } = new URL(first.url);
    const disk = `/proc/${first.pid}/root${state}`;
    const greedy = await first.witness("greedy");
    const other = await first.witness("other");
    await other.flood(500, 100);
    await pacedFlood(greedy, 2_000);
    const keeper = JSON.parse(
      readFileSync(join(disk, "default", "keeper.json"), "utf8"),
    ) as { pid: number };

    // Other programs fill the disk, until not even the oldest entries make room.
    const filler = join(disk, "filler");
    const isWritten = () =>
      filesIn(disk).filter((path) => path.endsWith("/durable")).length === 2;
    for (let tries = 0; isWritten(); tries += 1) {
      if (tries === 30) throw new Error("The journals are still written");
      fill(filler);
      await greedy.flood(400, 10_000);
    }
    await other.flood(100, 100);
    await greedy.flood(100, 100);
    expect(numbersIn(await other.read()).slice(-100)).toEqual(
      upTo(600).slice(-100),
    );
    const { journal_id } = await greedy.describe();

    first.signal("SIGKILL");
    await first.running.ended();
    const again = `/proc/${keeper.pid}/root${state}`;
    rmSync(join(again, "filler"));
    const second = await ServerProcess.in(room, [...args, "--port", port], {
      through: ["nsenter", `--target=${keeper.pid}`, "--mount", "--"],
    });
    for (const witness of [greedy, other]) {
      await witness.flood(50, 100); // the kernel is still there
      const received = await witness.read();
      const numbers = numbersIn(received);
      expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
      expect(numbers.slice(-50)).toEqual(upTo(witness.printed).slice(-50));
    }
    const after = await greedy.describe();
    expect(after["journal_id"]).not.toBe(journal_id);
    const texts = JSON.stringify(await greedy.read());
    expect(texts).toContain('"kind":"gap"');
    await second.ask("POST", "/shutdown");
    await second.running.ended();
    await eventually("the keeper gone", () =>
      existsSync(`/proc/${keeper.pid}`) ? undefined : true,
    );
  },
);

/** Slow enough for the disk: a small memory may lose entries of a faster kernel. */
async function pacedFlood(witness: Witness, count: number): Promise<void> {
  for (let printed = 0; printed < count; printed += 400) {
    await witness.flood(400, 10_000);
  }
}

/** Expects a gap for the oldest entries, and then all others, up to the kernel's last message. */
function expectTheNewest(received: readonly Received[], printed: number): void {
  const numbers = numbersIn(received);
  expect(received.some(({ kind }) => kind === "gap")).toBe(true);
  expect(numbers.at(-1)).toBe(printed);
  expect(numbers.length).toBeGreaterThan(100);
  expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
}

function upTo(last: number): number[] {
  return Array.from({ length: last }, (_, index) => index + 1);
}

function numbersIn(received: readonly Received[]): number[] {
  return received.flatMap(({ n }) => n ?? []);
}

/** Uses up the disk. */
function fill(path: string): void {
  const file = openSync(path, "a");
  try {
    for (let size = 1024 * 1024; size >= 1; size = Math.floor(size / 2)) {
      try {
        for (;;) if (writeSync(file, Buffer.alloc(size)) < size) break;
      } catch {
        // so much does not fit any more
      }
    }
  } finally {
    closeSync(file);
  }
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
}

/** Some files may be removed by now. */
function bytesIn(paths: readonly string[]): number {
  return paths
    .map((path) => statSync(path, { throwIfNoEntry: false })?.size ?? 0)
    .reduce((sum, size) => sum + size, 0);
}

function mayMount(): boolean {
  const args = ["--mount", "mount", "-t", "tmpfs", "none", "/mnt"];
  return (
    process.platform === "linux" && spawnSync("unshare", args).status === 0
  );
}
