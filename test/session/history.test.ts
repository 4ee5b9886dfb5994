import { describe, expect, test } from "vitest";
import type { ExecutionHistoryEntry } from "../../contract/index.ts";
import { compose, type Message } from "../../src/jupyter/message.ts";
import type { Session } from "../../src/session/session.ts";
import {
  code,
  type FakeKernel,
  newSession,
  startedSession,
  entriesIn,
} from "./fake-kernel.ts";

async function ran(
  run: (kernel: FakeKernel, request: Message) => void,
  request = code("a"),
): Promise<ExecutionHistoryEntry> {
  const { session, kernel } = await startedSession();
  session.send(request);
  run(kernel, request);
  return only(session);
}

function only(session: Session): ExecutionHistoryEntry {
  const [entry, ...more] = session.history;
  if (entry === undefined || more.length > 0) throw new Error("not one entry");
  return entry;
}

/** An execute request with these members beside the code. */
function execution(
  text: string,
  more: object = {},
  metadata: object = {},
): Message {
  return compose({
    channel: "shell",
    msg_type: "execute_request",
    content: { code: text, ...more },
    session: "client",
    username: "tester",
    metadata,
  });
}

describe("an entry of the history", () => {
  test("has the code, its output in order, and the time", async () => {
    const before = Date.now();
    const entry = await ran((kernel, a) => {
      kernel.print("one\n", a);
      kernel.emit("display_data", { data: { "text/plain": "<two>" } }, a);
      kernel.emit("stream", { name: "stderr", text: "three" }, a);
      kernel.emit("execute_result", { data: { "text/plain": "4" } }, a);
      kernel.run(a);
    });
    expect(entry).toEqual({
      input: "a",
      output: "one\n<two>\nthree4\n",
      timestamp: expect.any(Number) as number,
      truncated: false,
    });
    expect(entry.timestamp).toBeGreaterThanOrEqual(before);
  });

  test("lists the types of a display without plain text", async () => {
    const entry = await ran((kernel, a) => {
      const data = { "image/png": "AAAA", "text/html": "<b>x</b>" };
      kernel.emit("display_data", { data, metadata: {} }, a);
    });
    expect(entry.output).toBe("[image/png, text/html]\n");
  });

  test("has the error", async () => {
    const error = { ename: "E", evalue: "why", traceback: ["t1", "t2"] };
    const entry = await ran((kernel, a) => {
      kernel.emit("error", error, a);
      kernel.reply(a, {
        status: "error",
        ename: "X",
        evalue: "",
        traceback: [],
      });
    });
    expect(entry.error).toEqual({
      name: "E",
      message: "why",
      traceback: ["t1", "t2"],
    });
  });

  test("takes the error from the reply if there was none before", async () => {
    const entry = await ran((kernel, a) =>
      kernel.reply(a, { status: "error", ename: "E", evalue: "v" }),
    );
    expect(entry.error).toEqual({ name: "E", message: "v", traceback: [] });
  });

  test("has no error if the reply belongs to another request, or is ok", async () => {
    const entry = await ran((kernel, a) => {
      kernel.reply(code("b"), { status: "error", ename: "E", evalue: "v" });
      kernel.run(a);
    });
    expect(entry).not.toHaveProperty("error");
  });

  test("has the attribution", async () => {
    const attribution = { source: "agent", agent_name: "Claude" };
    const entry = await ran(() => {}, execution("a", {}, { attribution }));
    expect(entry).toMatchObject({ source: "agent", agent: "Claude" });
  });

  test("contains only the request and its own messages", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    session.send(a);
    session.send(b);
    kernel.print("of a", a);
    kernel.run(a);
    kernel.print("of b", b);
    kernel.print(", late", a);
    expect([...session.history].map(({ output }) => output)).toEqual([
      "of a, late",
      "of b",
    ]);
  });
});

describe("the history", () => {
  test("has a request when it goes to the kernel, not while it waits", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), code("b")];
    session.send(a);
    session.send(b);
    expect([...session.history].map(({ input }) => input)).toEqual(["a"]);
    kernel.run(a);
    expect([...session.history].map(({ input }) => input)).toEqual(["a", "b"]);
  });

  test("has no silent requests", async () => {
    const { session, kernel } = await startedSession();
    const silent = execution("quiet", { silent: true });
    session.send(silent);
    kernel.print("x", silent);
    kernel.run(silent);
    session.send(execution("loud", { silent: false }));
    expect(only(session).input).toBe("loud");
  });

  test("continues over a restart", async () => {
    const { session, kernel, provisioner } = await startedSession();
    const a = code("a");
    session.send(a);
    kernel.run(a);
    await session.restart({});
    const b = code("b");
    session.send(b);
    provisioner.kernel.print("of b", b);
    expect([...session.history].map(({ input }) => input)).toEqual(["a", "b"]);
    expect(session.history.last(1)).toMatchObject([{ output: "of b" }]);
  });

  test("has the last hundred requests", async () => {
    const { session, kernel } = await startedSession();
    for (let n = 0; n < 103; n += 1) {
      const request = code(String(n));
      session.send(request);
      kernel.run(request);
    }
    const inputs = [...session.history].map(({ input }) => input);
    expect(inputs).toEqual(
      Array.from({ length: 100 }, (_, n) => String(n + 3)),
    );
    expect(session.history.last(3).map(({ input }) => input)).toEqual([
      "100",
      "101",
      "102",
    ]);
  });
});

describe("long parts are clipped, and marked", () => {
  test("code", async () => {
    const entry = await ran(() => {}, code("c".repeat(5000)));
    expect(entry.input).toBe(
      `${"c".repeat(2048)}\n[... 904 bytes omitted ...]\n${"c".repeat(2048)}`,
    );
    expect(entry.truncated).toBe(true);
  });

  test("output of many messages", async () => {
    const entry = await ran((kernel, a) => {
      for (let n = 0; n < 1000; n += 1) kernel.print(`${1000 + n}\n`, a);
    });
    const text = Array.from({ length: 1000 }, (_, n) => `${1000 + n}\n`).join(
      "",
    );
    expect(entry.output).toBe(
      `${text.slice(0, 2048)}\n[... 904 bytes omitted ...]\n${text.slice(-2048)}`,
    );
    expect(entry.truncated).toBe(true);
  });

  test("one large message", async () => {
    const entry = await ran((kernel, a) =>
      kernel.print(`${"é\n".repeat(100_000)}end`, a),
    );
    const omitted = 300_003 - 2048 - 2047; // one byte less: a character begins there
    expect(entry.output).toContain(`\n[... ${omitted} bytes omitted ...]\n`);
    expect(entry.output.endsWith("é\nend")).toBe(true);
  });

  test("an error: the last whole lines of its traceback stay", async () => {
    const traceback = Array.from({ length: 100 }, (_, n) =>
      `${n} `.padEnd(100, "x"),
    );
    const error = { ename: "E", evalue: "v".repeat(3000), traceback };
    const entry = await ran((kernel, a) => kernel.emit("error", error, a));
    const {
      name,
      message,
      traceback: kept,
    } = entry.error ?? {
      name: "",
      message: "",
      traceback: [],
    };
    expect(name).toBe("E");
    expect(message).toContain("[... 952 bytes omitted ...]");
    expect(kept).toEqual(traceback.slice(-20));
    expect(entry.truncated).toBe(true);
  });

  test.each([
    [false, {}],
    [true, { ename: "E".repeat(1000) }],
    [true, { evalue: "v".repeat(3000) }],
    [true, { traceback: ["x".repeat(5000)] }],
  ])(
    "an error of which one part is too long: %s, %#",
    async (isClipped, part) => {
      const error = { ename: "E", evalue: "v", traceback: ["x"], ...part };
      const entry = await ran((kernel, a) => kernel.emit("error", error, a));
      expect(entry.truncated).toBe(isClipped);
    },
  );
});

test.each([
  ["stream", "null"],
  ["stream", '{"text":7}'],
  ["stream", '{"text":"x'],
  ["stream", "[]"],
  ["display_data", '{"data":[]}'],
  ["display_data", '{"data":null,"metadata":[]}'],
  ["error", "7"],
  ["error", '{"ename":null,"evalue":{},"traceback":"no list"}'],
  ["execute_reply", "null"],
  ["execute_reply", '{"status":{"status":"error"}}'],
  ["execute_result", `{"data":${"[".repeat(200_000)}`],
])("a %s of %s changes nothing else", async (msg_type, content) => {
  const entry = await ran((kernel, a) => {
    kernel.print("before ", a);
    const message = compose({
      channel: "iopub",
      msg_type,
      content: {},
      session: "kernel",
      username: "kernel",
      parent: a,
    });
    const raw = { ...message.raw, content: Buffer.from(content) };
    kernel.deliver({ ...message, raw });
    kernel.print("after", a);
  });
  expect(entry.output).toBe("before after");
});

describe("the attribution of an execution", () => {
  const attribution = {
    source: "agent",
    agent_name: "Claude",
    workspace_id: "w",
    tool: "evaluate_code",
  };

  function events(session: Session): unknown[] {
    return entriesIn(session).map((entry) =>
      entry.isEvent ? entry.event : `${entry.msg_type} ${entry.parent_id}`,
    );
  }

  test("is published once, before it is queued and before all its messages", async () => {
    const { session, kernel } = await startedSession();
    const [a, b] = [code("a"), execution("b", {}, { attribution })];
    session.send(a);
    session.send(b);
    kernel.run(a);
    kernel.run(b);
    const all = events(session);
    const reported = all.filter((event) =>
      JSON.stringify(event).includes(b.header.msg_id),
    );
    expect(reported).toMatchObject([
      {
        kind: "execution_requested",
        msg_id: b.header.msg_id,
        code: "b",
        attribution: { ...attribution, agent_version: null },
      },
      { kind: "execution", state: "queued" },
      { kind: "execution", state: "running" },
      `status ${b.header.msg_id}`,
      `execute_reply ${b.header.msg_id}`,
      `status ${b.header.msg_id}`,
      { kind: "execution", state: "done" },
    ]);
    expect(session.executions.get(b.header.msg_id).firstSeq).toBe(
      all.indexOf(reported[0]) + 1,
    );
  });

  test("is published at once for code that waits for a kernel", async () => {
    const { session } = newSession();
    session.send(execution("b", {}, { attribution }));
    expect(events(session).at(-1)).toMatchObject({
      kind: "execution_requested",
    });
    await session.start();
    const reported = events(session).filter(
      (event) => (event as { kind?: string }).kind === "execution_requested",
    );
    expect(reported).toHaveLength(1);
  });

  test.each([
    {},
    { attribution: null },
    { attribution: [] },
    { attribution: { agent_name: "x" } },
  ])("is not published if the metadata are %j", async (metadata) => {
    const { session } = await startedSession();
    session.send(execution("b", {}, metadata));
    expect(JSON.stringify(events(session))).not.toContain("requested");
  });
});
