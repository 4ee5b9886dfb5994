/** A keeper with fake kernels: the promises of its page, each with the number of its invariant. */
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { compose, type Message } from "../../src/jupyter/message.ts";
import {
  frameKinds,
  frameOf,
  jsonFrame,
  writeU64,
} from "../../src/keeper/frames.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { piecesOf } from "../../src/keeper/events.ts";
import { eventually } from "../harness.ts";
import { code } from "../session/fake-kernel.ts";
import { recordingHooks } from "./recording-hooks.ts";
import {
  RECIPE,
  runId,
  SECRET,
  TestKeeper,
  type StartedRun,
} from "./keepers.ts";

/** Waits until the run has got event `number`. */
function reached({ noted }: StartedRun, number: number): Promise<true> {
  return eventually(`event ${number}`, () =>
    (noted.at(-1) ?? 0) >= number ? true : undefined,
  );
}

/** The texts that the kernel has printed, in the order of the calls. */
function printed({ calls }: StartedRun): string[] {
  return calls.flatMap(([name, , header, , raw]) =>
    name === "message" && (header as { msg_type: string }).msg_type === "stream"
      ? [(JSON.parse((raw as string[])[3] ?? "") as { text: string }).text]
      : [],
  );
}

const parent: Message = compose({
  channel: "shell",
  msg_type: "execute_request",
  content: { code: "1" },
  session: "s",
  username: "u",
});

function follow(run_id: string, after: number): Buffer[] {
  const bytes = Buffer.alloc(24);
  bytes.write(run_id, 0, "hex");
  writeU64(bytes, 16, after);
  return frameOf(frameKinds.follow, bytes);
}

function command(fields: Readonly<Record<string, unknown>>): Buffer[] {
  return jsonFrame(frameKinds.command, fields);
}

describe("invariant 1: everything that a kernel does is a numbered event", () => {
  test("and reaches the hooks in order, each once, with its number after it", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const run = await server.start();
    const { kernel } = keeper.kernels;
    kernel.print("one", parent);
    kernel.overflow("iopub", 5);
    kernel.write("display_data", "not JSON", parent);
    kernel.print("two", parent);
    await kernel.stop();
    await run.kernel.exited;
    await reached(run, 8);
    expect(run.calls.map(([name]) => name)).toEqual([
      "launched",
      "state",
      "message",
      "tooLarge",
      "refused",
      "message",
      "exited",
    ]);
    expect(run.noted).toEqual([1, 2, 3, 4, 5, 6, 7, 8]); // the answer to the start is one, too
    expect(run.kernel).toMatchObject({
      pid: 4711,
      info: { language_info: { name: "fake" } },
      missesInterrupts: true,
    });
  });

  test("a start that fails is one, and is not started again by a server that asks for it", async () => {
    const keeper = new TestKeeper();
    keeper.kernels.isSlow = true;
    const server = await keeper.server();
    const start = server.start();
    await eventually("the kernel", () => keeper.kernels.kernels[0]);
    keeper.kernels.kernel.die(3);
    await expect(start).rejects.toMatchObject({
      reason: "exited_during_start",
      message: expect.stringContaining("exit code 3") as string,
    });
    server.die(keeper.streams);
    const next = await keeper.server(2);
    await expect(next.start()).rejects.toMatchObject({
      reason: "exited_during_start",
    });
    expect(keeper.kernels.kernels).toHaveLength(1);
  });

  test("invariant 9: the working directory's change precedes the idle that ends the code", async () => {
    const keeper = new TestKeeper();
    const run = await (await keeper.server()).start();
    const { kernel } = keeper.kernels;
    kernel.cwd = "/moved";
    kernel.busy(parent);
    kernel.idle(parent);
    await reached(run, 5); // launched, state, answered, busy, directory
    expect(run.kernel.workingDirectory()).toBe("/moved");
    await reached(run, 6);
    expect(run.calls.at(-1)?.[0]).toBe("message");
  });
});

describe("invariant 2: nothing is forgotten before it is safe", () => {
  test("what was said without a server is there for the next one", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const run = await server.start();
    await reached(run, 3);
    server.die(keeper.streams);
    for (let n = 0; n < 1_000; n += 1)
      keeper.kernels.kernel.print(`${n}`, parent);
    const next = await keeper.server(2);
    const resumed = await next.resume(3);
    await reached(resumed, 1_003);
    expect(printed(resumed)).toEqual(
      Array.from({ length: 1_000 }, (_, n) => `${n}`),
    );
  });

  test("past the limits, the server is told which numbers are gone, and goes on", async () => {
    const keeper = new TestKeeper({ memory: 20_000 });
    const server = await keeper.server();
    const run = await server.start();
    await reached(run, 3);
    server.die(keeper.streams);
    for (let n = 0; n < 200; n += 1) {
      keeper.kernels.kernel.print(`${n}`, parent);
      if (n % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const next = await keeper.server(2);
    const resumed = await next.resume(3);
    await reached(resumed, 203);
    const [, from, to] = resumed.calls.find(([name]) => name === "lost") ?? [];
    expect(from).toBe(4);
    expect(printed(resumed)).toEqual(
      Array.from(
        { length: 203 - Number(to) },
        (_, n) => `${n + Number(to) - 3}`,
      ),
    );
    expect(resumed.noted[0]).toBe(to);
  });

  test("a server that does not read makes the keeper keep, and not the kernel wait", async () => {
    const keeper = new TestKeeper();
    const raw = keeper.raw().hello({ secret: SECRET, epoch: 1 });
    raw.write(
      command({
        id: "1",
        verb: "launch",
        run_id: runId(1),
        recipe: RECIPE,
        env: {},
      }),
    );
    raw.write(follow(runId(1), 0));
    const kernel = await eventually(
      "the kernel",
      () => keeper.kernels.kernels[0],
    );
    const [stream] = keeper.streams;
    stream?.pause();
    const text = "x".repeat(10_000);
    for (let n = 0; n < 1_000; n += 1) {
      kernel.print(text, parent);
      if (n % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(stream?.readableLength).toBeLessThan(4_000_000); // of the ten
    stream?.resume();
    await eventually("all events", () =>
      raw.frames.filter(({ kind }) => kind === frameKinds.event).length >= 1_003
        ? true
        : undefined,
    );
  });
});

describe("a server that has lost what it had acknowledged", () => {
  test("is told the gap, and still gets the kernel that runs", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const run = await server.start();
    keeper.kernels.kernel.print("lost", parent);
    await reached(run, 4);
    server.provisioner.acknowledge?.(runId(1), 4);
    await eventually("nothing kept", () =>
      keeper.store.isEmpty ? true : undefined,
    );
    server.die(keeper.streams);
    const next = await keeper.server(2);
    const resumed = await next.resume(0);
    expect(resumed.kernel.pid).toBe(4711);
    expect(resumed.kernel.info).toEqual(run.kernel.info);
    await reached(resumed, 4);
    expect(resumed.calls.slice(0, 2).map(([name]) => name)).toEqual([
      "lost",
      "launched",
    ]);
    keeper.kernels.kernel.print("heard", parent);
    await reached(resumed, 5);
    expect(printed(resumed)).toEqual(["heard"]);
  });
});

describe("invariant 3: only an acknowledgement lets the keeper forget", () => {
  test("what was read and not acknowledged comes again", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const run = await server.start();
    for (const text of ["a", "b", "c"])
      keeper.kernels.kernel.print(text, parent);
    await reached(run, 6);
    server.provisioner.acknowledge?.(runId(1), 4);
    server.link.close();
    const next = await keeper.server(2);
    expect(next.link.runs.get(runId(1))).toMatchObject({
      oldest: 5,
      newest: 6,
    });
    const resumed = await next.resume(4);
    await reached(resumed, 6);
    expect(printed(resumed)).toEqual(["b", "c"]);
    expect(resumed.calls[0]).toEqual([
      "launched",
      {
        pid: 4711,
        environment: {},
        working_directory: "/",
        connection_file: undefined,
      },
      false,
    ]);
  });

  test("a run that is over and acknowledged is forgotten, and the keeper has nothing left", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const run = await server.start();
    await run.kernel.stop(false);
    await reached(run, 4);
    server.provisioner.acknowledge?.(runId(1), 4);
    await eventually("nothing to keep", () =>
      keeper.store.isEmpty ? true : undefined,
    );
    server.die(keeper.streams);
    const next = await keeper.server(2);
    expect(next.link.runs.size).toBe(0);
    await expect(next.resume(4)).rejects.toMatchObject({
      reason: "start_failed",
      message: expect.stringContaining(
        "its keeper does not have it any more",
      ) as string,
    });
  });
});

describe("invariant 4: commands happen once", () => {
  test("a command that is repeated is answered as it was the first time", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    await server.start();
    server.die(keeper.streams);
    const interrupts: unknown[] = [];
    for (const epoch of [2, 3]) {
      const raw = keeper.raw().hello({ secret: SECRET, epoch });
      raw.write(command({ id: "x", verb: "interrupt", run_id: runId(1) }));
      raw.write(command({ id: "y", verb: "no such", run_id: runId(1) }));
      await eventually("the answers", () =>
        raw.values(frameKinds.failed).length > 0 &&
        raw.values(frameKinds.done).length > 0
          ? true
          : undefined,
      );
      interrupts.push(
        raw.values(frameKinds.done),
        raw.values(frameKinds.failed),
      );
      raw.leave();
    }
    expect(keeper.kernels.kernel.interrupts).toBe(1);
    expect(interrupts[0]).toEqual(interrupts[2]);
    expect(interrupts[1]).toEqual(interrupts[3]);
  });

  test("a message whose msg_id the kernel has got is not sent again", async () => {
    const keeper = new TestKeeper();
    await (await keeper.server()).start();
    keeper.cut();
    const request = code("once");
    for (const [epoch, id] of [
      [2, "a"],
      [3, "b"],
      [4, "b"],
    ] as const) {
      const raw = keeper.raw().hello({ secret: SECRET, epoch });
      const head = Buffer.concat([
        Buffer.from(runId(1), "hex"),
        Buffer.from([id.length]),
        Buffer.from(id),
      ]);
      raw.write(frameOf(frameKinds.send, head, ...piecesOf(request)));
      await eventually("the answer", () =>
        raw.values(frameKinds.done).some((done) => done["id"] === id)
          ? true
          : undefined,
      );
      raw.leave();
    }
    expect(keeper.kernels.kernel.received).toEqual(["once"]);
  });

  test("a launch of a run that exists attaches to it", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    await server.start();
    server.die(keeper.streams);
    const next = await keeper.server(2);
    const again = await next.start();
    expect(keeper.kernels.kernels).toHaveLength(1);
    expect(again.calls[0]?.[0]).toBe("launched");
    expect(again.kernel.pid).toBe(4711);
  });

  test("what was sent while the stream was missing reaches the kernel once and in order", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const run = await server.start();
    run.kernel.send(code("1"));
    keeper.cut();
    run.kernel.send(code("2"));
    const interrupted = run.kernel.interrupt();
    run.kernel.send(code("3"));
    await interrupted;
    await eventually("all messages", () =>
      keeper.kernels.kernel.received.length >= 3 ? true : undefined,
    );
    expect(keeper.kernels.kernel.received).toEqual(["1", "2", "3"]);
    expect(keeper.kernels.kernel.interrupts).toBe(1);
  });

  test("what needs an answer fails when the keeper cannot be reached, and says what one can do", async () => {
    const keeper = new TestKeeper();
    const whyLate = "its keeper (process 1) does not answer";
    const server = await keeper.server(1, { whyLate });
    const run = await server.start();
    keeper.isUnreachable = true;
    keeper.cut();
    await expect(run.kernel.interrupt()).rejects.toMatchObject({
      reason: "interrupt_failed",
      message: expect.stringContaining(whyLate) as string,
    });
  });

  test("past the bound, a message for a keeper that cannot be reached is refused", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const run = await server.start();
    keeper.isUnreachable = true;
    keeper.cut();
    const large = {
      ...code("large"),
      buffers: [Buffer.alloc(40 * 1024 * 1024)],
    };
    run.kernel.send(large);
    expect(() => run.kernel.send(large)).toThrow(
      "its keeper has not taken the earlier messages",
    );
  });
});

describe("invariant 5: one server at a time", () => {
  test("a higher epoch displaces the server, which is told so and does not come back", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server(1);
    const run = await server.start();
    const next = await keeper.server(2);
    await eventually("the end of the first", () => server.link.over);
    expect(server.link.over).toBe("another server has taken its keeper");
    expect(server.link.isGone).toBe(false);
    await expect(run.kernel.interrupt()).rejects.toMatchObject({
      reason: "interrupt_failed",
      message: expect.stringContaining(
        "another server has taken its keeper",
      ) as string,
    });
    expect(() => run.kernel.send(code("x"))).toThrow("another server");
    expect(run.calls.at(-1)).toEqual(["heartbeat", false]);
    const resumed = await next.resume(3);
    await resumed.kernel.interrupt();
    expect(keeper.kernels.kernel.interrupts).toBe(1);
    expect(keeper.streams.filter(({ destroyed }) => !destroyed)).toHaveLength(
      1,
    );
  });

  test.each([
    ["a lower", 4],
    ["the same", 5],
  ])(
    "%s epoch of another server is refused, with the holder's",
    async (_, epoch) => {
      const keeper = new TestKeeper();
      const server = await keeper.server(5);
      await expect(keeper.server(epoch)).rejects.toThrow(
        "another server has its keeper (with epoch 5)",
      );
      expect(server.link.isAttached).toBe(true);
    },
  );

  test("the same server that comes again replaces its own stream", async () => {
    const keeper = new TestKeeper();
    const first = keeper
      .raw()
      .hello({ secret: SECRET, epoch: 1, server: "me" });
    await eventually("the hello", () => first.frames[0]);
    const again = keeper
      .raw()
      .hello({ secret: SECRET, epoch: 1, server: "me" });
    await eventually("the hello", () => again.frames[0]);
    await eventually("the end", () => (first.isClosed ? true : undefined));
    expect(again.values(frameKinds.hello)[0]).not.toHaveProperty("refused");
    expect(first.values(frameKinds.displaced)).toEqual([{ epoch: 1 }]);
  });
});

describe("invariant 6: every keeper has an end", () => {
  test("without kernels, unacknowledged events and a server", async () => {
    const clock = new TestClock();
    const keeper = new TestKeeper({ emptyTimeout_ms: 60_000 });
    const server = await keeper.server();
    const run = await server.start();
    await run.kernel.stop(false);
    await reached(run, 4);
    server.die(keeper.streams);
    await clock.pass(120_000);
    expect(keeper.isOver).toBe(false); // its events are not acknowledged
    const next = await keeper.server(2);
    const resumed = await next.resume(3);
    await reached(resumed, 4);
    next.provisioner.acknowledge?.(runId(1), 4);
    await clock.pass(120_000);
    expect(keeper.isOver).toBe(false); // a server is attached
    next.die(keeper.streams);
    await clock.pass(30_000);
    expect(keeper.isOver).toBe(false);
    await clock.pass(30_000);
    expect(await keeper.keeper.ended).toBe(
      "it has nothing to keep and no server",
    );
  });

  test("with a running kernel it stays", async () => {
    const clock = new TestClock();
    const keeper = new TestKeeper({ emptyTimeout_ms: 60_000 });
    const server = await keeper.server();
    await server.start();
    server.provisioner.acknowledge?.(runId(1), 3);
    await eventually("nothing to keep", () =>
      keeper.store.isEmpty ? true : undefined,
    );
    server.die(keeper.streams);
    await clock.pass(120_000);
    expect(keeper.isOver).toBe(false);
  });

  test("if no server comes for too long and no code runs: it shuts its kernels down, keeps their last words as long again, and ends", async () => {
    const clock = new TestClock();
    const keeper = new TestKeeper({ idleTimeout_ms: 60_000, check_ms: 1_000 });
    const server = await keeper.server();
    await server.start();
    const { kernel } = keeper.kernels;
    kernel.busy(parent);
    server.die(keeper.streams);
    await clock.pass(120_000);
    expect(await isRunning(kernel)).toBe(true); // code runs
    kernel.print("the result", parent);
    kernel.idle(parent);
    await clock.pass(30_000);
    expect(await isRunning(kernel)).toBe(true);
    await clock.pass(32_000);
    await kernel.exited;
    expect(keeper.store.isEmpty).toBe(false);
    await clock.pass(30_000);
    expect(keeper.isOver).toBe(false);
    await clock.pass(32_000);
    expect(await keeper.keeper.ended).toBe("no server has attached for 60 s");
  });

  test("a server that comes after its kernels were shut down reads what they said, and why they were", async () => {
    const clock = new TestClock();
    const keeper = new TestKeeper({ idleTimeout_ms: 60_000, check_ms: 1_000 });
    const server = await keeper.server();
    await server.start();
    const { kernel } = keeper.kernels;
    server.die(keeper.streams);
    kernel.busy(parent);
    kernel.print("the result", parent);
    kernel.idle(parent);
    await clock.pass(62_000);
    await kernel.exited;
    const next = await keeper.server(2);
    const { calls, kernel: again } = await next.resume(0);
    expect(await again.exited).toMatchObject({
      why: "its keeper has shut it down: no server has attached for 60 s",
    });
    expect(JSON.stringify(calls)).toContain("the result");
  });

  test("a server says how long kernels may run without one; the times of the last server count", async () => {
    const clock = new TestClock();
    const keeper = new TestKeeper({ idleTimeout_ms: 10_000, check_ms: 1_000 });
    const for_ever = { idle_timeout_ms: null, busy_timeout_ms: null };
    const first = await keeper.server(1, { times: for_ever });
    await first.start();
    const { kernel } = keeper.kernels;
    first.die(keeper.streams);
    await clock.pass(3_600_000);
    expect(await isRunning(kernel)).toBe(true);
    // This server does not say its times, as older ones do not.
    const second = await keeper.server(2);
    second.die(keeper.streams);
    await clock.pass(3_600_000);
    expect(await isRunning(kernel)).toBe(true);
    const times = { idle_timeout_ms: 60_000, busy_timeout_ms: null };
    const third = await keeper.server(3, { times });
    third.die(keeper.streams);
    await clock.pass(62_000);
    await kernel.exited;
  });

  test("code that runs for too long without a server is stopped only if the server has said so", async () => {
    const clock = new TestClock();
    const keeper = new TestKeeper({ idleTimeout_ms: 10_000, check_ms: 1_000 });
    const times = { idle_timeout_ms: 10_000, busy_timeout_ms: 60_000 };
    const server = await keeper.server(1, { times });
    await server.start();
    const { kernel } = keeper.kernels;
    kernel.busy(parent);
    await clock.pass(40_000);
    server.die(keeper.streams);
    // The time counts from the moment at which the server left.
    await clock.pass(40_000);
    expect(await isRunning(kernel)).toBe(true);
    await clock.pass(22_000);
    await kernel.exited;
    await clock.pass(62_000);
    expect(await keeper.keeper.ended).toContain("no server has attached for");
  });

  test("on the server's command, but not while a kernel runs", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const run = await server.start();
    await expect(server.link.command({ verb: "end" })).rejects.toThrow(
      "A kernel runs",
    );
    await run.kernel.stop(false);
    await server.link.command({ verb: "end" });
    expect(await keeper.keeper.ended).toBe("its server has no more use for it");
  });

  test("an attached server is told why its kernels end with it", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const run = await server.start();
    void keeper.keeper.end("it received SIGTERM");
    await run.kernel.exited;
    expect(run.calls.at(-1)).toEqual([
      "exited",
      expect.objectContaining({
        why: "its keeper has ended: it received SIGTERM",
      }),
    ]);
  });

  test("a keeper that is gone for good ends its runs, once and after their events", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const run = await server.start();
    keeper.kernels.kernel.print("last", parent);
    await reached(run, 4);
    keeper.goneWhy = "its keeper is gone";
    keeper.cut();
    const gone = {
      exit_code: -1,
      signal: null,
      output: "",
      why: "its keeper is gone",
    };
    expect(await run.kernel.exited).toEqual(gone);
    expect(run.calls.slice(-2).map(([name]) => name)).toEqual([
      "message",
      "exited",
    ]);
    expect(server.link.isGone).toBe(true);
    await expect(server.start({ run_id: runId(2) })).rejects.toMatchObject({
      reason: "start_failed",
    });
  });

  test("a start whose keeper goes fails", async () => {
    const keeper = new TestKeeper();
    keeper.kernels.isSlow = true;
    const server = await keeper.server();
    const start = server.start();
    await eventually("the kernel", () => keeper.kernels.kernels[0]);
    keeper.goneWhy = "its keeper is gone";
    keeper.cut();
    await expect(start).rejects.toMatchObject({
      reason: "start_failed",
      message: expect.stringContaining("its keeper is gone") as string,
    });
  });
});

describe("invariant 8: closed by default", () => {
  test.each([
    ["a wrong secret", { secret: "wrong", epoch: 9 }, "secret"],
    ["no secret", { epoch: 9 }, "secret"],
    ["a secret of another type", { secret: 1, epoch: 9 }, "secret"],
    ["no epoch", { secret: SECRET }, "displaced"],
    [
      "a protocol that is too old",
      { secret: SECRET, epoch: 9, protocol: 0, lowest: 0 },
      "version",
    ],
    [
      "a protocol that is too new",
      { secret: SECRET, epoch: 9, protocol: 9, lowest: 9 },
      "version",
    ],
  ])(
    "a server with %s is refused, and its stream ends",
    async (_, hello, refused) => {
      const keeper = new TestKeeper();
      const raw = keeper.raw().hello(hello);
      raw.write(command({ id: "1", verb: "end" }));
      await eventually("the end", () => (raw.isClosed ? true : undefined));
      expect(raw.values(frameKinds.hello)).toMatchObject([{ refused }]);
      expect(raw.frames).toHaveLength(1);
      expect(keeper.keeper.epoch).toBe(0);
    },
  );

  test("a newer server that understands this protocol is welcome", async () => {
    const keeper = new TestKeeper();
    const raw = keeper
      .raw()
      .hello({ secret: SECRET, epoch: 9, protocol: 9, lowest: 1 });
    const answer = await eventually(
      "the hello",
      () => raw.values(frameKinds.hello)[0],
    );
    expect(answer).toMatchObject({ protocol: 2, lowest: 1, runs: [] });
  });

  test.each([
    ["another magic", Buffer.from("GET "), []],
    [
      "another frame than a hello",
      undefined,
      command({ id: "1", verb: "end" }),
    ],
    [
      "a hello that is not JSON",
      undefined,
      frameOf(frameKinds.hello, Buffer.from("{")),
    ],
    [
      "a hello that is too large",
      undefined,
      frameOf(frameKinds.hello, Buffer.alloc(70_000, 0x20)),
    ],
  ])("a stream with %s ends without an answer", async (_, magic, frame) => {
    const keeper = new TestKeeper();
    const raw = keeper.raw(magic).write(frame);
    await eventually("the end", () => (raw.isClosed ? true : undefined));
    expect(raw.frames).toEqual([]);
  });

  test("strangers do not take the places of the server or of each other for long", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const strangers = Array.from({ length: 20 }, () => keeper.raw());
    await eventually("the first strangers' end", () =>
      strangers.slice(0, 4).every(({ isClosed }) => isClosed)
        ? true
        : undefined,
    );
    expect(server.link.isAttached).toBe(true);
    expect(strangers.filter(({ isClosed }) => isClosed)).toHaveLength(4);
  });

  test("a server that breaks the protocol loses its stream, and the kernels stay", async () => {
    const keeper = new TestKeeper();
    await (await keeper.server()).start();
    const raw = keeper.raw().hello({ secret: SECRET, epoch: 2 });
    raw.write(frameOf(0x7f, Buffer.from(runId(1), "hex")));
    await eventually("the end", () => (raw.isClosed ? true : undefined));
    const next = await keeper.server(3);
    expect(next.link.runs.get(runId(1))?.phase).toBe("running");
  });
});

describe("the kernel port", () => {
  test("a start that is aborted is ended in the keeper, and fails with the reason", async () => {
    const keeper = new TestKeeper();
    keeper.kernels.isSlow = true;
    const server = await keeper.server();
    const abort = new AbortController();
    const { hooks } = recordingHooks();
    const start = server.provisioner.launch(
      { ...RECIPE, run_id: runId(1) },
      hooks,
      abort.signal,
    );
    const kernel = await eventually(
      "the kernel",
      () => keeper.kernels.kernels[0],
    );
    abort.abort(new Error("it was stopped"));
    await expect(start).rejects.toThrow("it was stopped");
    await kernel.exited;
  });

  test("ports are reserved and released in the keeper, with the server's environment", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    expect(await server.provisioner.reserve(RECIPE)).toMatchObject({
      shell_port: 2,
    });
    await server.start();
    server.provisioner.release("s");
    await eventually("the release", () => keeper.released[0]);
    expect(keeper.released).toEqual(["s"]);
    expect(keeper.envs).toEqual([{ HOME: "/home/tester" }]);
  });

  test("an adopted kernel, its directory, kill, and whether it is alive", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const connection = await keeper.kernels.reserve();
    const kernel = await server.provisioner.adopt(
      { ...RECIPE, run_id: runId(3) },
      connection,
      recordingHooks().hooks,
      new AbortController().signal,
    );
    expect(kernel.workingDirectory()).toBe("/");
    expect(await kernel.isAlive?.(100)).toBe(true);
    await kernel.kill();
    expect(await kernel.exited).toMatchObject({ signal: "SIGKILL" });
  });

  test("limits are changed once, also if the stream is lost meanwhile; a refusal arrives with its reason", async () => {
    const keeper = new TestKeeper();
    const resized: unknown[] = [];
    const server = await keeper.server();
    const { kernel } = await server.start(
      {},
      { resized: (change) => resized.push(change) },
    );
    const change = { run_time_s: 60, memory_bytes: null };
    const done = kernel.resize(change);
    keeper.cut();
    await done;
    expect(keeper.kernels.kernel.limits).toEqual([change]);
    await expect(kernel.resize({ cpus: 1 })).rejects.toMatchObject({
      reason: "bad_configuration",
      message: "`cpus` stays as it is, because this is a fake",
    });
    expect(resized).toEqual([change]);
  });

  test("the keeper's failures arrive with their reasons", async () => {
    const keeper = new TestKeeper();
    const run = await (await keeper.server()).start();
    keeper.kernels.kernel.refusesInterrupts = true;
    await expect(run.kernel.interrupt()).rejects.toMatchObject({
      reason: "interrupt_failed",
    });
  });

  test("a session that is late makes only its own run wait, and gets each event once", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    let release: () => void = () => {};
    let late: Promise<void> | undefined;
    const slow = await server.start({}, { caughtUp: () => late });
    const other = await server.start({ run_id: runId(2), session_id: "other" });
    await reached(slow, 3);
    const [first, second] = keeper.kernels.kernels;
    late = new Promise((resolve) => (release = resolve));
    first?.print("0", parent);
    await eventually("the first", () => printed(slow)[0]);
    for (let n = 1; n <= 500; n += 1) first?.print(`${n}`, parent);
    second?.print("quick", parent);
    await eventually("the other", () => printed(other)[0]);
    expect(printed(slow)).toEqual(["0"]);
    late = undefined;
    release();
    await reached(slow, 504);
    expect(printed(slow)).toEqual(
      Array.from({ length: 501 }, (_, n) => `${n}`),
    );
    expect(slow.noted).toEqual(Array.from({ length: 504 }, (_, n) => n + 1));
  });

  test("a message is on its way while the keeper receives it, while its event is not delivered, and while the stream is missing", async () => {
    const keeper = new TestKeeper();
    let late: Promise<void> | undefined;
    const run = await (
      await keeper.server()
    ).start({}, { caughtUp: () => late });
    await reached(run, 3);
    const { kernel } = keeper.kernels;
    const isReceiving = () => run.kernel.isReceiving?.();
    expect(await isReceiving()).toBe(false);
    kernel.sends = true;
    expect(await isReceiving()).toBe(true);
    kernel.sends = false;
    expect(await isReceiving()).toBe(false);

    let release: () => void = () => {};
    late = new Promise((resolve) => (release = resolve));
    kernel.print("first", parent);
    await eventually("the first", () => printed(run)[0]);
    kernel.print("second", parent);
    expect(await isReceiving()).toBe(true);
    late = undefined;
    release();
    await reached(run, 5);
    expect(await isReceiving()).toBe(false);

    keeper.isUnreachable = true;
    keeper.cut();
    expect(await isReceiving()).toBe(true);
    keeper.isUnreachable = false;
    await eventually("the return", async () =>
      (await isReceiving()) === false ? true : undefined,
    );
  });

  test("a heartbeat is reported lost while the stream is missing, and back with it", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const run = await server.start();
    await reached(run, 3);
    keeper.isUnreachable = true;
    keeper.cut();
    await eventually("the loss", () =>
      run.calls.some(([name]) => name === "heartbeat") ? true : undefined,
    );
    keeper.isUnreachable = false;
    await eventually("the return", () =>
      run.calls.filter(([name]) => name === "heartbeat").length === 2
        ? true
        : undefined,
    );
    expect(run.calls.slice(-2)).toEqual([
      ["heartbeat", false],
      ["heartbeat", true],
    ]);
  });

  test("large messages arrive whole, in order with the small ones, also with buffers", async () => {
    const keeper = new TestKeeper();
    const run = await (await keeper.server()).start();
    const { kernel } = keeper.kernels;
    const text = "y".repeat(3 * 1024 * 1024);
    kernel.print("before", parent);
    kernel.print(text, parent);
    kernel.deliver({
      ...compose({
        channel: "iopub",
        msg_type: "stream",
        content: { name: "stdout", text: "with buffers" },
        session: "k",
        username: "k",
        parent,
      }),
      buffers: [Buffer.alloc(3 * 1024 * 1024, 5)],
    });
    kernel.print("after", parent);
    await reached(run, 7);
    expect(printed(run)).toEqual(["before", text, "with buffers", "after"]);
    const [, , , , , buffers] =
      run.calls.find(
        ([name, , , , , some]) =>
          name === "message" && (some as string[]).length > 0,
      ) ?? [];
    expect((buffers as string[])[0]?.length).toBe(3 * 1024 * 1024);
  });

  test("a half-open stream is noticed by pings, and attached again", async () => {
    const keeper = new TestKeeper({ ping_ms: 20 });
    const server = await keeper.server(1, { ping_ms: 20 });
    const run = await server.start();
    // The streams stay open, and nothing passes any more.
    const [stream] = keeper.streams;
    stream?.removeAllListeners("data").pause();
    await eventually("another stream", () =>
      keeper.streams.length > 1 ? true : undefined,
    );
    keeper.kernels.kernel.print("there", parent);
    await eventually("the message", () => printed(run)[0]);
  });
});

function isRunning({ exited }: Pick<Kernel, "exited">): Promise<boolean> {
  const now = new Promise((resolve) => setImmediate(resolve, true));
  return Promise.race([now, exited]).then((first) => first === true);
}

/** The time of timers and of `performance`. It passes faster when the test says so. */
class TestClock {
  constructor() {
    vi.useFakeTimers({
      shouldAdvanceTime: true,
      toFake: [
        "performance",
        ...(["setTimeout", "clearTimeout"] as const),
        ...(["setInterval", "clearInterval"] as const),
      ],
    });
    onTestFinished(() => void vi.useRealTimers());
  }

  /** Resolves when everything that was due has happened. */
  async pass(ms: number): Promise<void> {
    await new Promise(setImmediate); // streams have delivered what was written
    await vi.advanceTimersByTimeAsync(ms);
    await new Promise(setImmediate);
  }
}
