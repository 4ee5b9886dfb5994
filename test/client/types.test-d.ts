/** Code that must compile, and code that must not. The compiler checks it; nothing here runs. */
/* eslint-disable @typescript-eslint/no-unsafe-call, @typescript-eslint/no-unsafe-member-access -- code that does not compile has no type */
import { expectTypeOf, it } from "vitest";
import type {
  Client,
  CodeError,
  EndReason,
  Execution,
  ExecutionEvent,
  ExecutionInfo,
  ExecutionState,
  Gap,
  InputRequest,
  MessageOf,
  MimeBundle,
  SessionEvent,
  SessionStatus,
} from "../../client/index.ts";
import { type connect, type createClient } from "../../client/index.ts";

it("the server's location has one of three forms, and createClient takes no connection file", () => {
  type Connect = Parameters<typeof connect>[0];
  expectTypeOf<{ url: string; token: string }>().toExtend<Connect>();
  expectTypeOf<{ socketPath: string }>().toExtend<Connect>();
  expectTypeOf<{ connectionFile: string }>().toExtend<Connect>();
  expectTypeOf<{ url: string; socketPath: string }>().not.toExtend<Connect>();
  expectTypeOf<{ token: string }>().not.toExtend<Connect>();
  type Create = Parameters<typeof createClient>[0];
  expectTypeOf<{ connectionFile: string }>().not.toExtend<Create>();
});

it("calls that cannot work do not compile", () => {
  async function wrong(client: Client) {
    const session = await client.start("python3");
    // @ts-expect-error -- code is text
    session.execute(42);
    // @ts-expect-error -- there is no such option
    session.execute("1", { silence: true });
    // @ts-expect-error -- seconds are a number
    await client.start("python3", { connection_timeout: "3" });
    // @ts-expect-error -- a request's name ends in `_request`
    await session.request("kernel_info");
    // @ts-expect-error -- an answer is text
    await session.execute("input()").answer(1);
    // @ts-expect-error -- milliseconds are a number
    session.execute("1", { deadline_ms: "1000" });
    // @ts-expect-error -- an id is text
    session.execute("1", { execution_id: 1 });
    // @ts-expect-error -- an id is needed
    session.execution();
    // @ts-expect-error -- an existing execution has its deadline already
    session.execution("a", { deadline_ms: 1_000 });
    // @ts-expect-error -- a signal, not its controller
    await session.execution("a").cancel({ signal: new AbortController() });
    // @ts-expect-error -- the result is not the server's description: that is `info`
    (await session.execution("a")).state.valueOf();
    // @ts-expect-error -- an id is needed
    await session.executions.get();
    // @ts-expect-error -- a snapshot is read-only
    (await session.snapshot()).seq = 1;
    // @ts-expect-error -- an id is needed
    await client.sessions.get();
    // @ts-expect-error -- there is no such operation
    client.trpc.sessions.explode.mutate({ session_id: "a" });
    // @ts-expect-error -- an id is text
    await client.trpc.sessions.get.query({ session_id: 1 });
    // @ts-expect-error -- buffers are bytes
    await session.send({ msg_type: "x", content: {}, buffers: ["AAA="] });
    // @ts-expect-error -- a range has both ends
    await session.history({ run: 0, start: 1 });
  }
  expectTypeOf(wrong).toBeFunction(); // compiled, never called
});

it("the events of an execution differ by their type", () => {
  const check = (event: ExecutionEvent) => {
    expectTypeOf(event.seq).toBeNumber();
    switch (event.type) {
      case "stream":
        expectTypeOf(event.name).toEqualTypeOf<"stdout" | "stderr">();
        expectTypeOf(event.text).toBeString();
        break;
      case "execute_result":
        expectTypeOf(event.data).toEqualTypeOf<MimeBundle>();
        expectTypeOf(event.execution_count).toEqualTypeOf<number | null>();
        break;
      case "input_request":
        expectTypeOf(event.password).toBeBoolean();
        expectTypeOf(event.answered).toBeBoolean();
        break;
      case "gap":
        // @ts-expect-error -- the supervisor publishes it: there is no message of the kernel
        event.message.valueOf();
        break;
      default:
        // @ts-expect-error -- only streams have a text
        event.text.valueOf();
    }
  };
  expectTypeOf(check).toBeFunction();
});

it("the events of a session differ by their kind, and messages by their type", () => {
  const check = (event: SessionEvent) => {
    if (event.kind === "exited") expectTypeOf(event.exit_code).toBeNumber();
    if (event.kind === "other") expectTypeOf(event.msg_type).toBeString();
    if (event.kind !== "jupyter") return;
    expectTypeOf(event.buffers).toEqualTypeOf<readonly Uint8Array[]>();
    if (event.msg_type === "stream") {
      expectTypeOf(event.content.text).toBeString();
    }
    if (event.msg_type === "error") {
      expectTypeOf(event.content.traceback).toEqualTypeOf<string[]>();
    }
  };
  expectTypeOf(check).toBeFunction();
});

it("a result with status error has an error, and a reply has the type of its request", () => {
  async function right(client: Client) {
    const session = client.session("a");
    const ended = await session.execute("1");
    expectTypeOf(ended.result).toEqualTypeOf<MimeBundle | undefined>();
    if (ended.status === "error") {
      expectTypeOf(ended.error).toEqualTypeOf<CodeError>();
    } else expectTypeOf(ended.error).toEqualTypeOf<undefined>();
    const info = await session.request("kernel_info_request");
    expectTypeOf(info).toEqualTypeOf<MessageOf<"kernel_info_reply">>();
    const own = await session.request("own_request");
    expectTypeOf(own.content).toExtend<Readonly<Record<string, unknown>>>();
  }
  expectTypeOf(right).toBeFunction();
});

it("a misspelt option of a new session does not compile", () => {
  async function wrong(client: Client) {
    await client.start("python3", { working_directory: "/tmp" });
    // @ts-expect-error -- it is `working_directory`
    await client.start("python3", { workingdir: "/tmp" });
    // @ts-expect-error -- likewise
    await client.sessions.create({ kernel_name: "python3", cwd: "/tmp" });
    await client.start("python3", {
      // @ts-expect-error -- it is `name`
      env: [{ action: "replace", key: "A", value: "b" }],
    });
    const status = await client.status();
    expectTypeOf(status.version).toBeString();
    // @ts-expect-error -- it is `version`
    expectTypeOf(status.server_version);
  }
  expectTypeOf(wrong).toBeFunction();
});

it("an execution has the same type whichever client began it, and the contract's states", () => {
  async function right(client: Client) {
    const session = client.session("a");
    const begun = session.execute("1", { deadline_ms: 1_000 });
    const found = session.execution(begun.execution_id);
    expectTypeOf(found).toEqualTypeOf<typeof begun>();
    expectTypeOf(begun).toEqualTypeOf<Execution>();
    expectTypeOf(await begun.cancel()).toBeBoolean();
    const { status, reason, gaps } = await found;
    expectTypeOf(status).toEqualTypeOf<"ok" | "error" | "aborted">();
    expectTypeOf(reason).toEqualTypeOf<EndReason | null>();
    expectTypeOf(gaps).toEqualTypeOf<readonly Gap[]>();
    const { executions, forgotten } = await session.executions.list();
    expectTypeOf(executions).toEqualTypeOf<readonly ExecutionInfo[]>();
    expectTypeOf(forgotten).toBeNumber();
    expectTypeOf(await found.info()).toEqualTypeOf<ExecutionInfo>();
    const { state, input_request } = await session.executions.get("a");
    expectTypeOf(state).toEqualTypeOf<ExecutionState>();
    expectTypeOf(input_request).toEqualTypeOf<InputRequest | null>();
    const snapshot = await session.snapshot();
    expectTypeOf(snapshot.execution).toEqualTypeOf<ExecutionInfo | null>();
    expectTypeOf(snapshot.input_request).toEqualTypeOf<InputRequest | null>();
    expectTypeOf(snapshot.status).toEqualTypeOf<SessionStatus>();
  }
  expectTypeOf(right).toBeFunction();
});
