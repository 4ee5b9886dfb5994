import { randomUUID } from "node:crypto";
import { get as httpGet } from "node:http";
import {
  afterAll,
  beforeAll,
  beforeEach,
  describe,
  expect,
  test,
} from "vitest";
import { doors, type Received, trpcClient } from "../doors.ts";
import {
  type Answer,
  eventually,
  openServerOf,
  type TestServer,
  TOKEN,
} from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";

let server: TestServer;
let session = "";
let count = 0;

beforeAll(async () => {
  server = await openServerOf({ echo });
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(async () => {
  session = await server.start("echo", `echo-${(count += 1)}`);
});

type Fields = Readonly<Record<string, unknown>>;
type Ask = (name: string, input?: Fields) => Promise<Fields>;

/** An operation on the session's executions, by name, over one protocol. */
interface Asking {
  readonly name: string;
  open(): { ask: Ask; close: () => Promise<void> };
}

const routes: Readonly<Record<string, readonly [string, string]>> = {
  create: ["POST", ""],
  list: ["GET", ""],
  get: ["GET", "/{id}"],
  outputs: ["GET", "/{id}/outputs"],
  answer: ["POST", "/{id}/input"],
  cancel: ["POST", "/{id}/cancel"],
  interrupt: ["POST", "/{id}/interrupt"],
  wait: ["POST", "/{id}/wait"],
};

async function rest(operation: string, input: Fields = {}): Promise<Answer> {
  const [method = "", path = ""] = routes[operation] ?? [];
  const { execution_id, ...body } = input;
  const id = encodeURIComponent(String(execution_id));
  return server.ask(
    method,
    `/sessions/${session}/executions${path.replace("{id}", id)}`,
    method === "GET" ? undefined : path === "" ? input : body,
  );
}

const overRest: Asking = {
  name: "REST",
  open: () => ({
    async ask(operation, input) {
      const { body } = await rest(operation, input);
      return body as Fields;
    },
    close: () => Promise.resolve(),
  }),
};

const overTrpc: Asking = {
  name: "tRPC",
  open() {
    const { client, close } = trpcClient(server);
    const queries = new Set(["list", "get", "outputs"]);
    const procedures = client.executions as unknown as Record<
      string,
      Record<"query" | "mutate", (input: Fields) => Promise<Fields>>
    >;
    return {
      close,
      async ask(operation, input = {}) {
        const kind = queries.has(operation) ? "query" : "mutate";
        const procedure = procedures[operation];
        if (procedure === undefined) throw new Error(operation);
        try {
          return await procedure[kind]({ session_id: session, ...input });
        } catch (error) {
          const { data } = error as { data?: { failure?: Fields } };
          if (data?.failure === undefined) throw error;
          return data.failure;
        }
      },
    };
  },
};

describe.each([overRest, overTrpc])("executions over $name", (asking) => {
  let ask: Ask;
  let close: () => Promise<void>;
  beforeEach(() => {
    ({ ask, close } = asking.open());
    return () => close();
  });

  const until = (execution_id: unknown, state: string): Promise<Fields> =>
    eventually(`an execution that is ${state}`, async () => {
      const execution = await ask("get", { execution_id });
      return execution["state"] === state ? execution : undefined;
    });

  test("code runs, and its execution reports the states", async () => {
    const { execution_id } = await ask("create", {
      code: "hello",
      metadata: { cell: 1 },
    });
    const execution = await ask("wait", { execution_id });
    expect(execution).toMatchObject({
      execution_id,
      session_id: session,
      state: "done",
      reason: null,
      code: "hello",
      code_length: 5,
      metadata: { cell: 1 },
      execution_count: 1,
      reply: { status: "ok" },
      counts: { stream: 1, execute_result: 1 },
      input_request: null,
    });
  });

  test("its outputs have the form of a notebook", async () => {
    const { execution_id } = await ask("create", { code: "hello" });
    await ask("wait", { execution_id });
    expect(await ask("outputs", { execution_id })).toEqual({
      execution_id,
      state: "done",
      outputs: [
        { output_type: "stream", name: "stdout", text: "hello" },
        {
          output_type: "execute_result",
          data: { "text/plain": "hello" },
          metadata: {},
          execution_count: 1,
        },
      ],
      refused: [],
      gaps: [],
      is_clipped: false,
      clipped: null,
    });
  });

  test("an execution with the client's own id runs once, for any number of requests", async () => {
    const execution_id = `of my own/${randomUUID()}`;
    const first = await ask("create", { execution_id, code: "hello" });
    const second = await ask("create", { execution_id, code: "hello" });
    expect([first, second]).toMatchObject([{ execution_id }, { execution_id }]);
    await ask("wait", { execution_id });
    const { executions } = await ask("list");
    expect(executions).toMatchObject([{ execution_id, execution_count: 1 }]);
  });

  test("any client that has its id can answer its input request", async () => {
    const { execution_id } = await ask("create", { code: "input name?" });
    const asking = await until(execution_id, "waiting_for_input");
    expect(asking["input_request"]).toMatchObject({
      content: { prompt: "name?" },
    });
    await ask("answer", { execution_id, value: "Ada" });
    await ask("wait", { execution_id });
    const { outputs } = await ask("outputs", { execution_id });
    expect(outputs).toMatchObject([{ data: { "text/plain": "Ada" } }]);
  });

  test("an execution without an input request accepts no answer", async () => {
    const { execution_id } = await ask("create", { code: "hello" });
    await ask("wait", { execution_id });
    expect(await ask("answer", { execution_id, value: "" })).toMatchObject({
      reason: "execution_state",
    });
  });

  test("a running execution is interrupted, and a waiting one is cancelled", async () => {
    const first = await ask("create", { code: "sleep 20000" });
    const second = await ask("create", { code: "never" });
    expect(second["state"]).toBe("queued");
    expect(
      await ask("cancel", { execution_id: second["execution_id"] }),
    ).toMatchObject({ state: "aborted", reason: "cancelled" });
    const { execution_id } = first;
    await until(execution_id, "running");
    await ask("interrupt", { execution_id });
    expect(await ask("wait", { execution_id })).toMatchObject({
      state: "interrupted",
      reason: "interrupt",
    });
  });

  test("an execution is interrupted at its deadline", async () => {
    const { execution_id } = await ask("create", {
      code: "sleep 20000",
      deadline_ms: 100,
    });
    expect(await ask("wait", { execution_id })).toMatchObject({
      state: "interrupted",
      reason: "deadline",
    });
  });

  test("a wait has a time limit, and then returns the present state", async () => {
    const { execution_id } = await ask("create", { code: "sleep 20000" });
    expect(await ask("wait", { execution_id, timeout_ms: 1 })).toMatchObject({
      ended_at: null,
    });
  });

  test("a kernel that dies aborts it, with a reason", async () => {
    const { execution_id } = await ask("create", { code: "exit 3" });
    expect(await ask("wait", { execution_id })).toMatchObject({
      state: "aborted",
      reason: "kernel_exited",
      reply: { evalue: "exit code 3" },
    });
  });

  test("an unknown id is refused", async () => {
    for (const operation of ["get", "outputs", "cancel", "interrupt", "wait"]) {
      expect(await ask(operation, { execution_id: "nobody's" })).toMatchObject({
        reason: "execution_not_found",
      });
    }
  });
});

describe("executions of a session", () => {
  test("creating one answers 201, conflicts 409, unknown ids 404", async () => {
    const created = await rest("create", { code: "hello" });
    const { execution_id } = created.body as Fields;
    await rest("wait", { execution_id });
    const conflict = await rest("cancel", { execution_id });
    const unknown = await rest("get", { execution_id: "nobody's" });
    expect([created.status, conflict.status, unknown.status]).toEqual([
      201, 409, 404,
    ]);
  });

  test.each(doors)(
    "code that arrived over $name is an execution too",
    async (door) => {
      await using client = await door.attach(server, session);
      const execution_id = await client.execute("hello");
      await client.over(execution_id);
      const { body } = await rest("get", { execution_id });
      expect(body).toMatchObject({ state: "done", code: "hello" });
    },
  );

  test("an execution with a very long id is listed too", async () => {
    const msg_id = "long".repeat(100);
    const sent = await server.ask("POST", `/sessions/${session}/messages`, {
      channel: "shell",
      header: { msg_id, msg_type: "execute_request" },
      content: { code: "hello" },
    });
    expect(sent.status).toBe(202);
    const { executions } = (await rest("list")).body as Fields;
    expect(executions).toMatchObject([{ execution_id: msg_id }]);
  });

  test("long code is clipped in lists, and complete in a single answer", async () => {
    const code = `first ${"x".repeat(20_000)} last`;
    const { execution_id } = (await rest("create", { code })).body as Fields;
    await rest("wait", { execution_id });
    const { executions } = (await rest("list")).body as {
      executions: { code: string; code_length: number }[];
    };
    const [listed] = executions;
    expect(listed?.code_length).toBe(code.length);
    expect(listed?.code.length).toBeLessThan(9000);
    expect(listed?.code).toMatch(/^first .* last$/s);
    expect((await rest("get", { execution_id })).body).toMatchObject({ code });
  });

  test("it continues when its client leaves, and another client can follow it", async () => {
    const { client, close } = trpcClient(server);
    const { execution_id } = await client.executions.create.mutate({
      session_id: session,
      code: "input name?",
    });
    await close();
    const events = await follow(execution_id, undefined, async () => {
      await rest("answer", { execution_id, value: "Ada" });
    });
    // Between channels there is only the order of arrival.
    const types = events.map(({ kind, state, header }) =>
      kind === "execution" ? String(state) : header?.msg_type,
    );
    expect([types.at(0), types.at(-1)]).toEqual(["running", "done"]);
    expect(types.slice(1, -1).toSorted()).toEqual([
      "execute_input",
      "execute_reply",
      "execute_result",
      "input_request",
      "status",
      "status",
    ]);
  });

  test("the stream of an ended execution has all events, and ends", async () => {
    const { execution_id } = (await rest("create", { code: "hello" }))
      .body as Fields;
    const { first_seq, last_seq } = (await rest("wait", { execution_id }))
      .body as { first_seq: number; last_seq: number };
    const all = await follow(String(execution_id));
    expect(all.at(0)?.seq).toBe(first_seq);
    expect(all.at(-1)?.seq).toBe(last_seq);
    const rests = await follow(String(execution_id), first_seq);
    expect(rests).toEqual(all.slice(1));
  });

  test("a tRPC follower gets its events, and its end", async () => {
    const { client, close } = trpcClient(server);
    const { execution_id } = await client.executions.create.mutate({
      session_id: session,
      code: "flood 1000",
    });
    const received: Received[] = [];
    await new Promise<void>((resolve, reject) => {
      client.executions.follow.subscribe(
        { session_id: session, execution_id },
        {
          onData: ({ data }) => received.push(data as Received),
          onComplete: resolve,
          onError: reject,
        },
      );
    });
    await close();
    const text = received
      .filter(({ header }) => header?.msg_type === "stream")
      .map(({ content }) => content?.["text"]);
    expect(text.length).toBe(1000);
    const { last_seq, first_seq } = (await rest("get", { execution_id }))
      .body as Fields;
    expect(received.at(-1)).toMatchObject({
      kind: "execution",
      execution_id,
      state: "done",
      reason: null,
      first_seq,
      last_seq,
      seq: last_seq,
    });
  });

  test.each(doors)(
    "all clients get its state, also if its code arrived over $name",
    async (door) => {
      await using asking = await door.attach(server, session);
      const others = doors.filter(
        ({ name }) => name !== door.name && !name.includes("Kallichore"), // which would displace it
      );
      const listening = await Promise.all(
        others.map((one) => one.attach(server, session)),
      );
      const first = await asking.execute("input ?");
      const requested = await asking.until(
        "a question",
        ({ header }) => header?.msg_type === "input_request",
      );
      const second = await asking.execute("hello");
      await rest("answer", { execution_id: first, value: "x" });
      expect(requested.parent_header?.msg_id).toBe(first);
      for (const client of [asking, ...listening]) {
        await client.until(
          "its end",
          ({ execution_id, state }) =>
            execution_id === second && state === "done",
        );
        const states = (id: string) =>
          client.received
            .filter(({ execution_id }) => execution_id === id)
            .map(({ kind, state }) => [kind, state].join(" "));
        expect(states(first)).toEqual(["execution running", "execution done"]);
        expect(states(second)).toEqual([
          "execution queued",
          "execution running",
          "execution done",
        ]);
      }
      for (const client of listening) await client[Symbol.asyncDispose]();
    },
  );

  test("the synchronous operation makes an execution too", async () => {
    const path = `/sessions/${session}/execute`;
    const answer = await server.ask("POST", path, { code: "hello" });
    expect(answer.body).toMatchObject({
      status: "ok",
      execution_count: 1,
      timed_out: false,
      outputs: [{ text: "hello" }, { data: { "text/plain": "hello" } }],
    });
    const { msg_id } = answer.body as Fields;
    const { body } = await rest("get", { execution_id: msg_id });
    expect(body).toMatchObject({ state: "done", deadline_ms: null });
  });

  test("it also returns everything in Kallichore's form", async () => {
    const path = `/sessions/${session}/execute`;
    const answer = await server.ask("POST", path, { code: "hello" });
    expect(answer.body).toMatchObject({
      output: [{ type: "stream", stream_name: "stdout", text: "hello" }],
      data: { "text/plain": "hello" },
    });
    const wrong = await server.ask("POST", path, { code: "error no luck" });
    expect(wrong.body).toMatchObject({
      status: "error",
      output: [{ type: "error", error_name: expect.any(String) as string }],
      error_name: expect.any(String) as string,
      error_traceback: expect.any(Array) as string[],
    });
  });

  test("the synchronous operation ends at the timeout", async () => {
    const path = `/sessions/${session}/execute`;
    const answer = await server.ask("POST", path, {
      code: "sleep 20000",
      timeout_ms: 100,
    });
    expect(answer.body).toMatchObject({ status: "timeout", timed_out: true });
  });

  test("a timeout in Kallichore's form is a failure", async () => {
    const path = `/sessions/${session}/execute`;
    const late = { code: "sleep 20000", timeout_seconds: 1 };
    const { status, body } = await server.ask("POST", path, late);
    expect({ status, body }).toMatchObject({
      status: 408,
      body: { code: "timeout", reason: "execution_timeout" },
    });
  });
});

describe("a snapshot", () => {
  const snapshot = async () =>
    (await server.ask("GET", `/sessions/${session}/snapshot`)).body as Fields;

  test("shows the running code, the input request, the displays and the comms", async () => {
    for (const code of ["display one", "update two", "comm target"]) {
      const { body } = await rest("create", { code });
      await rest("wait", { execution_id: (body as Fields)["execution_id"] });
    }
    const { execution_id } = (await rest("create", { code: "input name?" }))
      .body as Fields;
    await using client = (await doors[0]?.attach(server, session)) ?? fail();
    const question = await client.until(
      "a question",
      ({ header }) => header?.msg_type === "input_request",
    );
    const now = await snapshot();
    expect(now).toMatchObject({
      status: "busy",
      execution: { execution_id, state: "waiting_for_input" },
      input_request: { content: { prompt: "name?" } },
      displays: { "the-display": { data: { "text/plain": "two" } } },
      comms: [{ comm_id: "echo-comm", target_name: "target", data: {} }],
      queue: { length: 0 },
    });
    expect(now["seq"]).toBeGreaterThanOrEqual(question.seq);
    await server.ask("POST", `/sessions/${session}/interrupt`);
    expect((await snapshot())["input_request"]).toBeNull();
  });

  test("of a session that never started is empty", async () => {
    session = `never-${count}`;
    const spec = { session_id: session, kernel_name: "echo" };
    await server.ask("PUT", "/sessions", spec);
    expect(await snapshot()).toMatchObject({
      seq: 0,
      status: "uninitialized",
      execution: null,
      displays: {},
      comms: [],
    });
  });
});

function fail(): never {
  throw new Error("No door");
}

/** Server-sent events of one execution, until the stream ends. Calls `asked` when the request is sent. */
function follow(
  execution_id: string,
  after?: number,
  requested: () => Promise<void> = () => Promise.resolve(),
): Promise<Received[]> {
  return new Promise((resolve, reject) => {
    const url = `${server.url}/sessions/${session}/executions/${execution_id}/events`;
    const headers = {
      authorization: `Bearer ${TOKEN}`,
      ...(after !== undefined && { "last-event-id": String(after) }),
    };
    const req = httpGet(url, { agent: false, headers }, (res) => {
      let text = "";
      res.setEncoding("utf8");
      res.on("data", (more: string) => {
        text += more;
        if (more.includes('"input_request"')) requested().catch(reject);
      });
      res.on("error", reject);
      res.on("end", () => {
        const data = text.matchAll(/^data: (.*)$/gm);
        resolve([...data].map(([, json = ""]) => JSON.parse(json) as Received));
      });
    });
    req.on("error", reject);
  });
}
