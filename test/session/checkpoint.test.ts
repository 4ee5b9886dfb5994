/**
 * A server that takes over a checkpoint and reads the end of the journal has the
 * state of one that reads the whole journal, and that of the server before.
 */
import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Message } from "../../src/jupyter/message.ts";
import { stringify } from "../../src/jupyter/raw-json.ts";
import type { Session } from "../../src/session/session.ts";
import { eventually } from "../harness.ts";
import { code, type FakeKernel } from "./fake-kernel.ts";
import { Server, written } from "./kept-servers.ts";

/** After each write. */
const OFTEN = { checkpointPace: { bytes: 1, factor: 0, interval_ms: 0 } };

/** All of a session that clients can request and that follows from its journal. */
function stateOf(session: Session): unknown {
  const { displays, comms, queue, executions } = session;
  return {
    executions: [...executions].map((each) => ({
      id: each.id,
      code: each.code.shown,
      after: each.after,
      state: each.state,
      published: each.isOver ? undefined : each.publishedState,
      reason: each.reason,
      reply: stringify(each.reply),
      first: each.firstSeq,
      last: each.lastSeq,
      end: each.endSeq,
      bytes: each.outputBytes,
      counts: Object.fromEntries(each.counts),
      queued: each.queuedAt,
      started: each.startedAt,
      ended: each.endedAt,
      input: each.input?.text.toString(),
      answered: each.isOver ? [] : [...each.answeredInputs],
    })),
    forgotten: executions.forgotten,
    active: queue.active?.header.msg_id,
    pending: queue.pending.map(({ header }) => header.msg_id),
    history: [...session.history],
    displays: [...displays.entries()].map(([id, { content, size }]) => [
      id,
      content.toString(),
      size,
    ]),
    displaysDropped: displays.dropped,
    comms: [...comms.entries()].map(([id, comm]) => [
      id,
      stringify({
        ...comm,
        buffers: comm.buffers.map((b) => b.toString("hex")),
      }),
    ]),
    commsDropped: comms.dropped,
    usage: session.resource_usage,
    exit: session.lastExit,
    directory: session.workingDirectory,
  };
}

/** For two servers that have both sent code again. */
const withoutTimes = ({ session }: Server): string =>
  JSON.stringify(stateOf(session)).replaceAll(/"2\d{3}-[^"]+Z"|\d{13}/g, "");

/** Oldest first. */
const checkpointsIn = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => /^checkpoint\.\d+$/.test(name))
    .sort();

function removeCheckpoints(folder: string): void {
  for (const name of checkpointsIn(folder)) rmSync(join(folder, name));
}

function removeNewest(folder: string): void {
  const [newest] = checkpointsIn(folder).slice(-1);
  if (newest !== undefined) rmSync(join(folder, newest));
}

/** The numbers of the checkpoints, oldest first. */
const seqsIn = (folder: string): number[] =>
  checkpointsIn(folder).map((name) => Number(name.slice("checkpoint.".length)));

/** The server has written a checkpoint that has the newest entry. */
const isCheckpointed = ({ session, folder }: Server) =>
  eventually(
    "a checkpoint",
    () => seqsIn(folder).at(-1) === session.journal.next - 1 || undefined,
  );

/** Steps that a kernel, its clients and the server can make. */
const steps = [
  "print",
  "printMuch",
  "clear",
  "show",
  "update",
  "result",
  "openComm",
  "closeComm",
  "clientComm",
  "send",
  "sendInSubshell",
  "run",
  "runLater",
  "fail",
  "ask",
  "answer",
  "sample",
  "die",
  "turn",
  "checkpoint",
] as const;
type Step = (typeof steps)[number];

/** A session whose kernel does what the steps say. */
class Story {
  server: Server;
  kernel!: FakeKernel;
  #count = 0;
  /** How many messages of the present kernel were looked at. */
  #looked = 0;

  constructor(server: Server) {
    this.server = server;
  }

  async begin(): Promise<void> {
    await this.server.session.start();
    this.#next();
  }

  async make(step: Step): Promise<void> {
    const { kernel, server } = this;
    const { session } = server;
    const number = (this.#count += 1);
    const request = this.#running;
    switch (step) {
      case "print":
        if (request) kernel.print(`line ${number} é\n`, request);
        return;
      case "printMuch":
        if (request) kernel.print(`${number}`.repeat(4000), request);
        return;
      case "clear":
        if (request) kernel.emit("clear_output", { wait: true }, request);
        return;
      case "show":
        kernel.write("display_data", display(number, number % 5), request);
        return;
      case "update":
        kernel.write(
          "update_display_data",
          display(number, number % 3),
          request,
        );
        return;
      case "result":
        if (request) {
          kernel.emit(
            "execute_result",
            { data: { "text/plain": "2" }, metadata: {}, execution_count: 1 },
            request,
          );
        }
        return;
      case "openComm":
        kernel.write(
          "comm_open",
          `{"comm_id":"k${number % 4}","target_name":"t","data":{"big":12345678901234567890, "z":[${number}]}}`,
          request,
        );
        return;
      case "closeComm":
        kernel.emit("comm_close", { comm_id: `k${number % 4}`, data: {} });
        return;
      case "clientComm":
        session.send(
          comm(number % 3 === 0 ? "comm_close" : "comm_open", `c${number % 2}`),
        );
        return;
      case "send":
        session.execute(code(`code ${number}`), undefined);
        return;
      case "sendInSubshell": {
        const message = code(`subshell ${number}`);
        const header = { ...message.header, subshell_id: "x" };
        const raw = {
          ...message.raw,
          header: Buffer.from(JSON.stringify(header)),
        };
        session.execute({ ...message, header, raw }, undefined);
        return;
      }
      case "run":
        if (request === undefined) return;
        this.#answer(request);
        kernel.run(request, number);
        return;
      case "runLater": // the reply, and the rest after other steps
        if (request === undefined) return;
        this.#answer(request);
        kernel.busy(request);
        kernel.print("late\n", request);
        return;
      case "fail":
        if (request === undefined) return;
        this.#answer(request);
        kernel.fail(request);
        return;
      case "ask":
        if (
          request &&
          session.executions.find(request.header.msg_id)?.input === undefined
        )
          kernel.ask(request, `prompt ${number}`);
        return;
      case "answer": {
        const asking = [...session.executions].find(({ input }) => input);
        if (asking) session.answer(asking, { value: "hidden answer" });
        return;
      }
      case "sample":
        session.sampled({ cpu_percent: number } as never);
        return;
      case "die":
        kernel.die(number % 7);
        await session.start();
        this.#next();
        return;
      case "turn":
        await new Promise((resolve) => setImmediate(resolve));
        return;
      case "checkpoint":
        await isCheckpointed(server);
    }
  }

  /** The request that the kernel has. */
  get #running(): Message | undefined {
    return this.kernel.sent
      .slice(this.#looked)
      .find(({ header }) => header.msg_type === "execute_request");
  }

  #answer(request: Message): void {
    this.#looked = this.kernel.sent.indexOf(request) + 1;
  }

  #next(): void {
    this.kernel = this.server.keeper.kernel;
    this.#looked = 0;
  }
}

function display(number: number, id: number): string {
  return `{"data":{"text/plain":"${"x".repeat(number * 10)}","n":1e400},"metadata":{"a":${number}},"transient":${id === 0 ? "{}" : `{"display_id":"d${id}"}`}}`;
}

function comm(msg_type: string, comm_id: string): Message {
  const message = code("");
  const header = { ...message.header, msg_type };
  const content = JSON.stringify({ comm_id, target_name: "t", data: {} });
  return {
    ...message,
    header,
    raw: {
      ...message.raw,
      header: Buffer.from(JSON.stringify(header)),
      content: Buffer.from(content),
    },
    buffers: [Buffer.from("buffer")],
  };
}

const histories = fc.array(
  fc.array(fc.constantFrom(...steps), { minLength: 1, maxLength: 30 }),
  { minLength: 1, maxLength: 3 },
);

test("a checkpoint and the end of the journal give the state of the whole journal, which is that of the killed server", async () => {
  let tails = 0;
  await fc.assert(
    fc.asyncProperty(histories, async (lives) => {
      const story = new Story(Server.first({}, false, OFTEN));
      await story.begin();
      for (const life of lives) {
        for (const step of life) await story.make(step);
        const { server } = story;
        await written(server.session);
        const live = stateOf(server.session);
        if (seqsIn(server.folder).length > 1) tails += 1;
        const whole = await restored(server, removeCheckpoints);
        expect(stateOf(whole.session)).toEqual(live);
        const older = await restored(server, removeNewest);
        expect(stateOf(older.session)).toEqual(live);
        const next = await restored(server);
        expect(stateOf(next.session)).toEqual(live);
        story.server = next;
      }
    }),
    { numRuns: 60 },
  );
  expect(tails).toBeGreaterThan(20);
});

/** The next server, when it has restored the session. */
async function restored(
  server: Server,
  change: (folder: string) => void = () => {},
): Promise<Server> {
  const next = await server.killed({ change });
  await next.session.restored;
  return next;
}

/** A session with a bit of everything, a checkpoint, and entries after it. */
async function told(disk = {}): Promise<Story> {
  const story = new Story(Server.first({}, false, { ...OFTEN, ...disk }));
  await story.begin();
  for (const step of [
    ...["send", "print", "show", "update", "openComm", "clientComm", "run"],
    ...["send", "ask", "checkpoint", "send", "print", "show"],
  ] as Step[]) {
    await story.make(step);
  }
  return story;
}

test("entries before a checkpoint are not read, and a reader of damaged ones gets a gap", async () => {
  // Segments of 16 KiB.
  const story = await told({ limit: 256 * 1024 });
  for (let count = 0; count < 8; count += 1) await story.make("printMuch");
  await story.make("checkpoint");
  await story.make("print");
  const { server } = story;
  await written(server.session);
  const live = stateOf(server.session);
  const damage = (folder: string): void => {
    const path = join(folder, "journal.0000000001");
    const bytes = readFileSync(path);
    const at = bytes.indexOf("line 2 ");
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(path, bytes);
  };
  const { session } = await restored(server, damage);
  expect(stateOf(session)).toEqual(live);
  const gaps: unknown[] = [];
  for (let seen = 0; seen < session.journal.last;) {
    const reading = await session.journal.read(seen);
    if (reading === undefined) break;
    if ("gap" in reading) gaps.push(reading.gap);
    seen = "gap" in reading ? reading.gap.to : reading.entries.last;
  }
  expect(gaps).toHaveLength(1);
  const whole = await restored(server, (folder) => {
    removeCheckpoints(folder);
    damage(folder);
  });
  expect(stateOf(whole.session)).not.toEqual(live);
});

test("what followed from entries that are not kept any more is still there", async () => {
  const limit = 64 * 1024;
  const story = await told({ limit });
  for (let count = 0; count < 30; count += 1) {
    await story.make("printMuch");
    await story.make("checkpoint");
  }
  const { server } = story;
  await written(server.session);
  const next = await restored(server);
  expect(next.session.journal.first).toBeGreaterThan(20);
  expect(stateOf(next.session)).toEqual(stateOf(server.session));
});

test("a checkpoint is of no use if entries after it are not kept any more", async () => {
  const story = await told({
    limit: 64 * 1024,
    checkpointPace: { ...OFTEN.checkpointPace, interval_ms: 3_600_000 },
  });
  for (let count = 0; count < 30; count += 1) {
    await story.make("printMuch");
    await written(story.server.session);
  }
  const { server } = story;
  const next = await restored(server);
  const [seq = Infinity] = seqsIn(server.folder);
  expect(seq).toBeLessThan(next.session.journal.first - 1);
  const whole = await restored(server, removeCheckpoints);
  expect(withoutTimes(next)).toEqual(withoutTimes(whole));
});

test("a damaged checkpoint gives way to the one before, and that to the whole journal", async () => {
  const { server } = await told();
  await isCheckpointed(server);
  const live = stateOf(server.session);
  const [older = "", newer = ""] = checkpointsIn(server.folder);
  const damages: ((path: string) => void)[] = [
    (path) => truncateSync(path, statSync(path).size - 1),
    (path) => truncateSync(path, 0),
    (path) => {
      const bytes = readFileSync(path);
      bytes[4] = 2; // another version
      writeFileSync(path, bytes);
    },
  ];
  for (const damage of damages) {
    const next = await restored(server, (folder) => {
      damage(join(folder, newer));
    });
    expect(stateOf(next.session)).toEqual(live);
    const whole = await restored(server, (folder) => {
      damage(join(folder, newer));
      damage(join(folder, older));
    });
    expect(stateOf(whole.session)).toEqual(live);
  }
});

test("answers to hidden prompts and values of variables are in no checkpoint", async () => {
  const env = [
    { action: "replace" as const, name: "KEY", value: "value of a variable" },
  ];
  const story = new Story(Server.first({ env }, false, OFTEN));
  await story.begin();
  const newest = (): string => {
    const { folder } = story.server;
    const [name = ""] = checkpointsIn(folder).slice(-1);
    return readFileSync(join(folder, name)).toString();
  };
  for (const step of ["send", "ask", "checkpoint"] as const) {
    await story.make(step);
  }
  expect(newest()).toContain("prompt");
  expect(newest()).not.toContain("value of a variable");
  for (const step of ["answer", "print", "checkpoint"] as const) {
    await story.make(step);
  }
  expect(newest()).toContain("line");
  expect(newest()).not.toContain("hidden answer");
});

test("a session that is restored from a long journal without a checkpoint writes one", async () => {
  const { server } = await told();
  await written(server.session);
  const next = await restored(server, removeCheckpoints);
  await isCheckpointed(next);
  const last = await restored(next);
  expect(stateOf(last.session)).toEqual(stateOf(next.session));
});

test("a session with many small restarts does not gather an ever longer end of its journal", async () => {
  const checkpointPace = { bytes: 20_000, factor: 0, interval_ms: 0 };
  const story = new Story(Server.first({}, false, { checkpointPace }));
  await story.begin();
  await story.make("send");
  for (let restarts = 0; restarts < 12; restarts += 1) {
    await story.make("printMuch");
    await written(story.server.session);
    story.server = await restored(story.server);
  }
  expect(seqsIn(story.server.folder)).not.toEqual([]);
});

test("a deleted session, and one that was left to the next server, write no checkpoint any more", async () => {
  const story = await told();
  await story.make("print");
  const { session, folder } = story.server;
  await session.letGo("over");
  const names = checkpointsIn(folder);
  const next = await restored(story.server);
  await next.session.dispose();
  expect(existsSync(next.folder)).toBe(false);
  expect(checkpointsIn(folder)).toEqual(names);
});

test("a checkpoint from before numbers were lost is not taken over", async () => {
  const story = await told();
  const { server } = story;
  await server.loseDisk();
  await story.make("print");
  await story.make("run");
  const next = await restored(server);
  const whole = await restored(server, removeCheckpoints);
  expect(withoutTimes(next)).toEqual(withoutTimes(whole));
  await isCheckpointed(next);
  await eventually("the others are removed", () =>
    seqsIn(next.folder).length === 1 ? true : undefined,
  );
});

test("the records of much code are written anew without those that nobody needs, and nothing that is kept is lost", async () => {
  const story = new Story(Server.first({}, false, OFTEN));
  await story.begin();
  const path = join(story.server.folder, "requests.log");
  for (const step of ["openComm", "clientComm"] as const) {
    await story.make(step);
  }
  let greatest = 0;
  let isSmaller = false;
  while (!isSmaller) {
    const { session } = story.server;
    const silent = session.executions.forgotten % 3 === 1;
    session.execute(code("x = 1\n".repeat(400), { silent }), undefined);
    for (const step of ["print", "run", "turn"] as const) {
      await story.make(step);
    }
    const { size } = statSync(path);
    isSmaller = size < greatest;
    greatest = size;
    expect(size).toBeLessThan(2 * 1024 * 1024);
  }
  for (const step of ["send", "ask", "answer", "ask", "send"] as const) {
    await story.make(step);
  }
  const { server } = story;
  await isCheckpointed(server);
  await story.make("print");
  await isCheckpointed(server);
  const live = stateOf(server.session) as {
    forgotten: number;
    history: unknown[];
  };
  expect(live.forgotten).toBeGreaterThan(100);
  for (const change of [removeNewest, () => {}]) {
    const { session } = await restored(server, change);
    const state = stateOf(session) as object;
    expect({ ...state, forgotten: 0 }).toEqual({ ...live, forgotten: 0 });
  }
  // Without a checkpoint, the history has only what the records still have.
  const whole = await restored(server, removeCheckpoints);
  const { history: some, ...state } = stateOf(whole.session) as typeof live;
  const { history: all, ...rest } = live;
  expect({ ...state, forgotten: 0 }).toEqual({ ...rest, forgotten: 0 });
  expect(some).toEqual(all.slice(-some.length));
});
