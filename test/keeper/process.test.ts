/** Real keepers with real kernels: servers that are killed, keepers that are killed, streams that are cut. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { describe, expect, onTestFinished, test } from "vitest";
import { isAlive } from "../../src/host/process-table.ts";
import { keeperFileIn, readKeeperFile } from "../../src/keeper/keeper-file.ts";
import { KeeperLink } from "../../src/keeper/link.ts";
import { localKeeper } from "../../src/keeper/local-keeper.ts";
import { silentLog } from "../../src/log/log.ts";
import { eventually } from "../harness.ts";
import { pythonWithIpykernel } from "../kernels/python.ts";
import { inGroup, LIMIT, limitedGroup, needsGroup } from "../limited-group.ts";
import { needsLinux, needsPosix } from "../needs.ts";
import { FaultyProxy, randomFrom, type Random } from "../stress/proxy.ts";
import { type AttachingOptions, linesOf } from "./attaching.ts";
import { runId } from "./keepers.ts";
import {
  collecting,
  counted,
  execute,
  Place,
  range,
  SECRET,
  start,
} from "./place.ts";
import { programOf } from "./programs.ts";
import { recordingHooks } from "./recording-hooks.ts";

const log = silentLog();
const group = limitedGroup();

describe("a server that is killed", needsPosix, () => {
  test("invariants 2, 3 and 4: in the middle of a flood, again and again, loses no line, repeats none, and its request runs once", async () => {
    const place = new Place();
    const journal = join(place.folder, "journal");
    writeFileSync(journal, "");
    const random = randomFrom(14);
    const LINES = 30_000;
    let killed = 0;
    for (let epoch = 1; ; epoch += 1) {
      const { stateDirectory, runtime_directory } = place;
      const options: AttachingOptions = {
        stateDirectory,
        runtime_directory,
        entry: programOf("keeper"),
        secret: SECRET,
        epoch,
        recipe: place.recipe("witness"),
        journal,
        code: `flood ${LINES} 400`,
        life_bytes: epoch < 9 ? 1 + random() * 1_200_000 : undefined,
      };
      const child = spawn(
        process.execPath,
        [programOf("attaching"), JSON.stringify(options)],
        { stdio: ["ignore", "inherit", "inherit"] },
      );
      const isDone = () =>
        readFileSync(journal).includes(`"${LINES}:`) ? true : undefined;
      await eventually(
        "the end of the server or of the flood",
        () => endOf(child) ?? isDone(),
        60_000,
      );
      if (endOf(child) === undefined) {
        child.kill("SIGKILL");
        await once(child, "exit");
      }
      expect(child.signalCode).toBe("SIGKILL");
      if (isDone()) break;
      killed += 1;
    }
    expect(killed).toBeGreaterThan(3);
    const lines = linesOf(journal);
    expect(lines.map(({ number }) => number)).toEqual(range(lines.length));
    expect(lines.filter(({ lost }) => lost !== undefined)).toEqual([]);
    const texts = lines.flatMap((line) => line.texts);
    expect(counted(texts)).toEqual(range(LINES));
    const record = readFileSync(place.record, "utf8");
    expect(record).toBe(`got flood ${LINES} 400\nprinted ${LINES}\n`);
  }, 120_000);
});

function endOf(child: ChildProcess): true | undefined {
  return child.exitCode === null && child.signalCode === null
    ? undefined
    : true;
}

describe("a keeper", needsPosix, () => {
  test("invariant 8: its socket, its files and its log are private, and hold no secret", async () => {
    const place = new Place();
    const link = await place.keeper();
    const kernel = await start(
      link,
      place.recipe("echo"),
      recordingHooks().hooks,
    );
    const { socket, pid } =
      readKeeperFile(keeperFileIn(place.stateDirectory)) ?? {};
    const modes = (paths: string[]) =>
      paths.map((path) => (statSync(path).mode & 0o777).toString(8));
    const inState = (name: string) => join(place.stateDirectory, name);
    expect(
      modes([
        place.stateDirectory,
        inState("keeper.json"),
        inState("keeper.log"),
        socket ?? "",
        join(socket ?? "", ".."),
      ]),
    ).toEqual(["700", "600", "600", "600", "700"]);
    for (const name of readdirSync(place.stateDirectory)) {
      const text = readFileSync(inState(name), "utf8");
      expect(text).not.toContain(SECRET);
      expect(text).not.toContain("the kernel's key");
    }
    for (const file of ["cmdline", "environ"]) {
      if (!existsSync(`/proc/${pid}/${file}`)) continue;
      expect(readFileSync(`/proc/${pid}/${file}`, "utf8")).not.toContain(
        SECRET,
      );
    }
    await kernel.stop(false);
  });

  test("is found again by the next server with the same state, and by no server with another secret", async () => {
    const place = new Place();
    const link = await place.keeper(1);
    const { hooks } = recordingHooks();
    const kernel = await start(link, place.recipe("echo"), hooks);
    link.close();
    await expect(
      localKeeper({ ...place.options(2), secret: "another" }),
    ).rejects.toThrow("its keeper belongs to another state directory");
    const next = await place.keeper(2);
    const recipe = { ...place.recipe("echo"), resume: { after: 0 } };
    const again = recordingHooks();
    const resumed = await start(next, recipe, again.hooks);
    expect(resumed.pid).toBe(kernel.pid);
    expect(resumed.info).toEqual(kernel.info);
    await resumed.stop(false);
    await expect(resumed.exited).resolves.toMatchObject({ exit_code: 0 });
  });

  test("invariant 6: that is killed takes its kernels with it at once, and the run says why", async () => {
    const place = new Place();
    const link = await place.keeper();
    const { hooks, calls } = recordingHooks();
    // This kernel does not watch its parent, and ignores SIGTERM.
    const kernel = await start(link, place.recipe("stubborn"), hooks);
    const { pid = 0 } = kernel;
    expect(isAlive(pid)).toBe(true);
    process.kill(place.keeperPid ?? 0, "SIGKILL");
    const exit = await kernel.exited;
    expect(exit).toEqual({
      exit_code: -1,
      signal: null,
      output: "",
      why: "its keeper is gone",
    });
    expect(calls.at(-1)).toEqual(["exited", exit]);
    await eventually("the kernel's end", () =>
      isAlive(pid) ? undefined : true,
    );
    await eventually("the removal of the keeper's files", () =>
      readdirSync(place.runtime_directory).length === 0 ? true : undefined,
    );
    const next = await place.keeper(2);
    expect(next.runs.size).toBe(0);
    await expect(
      start(next, { ...place.recipe("echo"), resume: { after: 1 } }, hooks),
    ).rejects.toThrow("its keeper is gone");
  });

  test("invariant 6: that is asked to end stops its kernels, and the next server reads why", async () => {
    const place = new Place();
    const link = await place.keeper();
    const { hooks } = recordingHooks();
    const kernel = await start(link, place.recipe("echo"), hooks);
    const pid = place.keeperPid ?? 0;
    process.kill(pid, "SIGTERM");
    await expect(kernel.exited).resolves.toMatchObject({
      why: "its keeper has ended: it received SIGTERM",
    });
    await eventually("the keeper's end", () =>
      isAlive(pid) ? undefined : true,
    );
    expect(readKeeperFile(keeperFileIn(place.stateDirectory))?.ended).toBe(
      "it received SIGTERM",
    );
    expect(readdirSync(place.runtime_directory)).toEqual([]);
  });

  test(
    "is preferred to its kernels if there is no memory left",
    needsLinux,
    async () => {
      const place = new Place();
      const link = await place.keeper();
      const { hooks } = recordingHooks();
      const kernel = await start(link, place.recipe("echo"), hooks);
      const score = (pid: number | undefined) =>
        Number(readFileSync(`/proc/${pid}/oom_score_adj`, "latin1"));
      expect(score(kernel.pid)).toBe(
        Math.min(score(place.keeperPid) + 500, 1000),
      );
      await kernel.stop(false);
    },
  );

  test(
    "invariant 9: says that its kernel was out of memory",
    {
      timeout: 60_000,
      ...needsGroup(group, pythonWithIpykernel !== undefined),
    },
    async () => {
      const place = new Place();
      const link = await place.keeper();
      const { hooks } = recordingHooks();
      const argv = inGroup(group ?? "", [
        pythonWithIpykernel ?? "python3",
        ..."-m ipykernel_launcher -f {connection_file}".split(" "),
      ]);
      const kernel = await start(link, place.recipe("echo", { argv }), hooks);
      kernel.send(execute(`x = bytearray(${LIMIT * 4})`, "greedy"));
      await expect(kernel.exited).resolves.toMatchObject({
        signal: "SIGKILL",
        oom: true,
      });
      expect(isAlive(place.keeperPid ?? 0)).toBe(true);
    },
  );

  test("gives a session that is late every line whole, although its stream reads into the same memory", async () => {
    const place = new Place();
    const link = await place.keeper();
    const { texts, hooks } = collecting();
    let events = 0;
    const kernel = await start(link, place.recipe("witness"), {
      ...hooks,
      caughtUp() {
        events += 1;
        // Long enough for several reads.
        return events % 20 === 0
          ? new Promise((resolve) => setTimeout(resolve, 10))
          : undefined;
      },
    });
    const LINES = 5_000;
    kernel.send(execute(`flood ${LINES} 2000`, "the-flood"));
    await eventually(
      "the last line",
      () => (texts.length >= LINES ? true : undefined),
      30_000,
    );
    await kernel.stop(false);
    expect(counted(texts)).toEqual(range(LINES));
  }, 60_000);

  test("that cannot be started is reported with the reason", async () => {
    const place = new Place();
    const entry = join(place.folder, "no-such-program.js");
    await expect(localKeeper({ ...place.options(1), entry })).rejects.toThrow(
      /could not be started: exit code 1; see .*keeper\.log/,
    );
  });

  test("invariant 9: a start that fails, a kill and an interrupt are as without a keeper", async () => {
    const place = new Place();
    const link = await place.keeper();
    const { hooks, calls } = recordingHooks();
    await expect(
      start(link, place.recipe("stillborn", { run_id: runId(2) }), hooks),
    ).rejects.toMatchObject({ reason: "exited_during_start" });
    expect(calls.map(([name]) => name)).toEqual(
      expect.arrayContaining(["launched", "exited"]),
    );
    const running = recordingHooks();
    const kernel = await start(link, place.recipe("echo"), running.hooks);
    kernel.send(execute("sleep 60000", "sleeping"));
    await eventually("busy code", () =>
      running.calls.some(
        ([name, , , parent]) =>
          name === "message" &&
          (parent as { msg_id?: string } | undefined)?.msg_id === "sleeping",
      )
        ? true
        : undefined,
    );
    await kernel.interrupt();
    await eventually("the reply", () =>
      running.calls.some(
        ([name, channel]) => name === "message" && channel === "shell",
      )
        ? true
        : undefined,
    );
    await kernel.kill();
    await expect(kernel.exited).resolves.toMatchObject({ signal: "SIGKILL" });
  });
});

/** A stream that breaks after so many bytes, in either direction and at any byte. */
class BreakingStream extends Duplex {
  readonly #socket: Socket;
  #left: number;

  constructor(path: string, random: Random, reach: number) {
    super();
    this.#socket = connect(path);
    this.#left = 1 + Math.floor(random() * reach);
    this.#socket.on("data", (chunk: Buffer) => {
      if (!this.push(this.#take(chunk))) this.#socket.pause();
    });
    this.#socket.on("error", (error) => this.destroy(error));
    this.#socket.on("close", () => this.destroy());
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.#socket.write(this.#take(chunk), () => done());
  }

  override _destroy(_: Error | null, done: (error: null) => void): void {
    this.#socket.destroy();
    done(null);
  }

  /** The bytes that still pass. */
  #take(chunk: Buffer): Buffer {
    const some = chunk.subarray(0, Math.max(0, this.#left));
    this.#left -= chunk.length;
    if (this.#left < 0) setImmediate(() => this.destroy());
    return some;
  }
}

describe(
  "a stream behind a proxy that cuts, delays and half-closes it",
  needsPosix,
  () => {
    test.each([11, 12])(
      "seed %i: invariants 3 and 4: each line arrives once and in order, and each request reaches the kernel once",
      async (seed) => {
        const place = new Place();
        (await place.keeper(1)).close();
        const { socket = "" } =
          readKeeperFile(keeperFileIn(place.stateDirectory)) ?? {};
        await using proxy = await FaultyProxy.to(socket, seed, 400_000, [
          "cut",
          "delay",
          "half-close",
        ]);
        const link = await KeeperLink.open({
          connect: () => connect(Number(new URL(proxy.url).port), "127.0.0.1"),
          secret: SECRET,
          epoch: 2,
          log,
          whyGone: () => undefined,
        });
        onTestFinished(() => link.close());
        const { texts, noted, hooks } = collecting();
        const kernel = await start(link, place.recipe("witness"), hooks);
        const LINES = 20_000;
        const REQUESTS = 20;
        kernel.send(execute(`flood ${LINES} 400`, "the-flood"));
        for (let n = 1; n <= REQUESTS; n += 1) {
          kernel.send(execute("flood 1 1", `request-${n}`));
          const goal = (LINES / REQUESTS) * n;
          await eventually(
            `${goal} lines`,
            () => (texts.length >= goal ? true : undefined),
            60_000,
          );
        }
        proxy.isKind = true;
        await eventually(
          "the last line",
          () => (texts.length >= LINES + REQUESTS ? true : undefined),
          60_000,
        );
        await kernel.stop(false);
        expect(counted(texts)).toEqual(range(LINES + REQUESTS));
        expect(noted).toEqual(range(noted.length));
        const { cut, delay, "half-close": half } = proxy.faults;
        expect([cut > 0, delay > 0, half > 0]).toEqual([true, true, true]);
        const got = readFileSync(place.record, "utf8").match(/^got .*$/gm);
        expect(got).toEqual([
          `got flood ${LINES} 400`,
          ...Array.from({ length: REQUESTS }, () => "got flood 1 1"),
        ]);
      },
      180_000,
    );
  },
);

describe("two servers that fight for a keeper", needsPosix, () => {
  test("invariant 5: the later one has the kernels, the earlier one is told so, sends nothing more, and does not come back", async () => {
    const place = new Place();
    let opened = 0;
    const first = await place.keeper(1);
    const { socket = "" } =
      readKeeperFile(keeperFileIn(place.stateDirectory)) ?? {};
    first.close();
    const early = await KeeperLink.open({
      connect() {
        opened += 1;
        return connect(socket);
      },
      secret: SECRET,
      epoch: 2,
      log,
      whyGone: () => undefined,
    });
    onTestFinished(() => early.close());
    const before = collecting();
    const kernel = await start(early, place.recipe("witness"), before.hooks);
    const LINES = 20_000;
    kernel.send(execute(`flood ${LINES} 400`, "the-flood"));
    await eventually("some lines", () =>
      before.texts.length > 100 ? true : undefined,
    );

    const late = await place.keeper(3);
    const after = collecting();
    const resumed = await start(
      late,
      { ...place.recipe("witness"), resume: { after: 0 } },
      after.hooks,
    );
    await eventually("the word to the first", () => early.over);
    expect(early.over).toBe("another server has taken its keeper");
    const [heard, streams] = [before.texts.length, opened];
    expect(() => kernel.send(execute("flood 1 1", "too-late"))).toThrow(
      "another server has taken its keeper",
    );
    await expect(kernel.interrupt()).rejects.toThrow("another server");
    await eventually(
      "the whole flood",
      () => (after.texts.length >= LINES ? true : undefined),
      60_000,
    );
    expect(before.texts).toHaveLength(heard);
    expect(opened).toBe(streams);
    expect(counted(after.texts)).toEqual(range(LINES));
    // A server with an epoch that is not higher is told who has the keeper.
    await expect(localKeeper(place.options(2))).rejects.toThrow(
      "another server has its keeper (with epoch 3)",
    );
    expect(late.isAttached).toBe(true);
    await resumed.stop(false);
    expect(readFileSync(place.record, "utf8")).toBe(
      `got flood ${LINES} 400\nprinted ${LINES}\n`,
    );
  }, 120_000);
});

describe("a stream that is cut at random bytes", needsPosix, () => {
  test.each([1, 2, 3])(
    "seed %i: invariants 2 and 4: each line arrives once and in order",
    async (seed) => {
      const place = new Place();
      const first = await place.keeper(1);
      first.close();
      const { socket = "" } =
        readKeeperFile(keeperFileIn(place.stateDirectory)) ?? {};
      const random = randomFrom(seed);
      let opened = 0;
      const link = await KeeperLink.open({
        connect() {
          opened += 1;
          return new BreakingStream(
            socket,
            random,
            opened < 25 ? 400_000 : 1e9,
          );
        },
        secret: SECRET,
        epoch: 2,
        log,
        whyGone: () => undefined,
      });
      onTestFinished(() => link.close());
      const { texts, noted, hooks } = collecting();
      const kernel = await start(link, place.recipe("witness"), hooks);
      const LINES = 20_000;
      kernel.send(execute(`flood ${LINES} 400`, "the-flood"));
      kernel.send(execute(`flood 1 1`, "the-second"));
      await eventually(
        "the last line",
        () => (texts.length > LINES ? true : undefined),
        60_000,
      );
      await kernel.stop(false);
      expect(counted(texts)).toEqual(range(LINES + 1));
      expect(noted).toEqual(range(noted.length));
      expect(opened).toBeGreaterThan(3);
      expect(readFileSync(place.record, "utf8").split("\n")).toEqual([
        `got flood ${LINES} 400`,
        `printed ${LINES}`,
        "got flood 1 1",
        `printed ${LINES + 1}`,
        "",
      ]);
    },
    120_000,
  );
});
