import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { ProcessGroup } from "../../src/host/process-group.ts";
import {
  childrenOf,
  descendantsOf,
  isAlive,
  startTimeOf,
  statOf,
} from "../../src/host/process-table.ts";
import { usageSampler } from "../../src/host/usage.ts";
import { python } from "../kernels/python.ts";

const started: ChildProcess[] = [];
/** Processes that a test has found, besides those that it started. */
const seen: { pid: number; startTime: number | undefined }[] = [];

afterEach(async () => {
  for (const child of started.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    for (const pid of descendantsOf([child.pid ?? 0])) {
      seen.push({ pid, startTime: startTimeOf(pid) });
    }
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  for (const { pid, startTime } of seen.splice(0)) {
    if (isAlive(pid, startTime)) process.kill(pid, "SIGKILL");
  }
});

interface Family {
  readonly child: ChildProcess;
  readonly pid: number;
  /** Resolves with the next printed line, as a pid. */
  readonly next: () => Promise<number>;
  readonly exited: Promise<unknown>;
}

/** One write for each line, because several processes print their pids to one pipe. */
const SAY = `
import os, subprocess, sys, threading, time
def say(pid): os.write(1, b"%d\\n" % pid)
`;
import { needsLinuxAndPython } from "../needs.ts";

/** A Python program in its own group, as a kernel is. */
function family(program: string): Family {
  const child = spawn(python ?? "python3", ["-c", SAY + program], {
    detached: true,
    stdio: ["ignore", "pipe", "ignore"],
  });
  started.push(child);
  const { pid, stdout } = child;
  if (pid === undefined) throw new Error("python3 was not started");
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  return {
    child,
    pid,
    next: async () => {
      const line = await lines.next();
      if (line.done === true) throw new Error("It has ended");
      const reported = Number(line.value);
      seen.push({ pid: reported, startTime: startTimeOf(reported) });
      return reported;
    },
    exited: once(child, "exit"),
  };
}

/** A member of the group, and one in its own session with a child; each prints its pid. */
const HOUSEHOLD = `
member = subprocess.Popen(["sleep", "1000"])
stray = subprocess.Popen(["sh", "-c", "sleep 1000 & echo $!; wait"], start_new_session=True)
say(member.pid)
say(stray.pid)
time.sleep(1000)
`;

function linkOf(file: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${file}`);
  } catch {
    return ""; // the descriptor of the listing itself
  }
}

async function household() {
  const home = family(HOUSEHOLD);
  const reported = [await home.next(), await home.next(), await home.next()];
  const isMember = (pid: number) => statOf(pid)?.group === home.pid;
  const strays = reported.filter((pid) => !isMember(pid));
  expect(strays).toHaveLength(2);
  return { ...home, reported, members: reported.filter(isMember), strays };
}

async function ended(pids: readonly number[], timeout_ms = 10_000) {
  const deadline = Date.now() + timeout_ms;
  // There is no event for the end of a process that is not a child of this one.
  while (pids.some((pid) => isAlive(pid))) {
    if (Date.now() > deadline) throw new Error("They still run");
    await delay(20);
  }
}

describe("the process table", needsLinuxAndPython, () => {
  it("distinguishes a process from a later one with the same pid by its start time", async () => {
    const { child, pid } = family("time.sleep(1000)");
    const startTime = startTimeOf(pid);
    expect(startTime).toBeGreaterThan(0);
    expect(isAlive(pid, startTime)).toBe(true);
    expect(isAlive(pid, (startTime ?? 0) - 1)).toBe(false);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(isAlive(pid, startTime)).toBe(false);
    expect(startTimeOf(pid)).toBeUndefined();
  });

  it("reads a process whose name looks like other fields", async () => {
    const { pid, next } = family(
      "open('/proc/self/comm','w').write(') R 1 ('); say(1); time.sleep(1000)",
    );
    await next();
    expect(statOf(pid)).toMatchObject({ parent: process.pid, group: pid });
  });

  it("treats a zombie as ended", async () => {
    const { next } = family(`
pid = os.fork()
if pid == 0: os._exit(0)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
say(pid)
time.sleep(1000)
`);
    const zombie = await next();
    expect(statOf(zombie)?.state).toBe("Z");
    expect(isAlive(zombie)).toBe(false);
  });

  it("finds the children of all threads", async () => {
    const { pid, next } = family(`
def work():
    say(subprocess.Popen(["sleep", "1000"]).pid)
    time.sleep(1000)
threading.Thread(target=work, daemon=True).start()
time.sleep(1000)
`);
    const grandchild = await next();
    expect(childrenOf(pid)).toEqual([grandchild]);
    expect(descendantsOf([process.pid])).toContain(grandchild);
  });
});

describe("a kernel's group", needsLinuxAndPython, () => {
  it("receives an interrupt as a whole; processes that left it do not", async () => {
    const { pid, members, strays, exited } = await household();
    expect(await new ProcessGroup(pid).interrupt()).toBe("sent");
    await exited;
    await ended([pid, ...members]);
    expect(strays.every((each) => isAlive(each))).toBe(true);
  });

  it.each(["terminate", "kill"] as const)(
    "is reached whole by %s, including processes that left it and their children",
    async (verb) => {
      const { pid, reported } = await household();
      expect(await new ProcessGroup(pid)[verb]()).toBe("sent");
      await ended([pid, ...reported]);
    },
  );

  it("can be killed after its leader has ended by itself", async () => {
    const { child, pid, reported, exited } = await household();
    const group = new ProcessGroup(pid);
    group.remember();
    child.kill("SIGKILL");
    await exited;
    expect(group.isAlive).toBe(false);
    expect(reported.every((each) => isAlive(each))).toBe(true);
    expect(await group.kill()).toBe("sent");
    await ended(reported);
  });

  it("is killed even while it starts new processes", async () => {
    const { pid, next } = family(`
def multiply():
    while True:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0: time.sleep(1000)
            os.wait()
        time.sleep(0.02)
say(os.getpid())
multiply()
`);
    await next();
    while (descendantsOf([pid]).length < 3) await delay(5);
    const offspring = descendantsOf([pid]);
    await new ProcessGroup(pid).kill();
    await ended([pid, ...offspring]);
  });

  it("that has ended gives the outcome gone for every signal", async () => {
    const { pid, exited } = family("pass");
    const group = new ProcessGroup(pid);
    await exited;
    expect(await group.interrupt()).toBe("gone");
    expect(await group.terminate()).toBe("gone");
    expect(await group.kill()).toBe("gone");
  });

  it("is not confused with a foreign process that has its pid", async () => {
    const { pid } = family("time.sleep(1000)");
    const stranger = new ProcessGroup(pid, (startTimeOf(pid) ?? 0) - 1);
    expect(await stranger.interrupt()).toBe("gone");
    expect(await stranger.kill()).toBe("gone");
    expect(isAlive(pid)).toBe(true);
  });

  it("is never all processes, nor this process", () => {
    const own = statOf(process.pid)?.group ?? process.pid;
    for (const pid of [0, 1, -1, NaN, 1.5, process.pid, own]) {
      expect(() => new ProcessGroup(pid)).toThrow(RangeError);
    }
  });

  it("of a process without its own group is that process", async () => {
    const child = spawn("sleep", ["1000"], { stdio: "ignore" });
    started.push(child);
    await once(child, "spawn");
    expect(await new ProcessGroup(child.pid ?? 0).terminate()).toBe("sent");
    expect((await once(child, "exit"))[1]).toBe("SIGTERM");
  });
});

describe("usage", needsLinuxAndPython, () => {
  const BUSY_CHILD = `
child = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
say(child.pid)
time.sleep(1000)
`;

  it("covers the whole tree, including descendants in other sessions", async () => {
    const { pid, next } = family(BUSY_CHILD);
    const busy = await next();
    const sampler = usageSampler();
    const first = (await sampler.sample([{ pid }])).get(pid);
    expect(first).toMatchObject({ cpu_percent: 0, thread_count: 2 });
    // Two Pythons: more memory than one, and less than the machine's.
    expect(first?.memory_bytes).toBeGreaterThan(8e6);
    expect(first?.memory_bytes).toBeLessThan(1e9);

    const before = statOf(busy)?.cpuTicks ?? 0;
    while ((statOf(busy)?.cpuTicks ?? 0) - before < 10) await delay(20);
    const second = (await sampler.sample([{ pid }])).get(pid);
    expect(second?.cpu_percent).toBeGreaterThan(0);
    expect(second?.cpu_percent).toBeLessThan(150); // One busy thread, and ticks of 10 ms.
  });

  it("leaves out roots that have ended or whose pid was reused", async () => {
    const { child, pid, exited } = family("time.sleep(1000)");
    const startTime = startTimeOf(pid) ?? 0;
    const sampler = usageSampler();
    const roots = [{ pid, startTime }];
    expect((await sampler.sample(roots)).size).toBe(1);
    expect(
      (await sampler.sample([{ pid, startTime: startTime - 1 }])).size,
    ).toBe(0);
    child.kill("SIGKILL");
    await exited;
    expect((await sampler.sample(roots)).size).toBe(0);
  });

  it("starts again at 0 for a root that was missing in one sample", async () => {
    const { pid, next } = family(BUSY_CHILD);
    await next();
    const sampler = usageSampler();
    await sampler.sample([{ pid }]);
    await sampler.sample([]);
    const again = (await sampler.sample([{ pid }])).get(pid);
    expect(again?.cpu_percent).toBe(0);
  });

  it("counts a process that any thread starts between two samples", async () => {
    const { child, pid, next } = family(`
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
say(os.getpid())
signal.sigwait([signal.SIGUSR1])
threading.Thread(target=lambda: (say(subprocess.Popen(["sleep", "1000"]).pid), time.sleep(1000))).start()
`);
    await next();
    const sampler = usageSampler();
    const before = (await sampler.sample([{ pid }])).get(pid);
    expect(before?.thread_count).toBe(1);
    child.kill("SIGUSR1");
    await next();
    const after = (await sampler.sample([{ pid }])).get(pid);
    expect(after?.thread_count).toBe(3); // its new thread, and the thread of the child
    const again = (await sampler.sample([{ pid }])).get(pid);
    expect(again?.thread_count).toBe(3);
  });

  it.runIf(process.platform === "linux")(
    "closes every file that it opens",
    async () => {
      const files = () =>
        readdirSync("/proc/self/fd").filter((file) =>
          linkOf(file).endsWith("/stat"),
        ).length;
      const { pid, next, child, exited } = family(
        "say(os.getpid())\ntime.sleep(1000)",
      );
      await next(); // programs that only start Python have ended by now
      const sampler = usageSampler();
      const before = files();
      await sampler.sample([{ pid }]);
      await sampler.sample([{ pid }]);
      expect(files()).toBe(before + 1);
      sampler.forget();
      expect(files()).toBe(before);
      await sampler.sample([{ pid }]);
      child.kill("SIGKILL");
      await exited;
      await sampler.sample([{ pid }]);
      expect(files()).toBe(before);
    },
  );

  it("continues to count a process whose parent has ended", async () => {
    const { pid, next } = family(`
middle = subprocess.Popen(["sh", "-c", "sleep 1000 & echo $!; wait"])
say(middle.pid)
middle.wait()
time.sleep(1000)
`);
    const reported = [await next(), await next()];
    const middle = reported.find((each) => statOf(each)?.parent === pid) ?? 0;
    const sampler = usageSampler();
    const before = (await sampler.sample([{ pid }])).get(pid);
    expect(before?.thread_count).toBe(3);
    process.kill(middle, "SIGKILL");
    await ended([middle]);
    const after = (await sampler.sample([{ pid }])).get(pid);
    expect(after?.thread_count).toBe(2);
  });
});
