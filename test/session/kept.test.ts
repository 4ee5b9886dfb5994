import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { VarAction } from "../../contract/index.ts";
import type { Message } from "../../src/jupyter/message.ts";
import type { Exit } from "../../src/host/exit.ts";
import { eventually } from "../harness.ts";
import { code, type FakeKernel, message } from "./fake-kernel.ts";
import {
  Client,
  root,
  Server,
  upToDate,
  USAGE,
  written,
} from "./kept-servers.ts";

test.each([
  ["without checkpoints", {}],
  [
    "with a checkpoint after each write",
    { checkpointPace: { bytes: 1, factor: 0, interval_ms: 0 } },
  ],
])(
  "whatever happens, and whenever the server is killed, nothing is lost or doubled: %s",
  async (_, limits) => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.constant("print" as const) },
      { weight: 3, arbitrary: fc.constant("send" as const) },
      { weight: 3, arbitrary: fc.constant("run" as const) },
      { weight: 2, arbitrary: fc.constant("kill" as const) },
      { weight: 2, arbitrary: fc.constant("read" as const) },
      { weight: 1, arbitrary: fc.constant("ask" as const) },
      { weight: 1, arbitrary: fc.constant("turn" as const) },
      { weight: 1, arbitrary: fc.constant("die" as const) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        let server = Server.first({}, false, limits);
        const { keeper } = server;
        await server.session.start();
        const client = new Client();
        const printed: string[] = [];
        const sent: string[] = [];
        const executed: string[] = [];
        /** How many messages of the present kernel were looked at. */
        let looked = 0;
        let kernel = keeper.kernel;
        const next = () =>
          kernel.sent
            .slice(looked)
            .find(({ header }) => header.msg_type === "execute_request");
        for (const each of steps) {
          switch (each) {
            case "print":
              printed.push(`${printed.length}`);
              kernel.print(printed.at(-1) ?? "", next() ?? code("nothing"));
              break;
            case "send": {
              const request = code(`code ${sent.length}`);
              sent.push(request.header.msg_id);
              server.session.send(request);
              break;
            }
            case "ask": {
              const request = next();
              if (request !== undefined) kernel.ask(request, "?");
              break;
            }
            case "run": {
              const request = next();
              if (request === undefined) break;
              looked = kernel.sent.indexOf(request) + 1;
              executed.push(request.header.msg_id);
              kernel.run(request);
              break;
            }
            case "die":
              kernel.die(1);
              await server.session.restored;
              await eventually("the end is noticed", () =>
                server.session.status === "exited" ? true : undefined,
              );
              await server.session.start();
              kernel = keeper.kernel;
              looked = 0;
              break;
            case "kill":
              server = await server.killed();
              break;
            case "read":
              await client.read(server.session);
              break;
            case "turn":
              await new Promise((resolve) => setImmediate(resolve));
          }
        }
        await server.session.restored;
        for (;;) {
          const request = next();
          if (request === undefined) break;
          looked = kernel.sent.indexOf(request) + 1;
          executed.push(request.header.msg_id);
          kernel.run(request);
        }
        await upToDate(client, server.session);
        expect(client.lines).toEqual(printed);
        expect(new Set(executed).size).toBe(executed.length);
        for (const id of sent) {
          const states = client.statesOf(id);
          const last = states.at(-1);
          expect(["done", "aborted"]).toContain(last);
          expect(states.filter((state) => state === last)).toHaveLength(1);
          if (last === "done") expect(executed).toContain(id);
          expect(states.indexOf("running")).toBe(states.lastIndexOf("running"));
        }
      }),
      { numRuns: 60 },
    );
  },
);

describe("after the server was killed", () => {
  test("the session goes on with its kernel, and a reader notices a pause", async () => {
    const first = Server.first();
    await first.session.start();
    const client = new Client();
    const { kernel } = first.keeper;
    const request = code("a");
    first.session.send(request);
    kernel.busy(request);
    kernel.print("one", request);
    await upToDate(client, first.session);
    const second = await first.killed();
    expect(second.session.status).toBe("offline");
    expect(second.session.statusReason).toBe("restoring");
    kernel.print("two", request);
    await second.session.restored;
    expect(second.session.status).toBe("busy");
    kernel.print("three", request);
    kernel.reply(request);
    kernel.idle(request);
    await upToDate(client, second.session);
    expect(client.lines).toEqual(["one", "two", "three"]);
    expect(client.statesOf(request.header.msg_id)).toEqual(["running", "done"]);
    expect(client.statuses).toEqual([
      "starting",
      "ready",
      "idle",
      "busy",
      "offline",
      "busy",
      "idle",
    ]);
    expect(second.session.journal.id).toBe(first.session.journal.id);
    expect(kernel.received).toEqual(["a"]);
  });

  test("code that waited in the queue runs, once, and in its order", async () => {
    const first = Server.first();
    await first.session.start();
    const { kernel } = first.keeper;
    const requests = ["a", "b", "c"].map((text) => code(text));
    for (const request of requests) first.session.send(request);
    kernel.busy(requests[0] as Message);
    await written(first.session);
    const { session } = await first.killed();
    await session.restored;
    expect(session.queue.pending.length).toBe(2);
    for (const request of requests) kernel.run(request);
    expect(kernel.received).toEqual(["a", "b", "c"]);
    expect([...session.executions].map(({ state }) => state)).toEqual([
      "done",
      "done",
      "done",
    ]);
  });

  test("code that was accepted before its event was written runs", async () => {
    const first = Server.first();
    await first.session.start();
    await written(first.session);
    const request = code("a");
    first.session.send(request);
    const { session, keeper } = await first.killed(); // in the same turn
    await session.restored;
    expect(keeper.kernel.received).toEqual(["a"]);
    keeper.kernel.run(request);
    expect(session.executions.get(request.header.msg_id).state).toBe("done");
  });

  test("a request that a client repeats is not run again", async () => {
    const first = Server.first();
    await first.session.start();
    const request = code("a");
    first.session.send(request);
    first.keeper.kernel.run(request);
    await written(first.session);
    const { session, keeper } = await first.killed();
    expect(session.send(request)).toBe(false);
    await session.restored;
    expect(session.send(request)).toBe(false);
    expect(keeper.kernel.received).toEqual(["a"]);
  });

  test("a message that was refused can be sent again", async () => {
    const first = Server.first();
    const control = message("note_request", "control");
    expect(() => first.session.send(control)).toThrow();
    const { session, keeper } = await first.killed();
    await session.restored;
    await session.start();
    expect(session.send(control)).toBe(true);
    expect(keeper.kernel.received).toEqual(["note_request"]);
  });

  test("an input request waits for its answer, which is written nowhere", async () => {
    const first = Server.first();
    await first.session.start();
    const request = code("a");
    first.session.send(request);
    const { kernel } = first.keeper;
    kernel.busy(request);
    kernel.ask(request, "name?");
    await written(first.session);
    const second = await first.killed();
    const client = new Client();
    await second.session.restored;
    const execution = second.session.executions.get(request.header.msg_id);
    expect(execution.state).toBe("waiting_for_input");
    second.session.answer(execution, { value: "TOPSECRET" });
    expect(kernel.received).toEqual(["a", "input_reply"]);
    await upToDate(client, second.session);
    expect(client.seen.join("")).not.toContain("TOPSECRET");
    const third = await second.killed();
    await third.session.restored;
    expect(
      third.session.executions.get(request.header.msg_id).input,
    ).toBeUndefined();
    for (const file of filesBelow(root)) {
      expect(file.toString()).not.toContain("TOPSECRET");
    }
  });

  test("an execution that ended has its reply, its outputs and its times", async () => {
    const first = Server.first();
    await first.session.start();
    const request = code("a");
    first.session.send(request);
    const { kernel } = first.keeper;
    kernel.busy(request);
    kernel.print("one", request);
    kernel.reply(request, { status: "ok", execution_count: 7 });
    kernel.idle(request);
    await written(first.session);
    const before = first.session.executions.get(request.header.msg_id);
    const { session } = await first.killed();
    await session.restored;
    const after = session.executions.get(request.header.msg_id);
    for (const key of [
      "state",
      "reply",
      "firstSeq",
      "lastSeq",
      "endSeq",
      "outputBytes",
      "counts",
      "startedAt",
      "endedAt",
      "queuedAt",
      "code",
    ] as const) {
      expect([key, after[key]]).toEqual([key, before[key]]);
    }
    expect([...session.history]).toEqual([...first.session.history]);
  });

  test("displays and comms are there", async () => {
    const first = Server.first();
    await first.session.start();
    const { kernel } = first.keeper;
    const request = code("a");
    first.session.send(request);
    kernel.emit(
      "display_data",
      { data: {}, metadata: {}, transient: { display_id: "d" } },
      request,
    );
    kernel.emit("comm_open", {
      comm_id: "of kernel",
      target_name: "t",
      data: {},
    });
    first.session.send(commOpen("of client"));
    await written(first.session);
    const { session } = await first.killed();
    await session.restored;
    expect([...session.displays.entries()].map(([id]) => id)).toEqual(["d"]);
    expect([...session.comms.entries()].map(([id]) => id).sort()).toEqual([
      "of client",
      "of kernel",
    ]);
  });

  test("a comm that a client opens before there is a kernel is opened, once", async () => {
    const first = Server.first();
    first.session.send(commOpen("early"));
    const second = await first.killed();
    await second.session.restored;
    expect([...second.session.comms.entries()]).toEqual([]);
    await second.session.start();
    const { kernel } = second.keeper;
    expect(kernel.received).toEqual(["comm_open"]);
    await written(second.session);
    const { session } = await second.killed();
    await session.restored;
    expect([...session.comms.entries()].map(([id]) => id)).toEqual(["early"]);
    expect(kernel.received).toEqual(["comm_open"]);
  });

  test("what the kernel did meanwhile is there, up to its end", async () => {
    const first = Server.first();
    await first.session.start();
    const request = code("a");
    first.session.send(request);
    await written(first.session);
    const { kernel } = first.keeper;
    const killed = first.killed();
    kernel.print("last words", request);
    kernel.die(3);
    const { session } = await killed;
    await session.restored;
    expect(session.status).toBe("exited");
    expect(session.lastExit).toMatchObject<Partial<Exit>>({ exit_code: 3 });
    const execution = session.executions.get(request.header.msg_id);
    expect(execution.state).toBe("aborted");
    expect(execution.reason).toBe("kernel_exited");
    const client = new Client();
    await upToDate(client, session);
    expect(client.lines).toEqual(["last words"]);
  });

  test("a kernel whose keeper is gone has ended, and its history can be read", async () => {
    const first = Server.first();
    await first.session.start();
    const request = code("a");
    first.session.send(request);
    first.keeper.kernel.print("one", request);
    await written(first.session);
    first.keeper.lose();
    const { session } = await first.killed();
    await session.restored;
    expect(session.status).toBe("exited");
    expect(session.statusReason).toContain("its keeper does not have it");
    const client = new Client();
    await upToDate(client, session);
    expect(client.lines).toEqual(["one"]);
    await session.start();
    expect(session.status).toBe("idle");
  });

  test("a session that was never started, and one that has ended, stay as they are", async () => {
    const idle = await Server.first().killed();
    await idle.session.restored;
    expect(idle.session.status).toBe("uninitialized");
    const first = Server.first();
    await first.session.start();
    await first.session.shutDown();
    await written(first.session);
    const { session } = await first.killed();
    expect(session.status).toBe("exited");
    await session.restored;
    expect(session.status).toBe("exited");
  });

  test("the end of a kernel is told although only a part of it was written", async () => {
    const first = Server.first();
    await first.session.start();
    await written(first.session);
    first.keeper.kernel.die(4);
    const { session } = await first.killed(); // the session's file says exited, the journal does not
    await session.restored;
    const client = new Client();
    await upToDate(client, session);
    expect(client.statuses.at(-1)).toBe("exited");
    expect(session.lastExit?.exit_code).toBe(4);
  });

  test("a session that is deleted while it is restored ends its kernel", async () => {
    const first = Server.first();
    await first.session.start();
    await written(first.session);
    const { session, keeper } = await first.killed();
    await session.dispose();
    expect(await keeper.kernel.exited).toMatchObject({ exit_code: 0 });
    expect(session.status).toBe("exited");
  });

  test("an interrupt and a restart right after the start of the server reach the kernel", async () => {
    const first = Server.first();
    await first.session.start();
    const request = code("a");
    first.session.send(request);
    first.keeper.kernel.busy(request);
    await written(first.session);
    const second = await first.killed();
    await second.session.interrupt();
    expect(second.keeper.kernel.interrupts).toBe(1);
    const third = await second.killed();
    await third.session.restart({});
    expect(third.keeper.provisioner.kernels).toHaveLength(2);
    expect(third.session.status).toBe("idle");
  });

  test("values of variables are not written, and a restart asks for them", async () => {
    const env: VarAction[] = [
      { action: "replace", name: "KEY", value: "TOPSECRET" },
    ];
    const first = Server.first({ env });
    await first.session.start();
    await written(first.session);
    for (const file of filesBelow(root)) {
      expect(file.toString()).not.toContain("TOPSECRET");
    }
    const { session, keeper } = await first.killed();
    await session.restored;
    await expect(session.restart({})).rejects.toMatchObject({
      reason: "start_failed",
      message: expect.stringMatching(/KEY.*--keep-env/) as string,
    });
    expect(session.status).toBe("idle");
    await session.restart({ env });
    expect(keeper.provisioner.recipes.at(-1)?.env).toEqual(env);
  });

  test("with --keep-env the values are there", async () => {
    const env: VarAction[] = [
      { action: "replace", name: "KEY", value: "value" },
    ];
    const first = Server.first({ env }, true);
    await first.session.start();
    await written(first.session);
    const { session, keeper } = await first.killed({ keepEnv: true });
    await session.restored;
    await session.restart({});
    expect(keeper.provisioner.recipes.at(-1)?.env).toEqual(env);
  });

  test("labels, policy and working directory are there", async () => {
    const first = Server.first();
    await first.session.start();
    first.session.labels = { project: "x" };
    first.session.policy = { ...first.session.policy, cull_idle_timeout: 7 };
    first.keeper.kernel.cwd = "/somewhere";
    const request = code("cd");
    first.session.send(request);
    first.keeper.kernel.run(request);
    await written(first.session);
    const { session } = await first.killed();
    expect(session.labels).toEqual({ project: "x" });
    expect(session.policy.cull_idle_timeout).toBe(7);
    expect(session.workingDirectory).toBe("/somewhere");
    expect(session.created).toEqual(first.session.created);
  });

  test("clients without positions of their own continue after what they have acknowledged", async () => {
    const first = Server.first();
    const { ownership, jupyterClients } = first.session;
    const claim = ownership.take("displaced", () => Promise.resolve());
    claim.acknowledge(7);
    claim.acknowledge(5);
    jupyterClients.get("lab", 2).acknowledge(9);
    jupyterClients.get("notebook", 3);
    const second = await first.killed();
    const { session } = await second.killed(); // once more, without a change
    expect(session.ownership.position).toBe(7);
    const lab = session.jupyterClients.get("lab", 100);
    expect([lab.acknowledged, lab.isRestored]).toEqual([9, true]);
    expect(session.jupyterClients.get("notebook", 100).acknowledged).toBe(3);
    const stranger = session.jupyterClients.get("stranger", 100);
    expect([stranger.acknowledged, stranger.isRestored]).toEqual([100, false]);
  });

  test("positions among numbers that were lost are those of the gap", async () => {
    const first = Server.first();
    await first.session.start();
    await written(first.session);
    const { last } = first.session.journal;
    const { ownership, jupyterClients } = first.session;
    const claim = ownership.take("displaced", () => Promise.resolve());
    jupyterClients.get("lab", 1).acknowledge(2);
    await first.loseDisk();
    for (let n = 0; n < 10; n += 1) first.session.sampled(USAGE);
    claim.acknowledge(last + 9);
    const second = await first.killed();
    expect(second.session.ownership.position).toBe(last + 1);
    const third = await second.killed();
    expect(third.session.ownership.position).toBe(last + 1);
    const lab = third.session.jupyterClients.get("lab", 100);
    expect(lab.acknowledged).toBe(2);
  });

  describe("while its disk could not be written", () => {
    /** Code that has ended before the disk fails. */
    const before = code("before");

    async function broken(): Promise<Server> {
      const first = Server.first();
      await first.session.start();
      first.session.send(before);
      first.keeper.kernel.run(before);
      await written(first.session);
      await first.loseDisk();
      return first;
    }

    /** What the kernel says after the server's question whether it has answered everything. */
    async function answerProbe(kernel: FakeKernel): Promise<void> {
      const probe = await eventually("the server asks", () =>
        kernel.sent
          .filter(({ header }) => header.msg_type === "kernel_info_request")
          .at(-1),
      );
      kernel.run(probe);
    }

    test("its history stays, readers are told the gap, and no code runs again", async () => {
      const first = await broken();
      const { kernel } = first.keeper;
      const old = new Client();
      await upToDate(old, first.session);
      const kept = old.seen.findIndex((text) => text.includes("usage"));
      const lost = code("lost");
      first.session.send(lost);
      kernel.print("lost", lost);
      kernel.run(lost);
      await written(first.session);
      const second = await first.killed();
      const { session } = second;
      await session.restored;
      expect(session.journal.id).not.toBe(first.session.journal.id);
      await answerProbe(kernel);
      const client = new Client({ mayMiss: true });
      await upToDate(client, session);
      expect(client.seen.slice(0, kept)).toEqual(old.seen.slice(0, kept));
      expect(client.events[kept]).toEqual({ kind: "gap" });
      expect(client.events[kept + 1]).toMatchObject({
        kind: "output",
        stream: "stderr",
        text: expect.stringContaining("the disk was full") as string,
      });
      expect(session.executions.get(before.header.msg_id).state).toBe("done");
      const { state, endSeq, lastSeq } = session.executions.get(
        lost.header.msg_id,
      );
      expect([state, endSeq, lastSeq]).toEqual(["done", kept + 1, kept + 1]);
      expect(kernel.received).toEqual([
        "before",
        "lost",
        "kernel_info_request",
      ]);
      expect(session.status).toBe("idle");

      const third = await second.killed();
      await third.session.restored;
      expect(third.session.journal.id).toBe(session.journal.id);
      const again = new Client({ mayMiss: true });
      await upToDate(again, third.session);
      expect(again.seen.slice(0, client.seen.length)).toEqual(client.seen);
      expect(third.session.executions.get(lost.header.msg_id)).toMatchObject({
        state: "done",
        endSeq: kept + 1,
      });
    });

    test("code that runs on ends as it ends, and code in the queue runs once", async () => {
      const first = await broken();
      const { kernel } = first.keeper;
      const [runs, waits] = [code("runs"), code("waits")];
      first.session.send(runs);
      first.session.send(waits);
      kernel.busy(runs);
      await written(first.session);
      const { session } = await first.killed();
      await session.restored;
      kernel.run(runs);
      await answerProbe(kernel);
      await eventually("the next code runs", () =>
        kernel.received.includes("waits") ? true : undefined,
      );
      kernel.run(waits);
      const client = new Client({ mayMiss: true });
      await upToDate(client, session);
      expect(client.statesOf(runs.header.msg_id).at(-1)).toBe("done");
      expect(client.statesOf(waits.header.msg_id).at(-1)).toBe("done");
      expect(
        kernel.received.filter((text) => text !== "kernel_info_request"),
      ).toEqual(["before", "runs", "waits"]);
    });

    test("code whose end was lost ends when the kernel answers a later request", async () => {
      const first = await broken();
      const { kernel } = first.keeper;
      const [lost, waits] = [code("lost"), code("waits")];
      first.session.send(lost);
      first.session.send(waits);
      kernel.busy(lost);
      await written(first.session);
      first.cutRequests(); // neither are requests written from now on
      kernel.reply(lost);
      kernel.idle(lost);
      await written(first.session);
      const { session } = await first.killed();
      await session.restored;
      expect(session.executions.get(lost.header.msg_id).state).toBe("running");
      const later = code("later");
      session.send(later);
      await answerProbe(kernel);
      await eventually("it has ended", () =>
        session.executions.get(lost.header.msg_id).isOver ? true : undefined,
      );
      expect(session.executions.get(lost.header.msg_id)).toMatchObject({
        state: "failed",
        reply: { status: "error", ename: "LostReply" },
      });
      // It may have failed: what follows it does not run.
      expect(session.executions.get(waits.header.msg_id)).toMatchObject({
        state: "aborted",
        reason: "earlier_failure",
      });
      // What a client has sent since then does not depend on it.
      await eventually("the next code runs", () =>
        kernel.received.includes("later") ? true : undefined,
      );
      expect(session.queue.pending).toEqual([]);
    });

    test("values of variables that are no longer kept are not written again", async () => {
      const env: VarAction[] = [
        { action: "replace", name: "KEY", value: "TOPSECRET" },
      ];
      const first = Server.first({ env }, true);
      await first.session.start();
      await written(first.session);
      await first.loseDisk();
      const second = await first.killed({ keepEnv: false });
      const file = join(second.folder, "session.json");
      expect(readFileSync(file, "utf8")).not.toContain("TOPSECRET");
    });

    test("it is the same again if the disk cannot be written at the next start either", async () => {
      const first = await broken();
      const second = await first.killed({ isFull: true });
      await second.session.restored;
      const third = await second.killed();
      await third.session.restored;
      const ids = [first, second, third].map(
        ({ session }) => session.journal.id,
      );
      expect(new Set(ids).size).toBe(3);
      const client = new Client({ mayMiss: true });
      await upToDate(client, third.session);
      expect(client.statesOf(before.header.msg_id)).toEqual([
        "running",
        "done",
      ]);
    });
  });

  test("the keeper drops what is written, and nothing else", async () => {
    const first = Server.first();
    await first.session.start();
    const { kernel } = first.keeper;
    const request = code("a");
    first.session.send(request);
    for (let n = 0; n < 50; n += 1) kernel.print(`${n}`, request);
    expect(first.keeper.kept).toBeGreaterThanOrEqual(50);
    await written(first.session);
    expect(first.keeper.kept).toBe(0);
  });
});

function commOpen(comm_id: string): Message {
  const message = code("");
  const header = { ...message.header, msg_type: "comm_open" };
  return {
    ...message,
    header,
    raw: {
      ...message.raw,
      header: Buffer.from(JSON.stringify(header)),
      content: Buffer.from(
        JSON.stringify({ comm_id, target_name: "t", data: {} }),
      ),
    },
  };
}

function filesBelow(directory: string): Buffer[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name)));
}
