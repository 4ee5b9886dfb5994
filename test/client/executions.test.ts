/** Executions that one client begins and another finds, against a real server and real kernels. */
import {
  afterAll,
  beforeAll,
  describe,
  expect,
  it,
  onTestFailed,
} from "vitest";
import {
  type Client,
  connect,
  createClient,
  type Execution,
  type ExecutionEvent,
  type ExecutionResult,
} from "../../client/index.ts";
import { FaultyProxy } from "../stress/proxy.ts";
import { clientOf, collect, cuttable, open, urlOf } from "./harness.ts";
import { eventually } from "../harness.ts";
import { needsIpykernel } from "../needs.ts";

type Opened = Awaited<ReturnType<typeof open>>;

let opened: Opened;
let client: Client;
/** Stands for another process, or for a page that was loaded again. */
let other: Client;
beforeAll(async () => {
  opened = await open();
  client = await clientOf(opened.server);
  other = await clientOf(opened.server);
});
afterAll(async () => {
  client.close();
  other.close();
  await opened[Symbol.asyncDispose]();
});

/** A session with `kernel`: a handle of each client. */
async function shared(kernel = "echo") {
  const session = await client.start(kernel);
  const seen = other.session(session.session_id);
  // A test that waits in vain says what the server has.
  onTestFailed(() => {
    const { sessions } = opened.server.supervisor;
    const found = sessions.find(({ id }) => id === session.session_id);
    if (found === undefined) return; // the test has ended
    const { executions, journal } = found;
    const states = [...executions].map(
      ({ state, firstSeq, lastSeq, input }) =>
        `${state} ${firstSeq}-${lastSeq}${input ? " waits for input" : ""}`,
    );
    const connections = [client, other].map((each) => each.connection.state);
    console.error(connections, states, `${journal.readers} of`, journal.last);
  });
  return {
    session,
    seen,
    async [Symbol.asyncDispose]() {
      seen.detach();
      await session[Symbol.asyncDispose]();
    },
  };
}

describe("code that a client runs", () => {
  it("is interrupted after its deadline, and its result reports that", async () => {
    await using world = await shared();
    const { session } = world;
    const late = session.execute("sleep 60000", { deadline_ms: 200 });
    expect(await late).toMatchObject({ status: "error", reason: "deadline" });
    const inTime = session.execute("x", { deadline_ms: 60_000 });
    expect(await inTime).toMatchObject({ status: "ok", reason: null });
    expect((await inTime.info()).deadline_ms).toBe(60_000);
  });

  describe.each([
    ["echo", "sleep 60000", "hello", {}],
    [
      "python3",
      "import time\nfor _ in range(600): time.sleep(0.1)",
      "6 * 7",
      needsIpykernel,
    ],
  ] as const)(
    "on %s, code that is executed at once",
    (kernel, long, next, need) => {
      it.each([
        ["its signal aborted", "abort"],
        ["it was interrupted", "execution"],
        ["the session was interrupted", "session"],
      ])("after %s runs", { ...need, timeout: 60_000 }, async (_, how) => {
        await using world = await shared(kernel);
        const { session } = world;
        for (let round = 0; round < 4; round += 1) {
          const left = new AbortController();
          const running = session.execute(long, { signal: left.signal });
          const ended = Promise.resolve(running).catch(
            (error: unknown) => error,
          );
          for await (const event of running) {
            if (event.type === "execute_input") break;
          }
          let interrupted: Promise<void> | undefined;
          if (how === "abort") left.abort();
          if (how === "execution") interrupted = running.interrupt();
          if (how === "session") interrupted = session.interrupt();
          const after = [session.execute(next), session.execute(next)];
          for (const { status, reason } of await Promise.all(after)) {
            expect({ status, reason }).toEqual({ status: "ok", reason: null });
          }
          await interrupted;
          await ended;
        }
      });
    },
  );

  it("leaves the queue at its deadline", async () => {
    await using world = await shared();
    const { session } = world;
    const first = session.execute("input go on");
    const second = session.execute("never", { deadline_ms: 200 });
    expect(await second).toMatchObject({
      status: "aborted",
      reason: "deadline",
    });
    await answerTo(first, "yes");
    expect((await first).status).toBe("ok");
  });

  it("that is cancelled leaves the server's queue, and never runs", async () => {
    await using world = await shared();
    const { session } = world;
    const first = session.execute("input go on");
    const second = session.execute("second");
    const third = session.execute("third");
    await until(second, "queued");
    expect(await second.cancel()).toBe(true);
    expect(await second.cancel()).toBe(false);
    expect(await second).toMatchObject({
      status: "aborted",
      reason: "cancelled",
    });
    await answerTo(first, "yes");
    expect(await first.cancel()).toBe(false);
    expect((await third).status).toBe("ok");
    expect((await second.info()).started_at).toBeNull();
  });

  it("is interrupted alone: later executions run", async () => {
    await using world = await shared();
    const { session } = world;
    const first = session.execute("sleep 60000", { stop_on_error: false });
    const second = session.execute("input go on");
    for await (const event of second) {
      if (event.type === "queued") await first.interrupt();
      if (event.type === "input_request") await second.answer("yes");
    }
    expect(await first).toMatchObject({ status: "error", reason: "interrupt" });
    expect((await second).result).toEqual({ "text/plain": "yes" });
    await first.interrupt();
    await second.interrupt();
  });

  it("that never ran has the reason", async () => {
    await using world = await shared();
    const { session } = world;
    const failing = session.execute("error");
    const waiting = session.execute("never");
    expect(await failing).toMatchObject({ status: "error", reason: null });
    expect(await waiting).toMatchObject({
      status: "aborted",
      reason: "earlier_failure",
    });
  });

  it("with an id that the program chose runs once, whichever client repeats it", async () => {
    await using world = await shared();
    const { session, seen } = world;
    const execution_id = "cell-3-run-1";
    const first = session.execute("input go on", { execution_id });
    await until(first, "input_request");
    const again = seen.execute("input go on", { execution_id });
    expect(again.execution_id).toBe(execution_id);
    const received = collect(again);
    await first.answer("yes");
    expect(await again).toEqual(await first);
    expect((await received).map(({ type }) => type)).toContain("input_request");
    const { executions } = await session.executions.list();
    expect(executions).toHaveLength(1);
    const late = seen.execute("input go on", { execution_id });
    expect((await late).result).toEqual({ "text/plain": "yes" });
    const together = ["a", "a"].map((code) =>
      session.execute(code, { execution_id: "together" }),
    );
    const [one, two] = await Promise.all(together);
    expect(one).toEqual(two);
    expect(one?.execution_count).toBe(2);
  });

  it("ends even if the kernel never sends its idle status", async () => {
    await using world = await shared("forgetful");
    const { session } = world;
    const execution = session.execute("hello");
    const events = await collect(execution);
    expect(events.slice(-2).map(({ type }) => type)).toEqual([
      "execute_reply",
      "ended",
    ]);
    expect(await execution).toMatchObject({
      status: "ok",
      result: { "text/plain": "hello" },
    });
  });

  it("keeps its order with other messages", async () => {
    await using world = await shared();
    const { session } = world;
    const codes = Array.from({ length: 200 }, (_, at) => `code ${at}`);
    const content = { silent: false, store_history: true, allow_stdin: false };
    const sent = codes.map((code, at) =>
      at % 2 === 0
        ? session.execute(code)
        : session.send({
            msg_type: "execute_request",
            content: { code, ...content },
          }),
    );
    await Promise.all(sent.map((one) => one.then(() => {})));
    await session.execute("the end");
    const { executions } = await session.executions.list();
    const accepted = executions.map(({ code }) => code);
    expect(accepted).toEqual([...codes, "the end"].slice(-accepted.length));
  });

  it("is read to its end by a slow reader, although the server no longer keeps the execution", async () => {
    await using world = await shared();
    const { session } = world;
    const flood = session.execute("flood 20000", { collect: false });
    let lines = 0;
    for await (const event of flood) {
      if (event.type !== "stream") continue;
      if (lines === 0) {
        await flood;
        const others = Array.from({ length: 101 }, () => session.execute("x"));
        await Promise.all(others.map((one) => one.then(() => {})));
        const forgotten = { reason: "execution_not_found" };
        await expect(flood.info()).rejects.toMatchObject(forgotten);
        const { execution_id } = flood;
        const again = session.execute("flood 20000", { execution_id });
        await expect(again).rejects.toMatchObject(forgotten);
      }
      lines += event.text.trimEnd().split("\n").length;
    }
    expect(lines).toBe(20_000);
  });
});

describe("an execution that is found", () => {
  it("is listed, described and awaited like the original", async () => {
    await using world = await shared();
    const { session, seen } = world;
    const begun = session.execute("hello", { metadata: { cell: 1 } });
    const result = await begun;
    const { executions, forgotten } = await seen.executions.list();
    expect(executions.map(({ execution_id }) => execution_id)).toEqual([
      begun.execution_id,
    ]);
    expect(forgotten).toBe(0);
    const info = await seen.executions.get(begun.execution_id);
    expect(info).toMatchObject({
      state: "done",
      code: "hello",
      metadata: { cell: 1 },
      input_request: null,
    });
    const found = seen.execution(begun.execution_id);
    expect(await found.info()).toEqual(info);
    expect(await found).toEqual(result);
    expect(await session.execution(begun.execution_id)).toEqual(result);
  });

  it.each([
    "hello",
    "error no such luck",
    "display a",
    "buffers",
    "stderr x",
    "clear",
  ])("has the same result and the same events: %s", async (code) => {
    await using world = await shared();
    const { session, seen } = world;
    const begun = session.execute(code);
    const events = await collect(begun);
    const found = seen.execution(begun.execution_id);
    expect(await collect(found)).toEqual(events);
    expect(await found).toEqual(await begun);
  });

  it("is read from its beginning while it runs, and awaited to its end", async () => {
    await using world = await shared();
    const { session, seen } = world;
    const begun = session.execute("input go on");
    await until(begun, "input_request");
    const found = seen.execution(begun.execution_id);
    const types: string[] = [];
    for await (const event of found) {
      types.push(event.type);
      if (event.type === "input_request") {
        expect(event).toMatchObject({ prompt: "go on", answered: false });
        await found.answer("from elsewhere");
      }
    }
    expect(types).toContain("execute_input");
    expect(types).toContain("execute_result");
    expect(await begun).toMatchObject({
      result: { "text/plain": "from elsewhere" },
    });
    expect(await found).toEqual(await begun);
    await expect(collect(found)).rejects.toThrow("once");
  });

  it("continues after the client that began it has disconnected", async () => {
    await using world = await shared();
    const { session, seen } = world;
    const vanishing = await clientOf(opened.server);
    const begun = vanishing
      .session(session.session_id)
      .execute("input go on", { metadata: { cell: 7 } });
    await until(begun, "input_request");
    vanishing.close();
    await expect(begun).rejects.toMatchObject({ name: "ConnectionError" });
    const { executions } = await seen.executions.list();
    const [left] = executions;
    expect(left).toMatchObject({
      state: "waiting_for_input",
      metadata: { cell: 7 },
      input_request: { prompt: "go on", password: false },
    });
    const found = seen.execution(left?.execution_id ?? "");
    await found.answer("yes");
    expect(await found).toMatchObject({
      status: "ok",
      outputs: [{ output_type: "execute_result" }],
      result: { "text/plain": "yes" },
    });
  });

  it("is interrupted and cancelled by any client that knows its id", async () => {
    await using world = await shared();
    const { session, seen } = world;
    const first = session.execute("sleep 60000", { stop_on_error: false });
    const second = session.execute("second");
    const third = session.execute("third");
    await until(third, "queued");
    expect(await seen.execution(second.execution_id).cancel()).toBe(true);
    expect(await seen.execution(first.execution_id).cancel()).toBe(false);
    const found = seen.execution(first.execution_id);
    const waiting = found.then((result) => result);
    await found.interrupt();
    expect(await waiting).toMatchObject({
      status: "error",
      reason: "interrupt",
    });
    expect(await waiting).toEqual(await first);
    expect((await second).reason).toBe("cancelled");
    expect((await third).status).toBe("ok");
  });

  it("has later updates of its displays", async () => {
    await using world = await shared();
    const { session, seen } = world;
    const shown = session.execute("display before");
    await shown;
    await session.execute("update after");
    const { outputs } = await seen.execution(shown.execution_id);
    expect(outputs).toMatchObject([{ data: { "text/plain": "after" } }]);
  });

  it("keeps no outputs without collect", async () => {
    await using world = await shared();
    const { session, seen } = world;
    const begun = session.execute("hello");
    await begun;
    const found = seen.execution(begun.execution_id, { collect: false });
    expect(await found).toMatchObject({ status: "ok", outputs: [] });
  });

  it("goes on when a reader leaves by its signal", async () => {
    await using world = await shared();
    const { session, seen } = world;
    const begun = session.execute("input go on");
    await until(begun, "input_request");
    const controller = new AbortController();
    const { signal } = controller;
    const found = seen.execution(begun.execution_id, { signal });
    const listening = (async () => {
      for await (const event of found) {
        if (event.type === "input_request") controller.abort("enough");
      }
    })();
    const waiting = found.then((result) => result);
    await expect(waiting).rejects.toBe("enough");
    await expect(listening).rejects.toBe("enough");
    const left = seen.execution(begun.execution_id, { signal });
    await expect(left).rejects.toBe("enough");
    await expect(collect(left)).rejects.toBe("enough");
    await begun.answer("yes");
    expect((await begun).status).toBe("ok");
  });

  it("rejects when its session handle detaches", async () => {
    await using world = await shared();
    const { session, seen } = world;
    const begun = session.execute("input go on");
    await until(begun, "input_request");
    const found = seen.execution(begun.execution_id);
    const waiting = found.then((result) => result);
    const listening = until(found, "execute_reply");
    const rejected = [waiting, listening].map((one) =>
      expect(one).rejects.toMatchObject({ reason: "no_answer" }),
    );
    await seen.executions.list();
    seen.detach();
    await Promise.all(rejected);
    await begun.interrupt();
  });

  it("whose kernel dies rejects, and later executions do not run", async () => {
    await using world = await shared();
    const { session, seen } = world;
    const first = session.execute("sleep 60000");
    const second = session.execute("never");
    await until(second, "queued");
    const found = seen.execution(first.execution_id);
    const waiting = found.then((result) => result);
    const listening = collect(found);
    const dying = [waiting, listening, first].map((one) =>
      expect(one).rejects.toMatchObject({
        reason: "kernel_exited",
        message: expect.stringContaining("SIGKILL") as string,
      }),
    );
    await session.kill();
    await Promise.all(dying);
    const aborted = { status: "aborted", reason: "shutdown" };
    expect(await second).toMatchObject(aborted);
    expect(await seen.execution(second.execution_id)).toMatchObject(aborted);
  });

  it("whose session is deleted rejects", async () => {
    await using world = await shared();
    const { seen } = world;
    const created = await client.sessions.create({ kernel_name: "echo" });
    const waiting = created.execute("waits for a kernel");
    const { session_id } = created;
    const found = other.session(session_id).execution(waiting.execution_id);
    expect(await waiting.info()).toMatchObject({ state: "queued" });
    const gone = [
      expect(found).rejects.toMatchObject({ reason: "session_not_found" }),
      // The client that sent it learns, before the session is gone, that it never ran.
      expect(waiting).resolves.toMatchObject({
        status: "aborted",
        reason: "shutdown",
        reply: { evalue: "the session was deleted" },
      }),
    ];
    await found.info();
    await created.delete();
    await Promise.all(gone);
    expect(seen.session_id).not.toBe(session_id);
  });

  it("that does not exist rejects every call with the contract's reason", async () => {
    await using world = await shared();
    const { seen } = world;
    const missing = () => seen.execution("missing");
    const calls = [
      () => missing().then(() => {}),
      () => collect(missing()),
      () => missing().info(),
      () => missing().answer("x"),
      () => missing().interrupt(),
      () => missing().cancel(),
      () => seen.executions.get("missing"),
    ];
    for (const call of calls) {
      await expect(call()).rejects.toMatchObject({
        name: "SupervisorError",
        reason: "execution_not_found",
      });
    }
    await expect(
      other.session("nowhere").execution("missing"),
    ).rejects.toMatchObject({ reason: "session_not_found" });
  });

  it("reports the events that are no longer kept", async () => {
    await using small = await open({
      limits: { journal_memory_bytes: 20_000, journal_disk_bytes: 0 },
    });
    await using near = await clientOf(small.server);
    await using session = await near.start("echo");
    const begun = session.execute("flood 1000");
    await begun;
    // An event after its end would move the gap.
    await eventually("idle", async () => {
      const { status } = await session.info();
      return status === "idle" || undefined;
    });
    const found = session.execution(begun.execution_id);
    const [first, ...rest] = await collect(found);
    expect(first?.type).toBe("gap");
    expect(rest.at(-1)?.type).toBe("ended");
    const { status, gaps, outputs } = await found;
    expect(status).toBe("ok");
    expect(gaps).toEqual([
      { from: expect.any(Number) as number, to: first?.seq },
    ]);
    expect(outputs).toMatchObject([{ output_type: "stream" }]);
  });

  it("sends no request until it is used", () => {
    const nowhere = unconnectedClient();
    nowhere.session("x").execution("y");
    expect(nowhere.connection.state).toBe("idle");
    nowhere.close();
  });
});

describe("input requests", () => {
  it(
    "that were answered are marked, and an answer goes to the open one",
    needsIpykernel,
    async () => {
      await using world = await shared("python3");
      const { session, seen } = world;
      const begun = session.execute(
        "name = input('name? '); import getpass; secret = getpass.getpass('secret? '); name + secret",
      );
      const firstAnswer = (async () => {
        for await (const event of begun) {
          if (event.type !== "input_request") continue;
          if (event.prompt === "secret? ") return;
          await begun.answer("Ada");
        }
      })();
      await firstAnswer;
      const found = seen.execution(begun.execution_id);
      expect((await found.info()).input_request).toMatchObject({
        prompt: "secret? ",
        password: true,
      });
      const requests: (readonly [string, boolean])[] = [];
      for await (const event of found) {
        if (event.type !== "input_request") continue;
        requests.push([event.prompt, event.answered]);
        if (!event.answered) await found.answer("!");
      }
      expect(requests).toEqual([
        ["name? ", true],
        ["secret? ", false],
      ]);
      expect((await begun).result?.["text/plain"]).toBe("'Ada!'");
      const over = await collect(seen.execution(begun.execution_id));
      const answered = over.flatMap((event) =>
        event.type === "input_request" ? [event.answered] : [],
      );
      expect(answered).toEqual([true, true]);
    },
  );

  it("are answered by the first client, and the second is refused", async () => {
    await using world = await shared();
    const { session, seen } = world;
    const begun = session.execute("input go on");
    await until(begun, "input_request");
    await seen.execution(begun.execution_id).answer("first");
    const refused = { reason: "execution_state" };
    await expect(begun.answer("second")).rejects.toMatchObject(refused);
    expect((await begun).result).toEqual({ "text/plain": "first" });
    await expect(begun.answer("third")).rejects.toMatchObject(refused);
    const found = seen.execution(begun.execution_id);
    await expect(found.answer("fourth")).rejects.toMatchObject(refused);
  });
});

describe("a snapshot", () => {
  it("gives a late client the running execution, the input request, the displays and the comms", async () => {
    await using world = await shared();
    const { session, seen } = world;
    await session.execute("display a picture");
    const comm = await session.comms.open(
      "widget",
      { a: 1 },
      { buffers: [new Uint8Array([1, 2])] },
    );
    const running = session.execute("password secret? ");
    await until(running, "input_request");
    const snapshot = await seen.snapshot();
    expect(snapshot).toMatchObject({
      status: "busy",
      execution: {
        execution_id: running.execution_id,
        state: "waiting_for_input",
        input_request: { prompt: "secret? " },
      },
      input_request: { prompt: "secret? ", password: true, answered: false },
      displays: {
        "the-display": { data: { "text/plain": "a picture" } },
      },
      comms: [
        {
          comm_id: comm.comm_id,
          target_name: "widget",
          data: { a: 1 },
          buffers: [new Uint8Array([1, 2])],
        },
      ],
    });
    await seen.execution(snapshot.execution?.execution_id ?? "").answer("x");
    for await (const event of seen.events({ after: snapshot.seq })) {
      if (event.kind !== "jupyter" || event.msg_type !== "execute_reply")
        continue;
      expect(event.parent_header?.msg_id).toBe(running.execution_id);
      break;
    }
    await running; // its idle status may arrive after its reply
    expect((await seen.snapshot()).execution).toBeNull();
  });
});

it("every call rejects with the reason of its signal", async () => {
  await using world = await shared();
  const { session } = world;
  const running = session.execute("input go on");
  await until(running, "input_request");
  const signal = AbortSignal.abort("no");
  const { execution_id } = running;
  const calls = [
    running.info({ signal }),
    running.answer("x", { signal }),
    running.interrupt({ signal }),
    running.cancel({ signal }),
    session.snapshot({ signal }),
    session.executions.list({ signal }),
    session.executions.get(execution_id, { signal }),
  ];
  for (const one of calls) await expect(one).rejects.toBe("no");
  await running.answer("it was not interrupted");
  expect((await running).status).toBe("ok");
});

describe("through lost connections", () => {
  async function behindProxy() {
    const { server } = opened;
    const proxy = await cuttable(urlOf(server));
    const direct = await client.start("echo");
    const far = await connect({ url: proxy.url, token: server.token });
    return {
      proxy,
      far,
      direct,
      session: far.session(direct.session_id),
      async [Symbol.asyncDispose]() {
        far.close();
        await direct[Symbol.asyncDispose]();
        await proxy[Symbol.asyncDispose]();
      },
    };
  }

  it("an execution that ends while the connection is lost ends here too", async () => {
    await using world = await behindProxy();
    const { proxy, far, session, direct } = world;
    const begun = direct.execute("input go on");
    await until(begun, "input_request");
    const found = session.execution(begun.execution_id);
    const waiting = found.then((result) => result);
    const received = collect(found);
    await session.executions.list();
    proxy.down();
    await lost(far);
    await begun.answer("while you were away");
    const result = await begun;
    proxy.up();
    expect(await waiting).toEqual(result);
    expect((await received).at(-1)?.type).toBe("ended");
  });

  it("an end that is no longer kept is queried once, and no other end is queried", async () => {
    await using small = await open({
      limits: { journal_memory_bytes: 20_000, journal_disk_bytes: 0 },
    });
    const proxy = await cuttable(urlOf(small.server));
    await using near = await clientOf(small.server);
    await using direct = await near.start("echo");
    const queries: string[] = [];
    await using far = await connect({
      url: proxy.url,
      token: small.server.token,
      fetch: (url, init) => {
        const { href } = new URL(url instanceof Request ? url.url : url);
        if (href.includes("executions.get")) queries.push(href);
        return fetch(url, init);
      },
    });
    const session = far.session(direct.session_id);
    expect((await session.execute("error x")).status).toBe("error");
    expect(queries).toEqual([]);
    const begun = session.execute("input go on");
    const received = collect(begun);
    expect((await begun.info()).state).not.toBe("done");
    queries.length = 0;
    proxy.down();
    await lost(far);
    const seen = direct.execution(begun.execution_id);
    await answerTo(seen, "yes");
    await seen;
    await direct.execute("flood 1000");
    proxy.up();
    const { status, reason, gaps, result } = await begun;
    expect([status, reason, result]).toEqual(["ok", null, undefined]);
    expect(gaps).toHaveLength(1);
    expect((await received).at(-1)?.type).toBe("gap");
    expect(queries).toHaveLength(1);
    await proxy[Symbol.asyncDispose]();
  });

  it("answers are given once, each to its own input request", async () => {
    await using world = await behindProxy();
    const { proxy, session } = world;
    for (let round = 0; round < 20; round += 1) {
      const execution = session.execute(`input ${round}`);
      for await (const event of execution) {
        if (event.type !== "input_request") continue;
        const answered = execution.answer(`answer ${round}`);
        proxy.cut();
        await answered;
      }
      const { result } = await execution;
      expect(result).toEqual({ "text/plain": `answer ${round}` });
    }
  });

  it("code that is cancelled while the connection is down is never sent", async () => {
    await using world = await behindProxy();
    const { proxy, far, session, direct } = world;
    await session.execute("warm");
    proxy.down();
    await lost(far);
    const kept = session.execute("kept");
    const cancelled = session.execute("cancelled");
    const interrupted = session.execute("interrupted");
    expect(await cancelled.cancel()).toBe(true);
    await interrupted.interrupt();
    expect((await interrupted).status).toBe("aborted");
    proxy.up();
    expect((await kept).status).toBe("ok");
    const { executions } = await direct.executions.list();
    expect(executions.map(({ code }) => code)).toEqual(["warm", "kept"]);
  });

  it("code runs once, and a client that finds it gets the same result", async () => {
    const { server } = opened;
    await using proxy = await FaultyProxy.to(urlOf(server), 20_261_127, 60_000);
    await using session = await client.start("echo");
    const url = proxy.url;
    await using far = await connect({ url, token: server.token });
    const handle = far.session(session.session_id);
    const outcomes: (readonly [ExecutionResult, ExecutionResult])[] = [];
    for (let round = 0; round < 30; round += 1) {
      const begun = handle.execute(`flood ${100 + round}`);
      const found = untilAnswered(() => handle.execution(begun.execution_id));
      const events = await collect(begun);
      const lines = events.flatMap((one) =>
        one.type === "stream" ? one.text.trimEnd().split("\n") : [],
      );
      expect(lines).toHaveLength(100 + round);
      outcomes.push([await begun, await found]);
    }
    expect(Object.values(proxy.faults).some((times) => times > 0)).toBe(true);
    for (const [begun, found] of outcomes) expect(found).toEqual(begun);
    const { executions } = await session.executions.list();
    expect(executions.map(({ execution_count }) => execution_count)).toEqual(
      outcomes.map((_, at) => at + 1),
    );
  });
});

/** Repeats until the server has the execution and its answer arrives. */
async function untilAnswered(found: () => Execution): Promise<ExecutionResult> {
  for (;;) {
    try {
      return await found();
    } catch (error) {
      const { name, reason } = error as { name: string; reason?: string };
      if (name !== "ConnectionError" && reason !== "execution_not_found") {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

async function lost(far: Client): Promise<void> {
  for await (const state of far.connection) {
    if (state === "waiting") return;
  }
}

function unconnectedClient(): Client {
  return createClient({ url: "http://127.0.0.1:1" });
}

/** Reads until the event of this type. */
async function until(
  execution: Execution,
  type: ExecutionEvent["type"],
): Promise<void> {
  for await (const event of execution) if (event.type === type) return;
}

/** Answers the input request of an execution that no other code reads. */
async function answerTo(execution: Execution, text: string): Promise<void> {
  await until(execution, "input_request");
  await execution.answer(text);
}
