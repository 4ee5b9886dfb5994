import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chownSync,
  existsSync,
  mkdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { removeLeftovers } from "../../src/host/dead-servers.ts";
import {
  currentOwner,
  hasEnded,
  OWNER_FILE,
  processRecord,
} from "../../src/host/owner.ts";
import { startTimeOf } from "../../src/host/process-table.ts";
import { silentLog } from "../../src/log/log.ts";
import { temporaryFolder } from "../harness.ts";
import { needsLinux, needsPosix } from "../needs.ts";

type Mark = ReturnType<typeof currentOwner>;

/** The mark of a killed process. */
async function deadMark(): Promise<Mark> {
  const child = idle();
  const mark = markOf(child);
  child.kill("SIGKILL");
  await once(child, "exit");
  return mark;
}

function idle(): ChildProcess {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1e6)"]);
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

function markOf({ pid = 0 }: ChildProcess): Mark {
  return { ...currentOwner(), pid, start_time: startTimeOf(pid) ?? null };
}

function leave(parent: string, mark: unknown, name = "kallichore-x"): string {
  const directory = join(parent, name);
  mkdirSync(directory, { mode: 0o700 });
  writeFileSync(join(directory, OWNER_FILE), JSON.stringify(mark));
  writeFileSync(join(directory, "journal-1.1"), "a journal");
  return directory;
}

function tidy(parent: string, signal = new AbortController().signal) {
  return removeLeftovers([parent], silentLog(), signal);
}

describe("the owner of a directory", () => {
  test("lives", () => {
    expect(hasEnded(currentOwner())).toBe(false);
    expect(hasEnded(markOf(idle()))).toBe(false);
  });

  test("was killed", async () => {
    expect(hasEnded(await deadMark())).toBe(true);
  });

  test("has ended, although its pid was reused", needsLinux, () => {
    expect(hasEnded({ ...currentOwner(), start_time: 1 })).toBe(true);
  });

  test("ran before the machine was restarted", needsLinux, () => {
    expect(hasEnded({ ...currentOwner(), boot_id: "another" })).toBe(true);
  });

  test.each([
    ["on another machine", { host: "elsewhere.example" }],
    ["in another container", { pid_namespace: "pid:[1]" }],
  ])("may run %s", async (_where, difference) => {
    expect(hasEnded({ ...(await deadMark()), ...difference })).toBe(false);
  });
});

test("the leftovers of a dead process are removed, and no other files", async () => {
  const parent = temporaryFolder();
  const dead = await deadMark();
  const gone = leave(parent, dead);
  const stay = [
    leave(parent, currentOwner(), "kallichore-living"),
    leave(parent, dead, "another-program"),
    leave(parent, { pid: dead.pid }, "kallichore-unknown-mark"),
  ];
  if (process.getuid?.() === 0) {
    const another = leave(parent, dead, "kallichore-of-another-user");
    chownSync(another, 65_534, 65_534);
    stay.push(another);
  }
  const target = leave(temporaryFolder(), dead);
  const link = join(parent, "kallichore-link");
  symlinkSync(target, link);

  await tidy(parent);

  expect(existsSync(gone)).toBe(false);
  for (const path of [...stay, link, target]) {
    expect(existsSync(path), path).toBe(true);
  }
});

/** A process that leads its own group, as kernels do, and its record by a killed server. */
function leaveKernel(
  directory: string,
  program: string,
  record: Readonly<Record<string, unknown>> = {},
): ChildProcess {
  const child = spawn(process.execPath, ["-e", program, directory], {
    detached: true,
    stdio: ["ignore", "pipe", "ignore"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const { pid = 0 } = child;
  writeFileSync(
    join(directory, "kernel-x.json.process"),
    JSON.stringify({ ...processRecord("s", pid), ...record }),
  );
  return child;
}

describe("the kernel of a dead server", needsPosix, () => {
  test.each([
    ["ends", "setInterval(() => {}, 1e6); console.log('there')"],
    [
      "is killed if it does not end",
      "process.on('SIGTERM', () => {}); setInterval(() => {}, 1e6); console.log('there')",
    ],
  ])("%s, and the log reports it", async (_how, program) => {
    const parent = temporaryFolder();
    const directory = leave(parent, await deadMark());
    const child = leaveKernel(directory, program);
    await once(child.stdout ?? child, "data");
    const ended = once(child, "exit");
    const log = silentLog();
    const warn = vi.spyOn(log, "warn");
    const { signal } = new AbortController();
    await removeLeftovers([parent], log, signal);
    await ended;
    expect(warn).toHaveBeenCalledExactlyOnceWith(
      expect.stringMatching(
        `^Ended the kernel of session s \\(process ${child.pid}\\)`,
      ),
    );
    expect(existsSync(directory)).toBe(false);
  });

  test(
    "is not confused with a process that got its pid later",
    needsLinux,
    async () => {
      const parent = temporaryFolder();
      const directory = leave(parent, await deadMark());
      const child = leaveKernel(
        directory,
        "setInterval(() => {}, 1e6); console.log('there')",
        { start_time: 1 },
      );
      await once(child.stdout ?? child, "data");
      await tidy(parent);
      expect(existsSync(directory)).toBe(false);
      expect(child.exitCode ?? child.signalCode).toBeNull();
    },
  );

  test("is recognized by its command line if the start time is not known", async () => {
    const parent = temporaryFolder();
    const directory = leave(parent, await deadMark());
    const program = "setInterval(() => {}, 1e6); console.log('there')";
    const child = leaveKernel(directory, program, { start_time: null });
    await once(child.stdout ?? child, "data");
    const ended = once(child, "exit");
    const other = leave(parent, await deadMark(), "kallichore-other");
    const stranger = idle();
    writeFileSync(
      join(other, "kernel-x.json.process"),
      JSON.stringify({
        session_id: "s",
        pid: stranger.pid,
        start_time: null,
      }),
    );
    await tidy(parent);
    await ended;
    expect(existsSync(other)).toBe(false);
    expect(stranger.exitCode ?? stranger.signalCode).toBeNull();
  });

  test("is left alone while its server is alive", async () => {
    const parent = temporaryFolder();
    const directory = leave(parent, currentOwner());
    const child = leaveKernel(
      directory,
      "setInterval(() => {}, 1e6); console.log('there')",
    );
    await once(child.stdout ?? child, "data");
    await tidy(parent);
    expect(child.exitCode ?? child.signalCode).toBeNull();
  });
});

test(
  "a socket of kcserver is removed when no process listens on it any more",
  needsLinux,
  async () => {
    const parent = temporaryFolder();
    const { pid } = await deadMark();
    const path = join(parent, `kc-${pid}.sock`);
    const listener = createServer();
    listener.listen(path);
    await once(listener, "listening");
    await tidy(parent);
    expect(existsSync(path)).toBe(true); // a process listens on it

    listener.close();
    await once(listener, "close");

    const killed = spawn(process.execPath, [
      "-e",
      `require("net").createServer().listen("${parent}/kc-" + process.pid + ".sock", () => console.log("listens"))`,
    ]);
    await once(killed.stdout, "data");
    const left = join(parent, `kc-${killed.pid}.sock`);
    await tidy(parent);
    expect(existsSync(left)).toBe(true);
    killed.kill("SIGKILL");
    await once(killed, "exit");
    expect(existsSync(left)).toBe(true);
    await tidy(parent);
    expect(existsSync(left)).toBe(false);
  },
);

test("many leftovers are removed by several servers at once", async () => {
  const parent = temporaryFolder();
  const dead = await deadMark();
  const all = Array.from({ length: 50 }, (_, n) =>
    leave(parent, dead, `kallichore-${n}`),
  );
  await Promise.all([tidy(parent), tidy(parent), tidy(parent)]);
  expect(all.filter((path) => existsSync(path))).toEqual([]);
});

test("a server that ends stops the search for leftovers", async () => {
  const parent = temporaryFolder();
  const left = leave(parent, await deadMark());
  await tidy(parent, AbortSignal.abort());
  expect(existsSync(left)).toBe(true);
});

test("a directory that cannot be read causes no error", async () => {
  await tidy(join(temporaryFolder(), "nowhere"));
});
