/** The client against a real server and real kernels. */
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { getUntypedClient } from "@trpc/client";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Client,
  connect,
  ConnectionError,
  createClient,
  type Session,
  type SessionEvent,
  SupervisorError,
} from "../../client/index.ts";
import { clientOf, collect, cuttable, open, urlOf } from "./harness.ts";
import { needsIpykernel } from "../needs.ts";

type Opened = Awaited<ReturnType<typeof open>>;

let opened: Opened;
let client: Client;
beforeAll(async () => {
  opened = await open();
  client = await clientOf(opened.server);
});
afterAll(async () => {
  client.close();
  await opened[Symbol.asyncDispose]();
});

describe("code", () => {
  let session: Session;
  beforeAll(async () => {
    session = await client.start("echo");
  });
  afterAll(() => session[Symbol.asyncDispose]());

  it("resolves with its outputs and its result", async () => {
    const result = await session.execute("hello");
    expect(result).toMatchObject({
      status: "ok",
      execution_count: 1,
      result: { "text/plain": "hello" },
      reply: { status: "ok" },
    });
    expect(result.outputs.map(({ output_type }) => output_type)).toEqual([
      "stream",
      "execute_result",
    ]);
  });

  it("publishes its events in order", async () => {
    const events = await collect(session.execute("hello"));
    const types = events.map(({ type }) => type);
    expect(types.filter((type) => type !== "execute_reply")).toEqual([
      "running",
      "status",
      "execute_input",
      "stream",
      "execute_result",
      "status",
      "ended",
    ]);
    expect(events.at(-1)).toMatchObject({ state: "done", reason: null });
    expect(types).toContain("execute_reply");
    const seqs = events.map(({ seq }) => seq);
    expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
  });

  it("can be awaited after its events were read, but its events can be read only once", async () => {
    const execution = session.execute("hello");
    await collect(execution);
    expect((await execution).status).toBe("ok");
    await expect(collect(execution)).rejects.toThrow("once");
  });

  it("that fails gives a result with an error", async () => {
    const result = await session.execute("error no such luck");
    expect(result.status).toBe("error");
    expect(result.error).toMatchObject({
      ename: "EchoError",
      evalue: "no such luck",
    });
    expect(result.outputs.at(-1)?.output_type).toBe("error");
  });

  it("that waits for code that fails is aborted", async () => {
    const failing = session.execute("error");
    const waiting = session.execute("never");
    expect((await failing).status).toBe("error");
    expect(await waiting).toMatchObject({ status: "aborted", outputs: [] });
  });

  it("runs in the order in which it was sent, and each execution runs once", async () => {
    const codes = Array.from({ length: 300 }, (_, at) => `number ${at}`);
    const all = codes.map((code) => session.execute(code));
    const counts: (number | null)[] = [];
    for (const execution of all) {
      const { execution_count, result } = await execution;
      expect(result).toEqual({ "text/plain": execution.code });
      counts.push(execution_count);
    }
    const first = counts[0] ?? 0;
    expect(counts).toEqual(codes.map((_, at) => first + at));
  });

  it("that is long can be sent with other long code: no frame is too large for the server", async () => {
    const codes = Array.from({ length: 40 }, () => "x".repeat(2_000_000));
    const options = { collect: false, store_history: false };
    const all = codes.map((code) => session.execute(code, options));
    for (const { status } of await Promise.all(all)) expect(status).toBe("ok");
    expect(client.connection.state).toBe("open");
  });

  it("that is larger than the server accepts is refused, and code that was sent with it runs", async () => {
    const large = session.execute("x".repeat(70 * 1024 * 1024));
    const small = session.execute("small");
    await expect(large).rejects.toMatchObject({ reason: "too_large" });
    expect((await small).result).toEqual({ "text/plain": "small" });
  });

  it("requests input, and gets the answer", async () => {
    const execution = session.execute("input your name: ");
    await expect(execution.answer("too early")).rejects.toThrow(
      "no open input request",
    );
    const prompts: string[] = [];
    for await (const event of execution) {
      if (event.type !== "input_request") continue;
      prompts.push(event.prompt);
      await execution.answer("Ada");
    }
    expect(prompts).toEqual(["your name: "]);
    expect((await execution).result).toEqual({ "text/plain": "Ada" });
  });

  it("is interrupted, and its own result reports that", async () => {
    const execution = session.execute("sleep 60000");
    for await (const event of execution) {
      if (event.type === "execute_input") await execution.interrupt();
    }
    expect((await execution).status).toBe("error");
  });

  it("that waits in the queue is cancelled, and the running code continues", async () => {
    const first = session.execute("input go on");
    const second = session.execute("sleep 60000");
    for await (const event of second) {
      if (event.type !== "queued") continue;
      await second.interrupt();
      break;
    }
    for await (const event of first) {
      if (event.type === "input_request") await first.answer("yes");
    }
    expect((await first).result).toEqual({ "text/plain": "yes" });
    expect(await second).toMatchObject({
      status: "aborted",
      reason: "cancelled",
    });
  });

  it("rejects with the reason of its signal, and is interrupted", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const execution = session.execute("sleep 60000", { signal });
    const listening = (async () => {
      for await (const event of execution) {
        if (event.type === "execute_input") controller.abort("enough");
      }
    })();
    await expect(listening).rejects.toBe("enough");
    await expect(execution).rejects.toBe("enough");
    for await (const event of session.events({ after: 0 })) {
      if (event.kind !== "jupyter" || event.msg_type !== "execute_reply")
        continue;
      if (event.parent_header?.msg_id !== execution.msg_id) continue;
      expect(event.content.status).toBe("error");
      break;
    }
  });

  it("is not sent if its signal was aborted before", async () => {
    const signal = AbortSignal.abort("no");
    const execution = session.execute("x", { signal });
    await expect(execution).rejects.toBe("no");
    await session.execute("1"); // the server has accepted every earlier request by now
    const { executions } = await session.executions.list();
    const ids = executions.map(({ execution_id }) => execution_id);
    expect(ids).not.toContain(execution.execution_id);
  });

  it("that was not sent is cancelled", async () => {
    const another = client.session(session.session_id);
    const execution = another.execute("x");
    expect(await execution.cancel()).toBe(true);
    expect(await execution).toMatchObject({
      status: "aborted",
      reason: "cancelled",
    });
    const sent = session.execute("y");
    await sent;
    expect(await sent.cancel()).toBe(false);
  });

  it("has the id of each display, by which an update names it", async () => {
    const ids: (string | undefined)[] = [];
    for (const code of ["display first", "update second"]) {
      for await (const event of session.execute(code)) {
        const isDisplay =
          event.type === "display_data" || event.type === "update_display_data";
        if (isDisplay) ids.push(event.display_id);
      }
    }
    expect(ids).toEqual(["the-display", "the-display"]);
  });

  it("has the displays as they are at its end, and no cleared output", async () => {
    const shown = session.execute("display first");
    await shown;
    const { outputs } = await session.execute("clear");
    expect(outputs).toEqual([]);
    expect((await shown).outputs).toMatchObject([
      { output_type: "display_data", data: { "text/plain": "first" } },
    ]);
  });

  it("carries buffers as bytes", async () => {
    const events = await collect(session.execute("buffers"));
    const display = events.find(({ type }) => type === "display_data");
    expect(display?.type === "display_data" && display.message.buffers).toEqual(
      [
        new Uint8Array([0, 1, 2, 255]),
        new Uint8Array(),
        new TextEncoder().encode("end"),
      ],
    );
  });

  it("that floods is read to the last line by a slow reader", async () => {
    const execution = session.execute(`flood 30000`, { collect: false });
    let next = 1;
    for await (const event of execution) {
      if (event.type !== "stream") continue;
      if (next === 1) await execution; // all events were published before the reader continues
      for (const line of event.text.trimEnd().split("\n")) {
        expect(Number(line)).toBe(next);
        next += 1;
      }
    }
    expect(next).toBe(30_001);
    expect((await execution).outputs).toEqual([]);
  });
});

describe("requests", () => {
  let session: Session;
  beforeAll(async () => {
    session = await client.start("echo");
  });
  afterAll(() => session[Symbol.asyncDispose]());

  it("completion uses JavaScript's string indices", async () => {
    const code = "😀 so\u{1f600} flo";
    expect(await session.complete(code)).toMatchObject({
      matches: ["flood"],
      cursor_start: code.length - 3,
      cursor_end: code.length,
    });
    expect(await session.complete("inp flood", 3)).toMatchObject({
      matches: ["input"],
      cursor_start: 0,
      cursor_end: 3,
    });
  });

  it("inspection, completeness and any other request get their replies", async () => {
    expect(await session.inspect("flood")).toMatchObject({ found: true });
    expect(await session.isComplete("x \\")).toMatchObject({
      status: "incomplete",
      indent: "  ",
    });
    const reply = await session.request("kernel_info_request");
    expect(reply.content.language_info.name).toBe("echo");
    const own = await session.request("own_request", { a: 1 });
    expect(own.content).toMatchObject({ echo: { a: 1 } });
  });

  it("a request that the kernel does not answer in time rejects with no_answer", async () => {
    const running = session.execute("input wait");
    await expect(
      session.request("kernel_info_request", {}, { timeout_ms: 100 }),
    ).rejects.toMatchObject({ reason: "no_answer" });
    for await (const event of running) {
      if (event.type === "input_request") await running.answer("");
    }
  });

  it("comms carry data and buffers both ways", async () => {
    await using comm = await session.comms.open("widget", { a: 1 });
    const bytes = new Uint8Array([9, 8, 7, 6]).subarray(1, 3);
    await comm.send({ hello: "there" }, { buffers: [bytes] });
    for await (const message of comm) {
      expect(message.content.data).toEqual({ hello: "there" });
      expect(message.buffers).toEqual([new Uint8Array([8, 7])]);
      break;
    }
  });

  it("every call of a comm rejects with the reason of its signal", async () => {
    await using comm = await session.comms.open("widget");
    const controller = new AbortController();
    const { signal } = controller;
    const received = comm.messages({ signal }).next();
    const opened = session.comms.opened({ signal }).next();
    setTimeout(() => controller.abort("enough"), 50);
    await expect(received).rejects.toBe("enough");
    await expect(opened).rejects.toBe("enough");
    for (const one of [
      session.comms.open("widget", {}, { signal }),
      session.comms.attach("it", "widget", { signal }),
      session.comms.list("widget", { signal }),
      comm.send("x", { signal }),
    ]) {
      await expect(one).rejects.toBe("enough");
    }
    await comm.send("y"); // the comm is still open
    for await (const message of comm) {
      expect(message.content.data).toBe("y");
      break;
    }
  });

  it("comms that the kernel opens are reported", async () => {
    const comms = session.comms.opened();
    const next = comms.next();
    await session.execute("comm a-target");
    const { value } = await next;
    expect(value?.comm).toMatchObject({
      comm_id: "echo-comm",
      target_name: "a-target",
    });
    await comms.return();
  });
});

describe("a session", () => {
  it("ends with the handle that started it", async () => {
    let id: string;
    {
      await using session = await client.start("echo");
      id = session.session_id;
      expect((await session.info()).status).not.toBe("exited");
    }
    await expect(client.sessions.get(id)).rejects.toMatchObject({
      reason: "session_not_found",
    });
  });

  it("that existed before stays when its handle is disposed of", async () => {
    await using session = await client.start("echo");
    {
      await using another = client.session(session.session_id);
      expect((await another.execute("x")).status).toBe("ok");
    }
    expect((await session.execute("y")).status).toBe("ok");
  });

  it("sends all its events, from the beginning, to every reader", async () => {
    await using session = await client.start("echo");
    await session.execute("hello");
    const events: SessionEvent[] = [];
    const { last_seq } = await session.info();
    for await (const event of session.events({ after: 0 })) {
      events.push(event);
      if (event.seq === last_seq) break;
    }
    expect(events.map(({ seq }) => seq)).toEqual(
      Array.from({ length: last_seq }, (_, at) => at + 1),
    );
    expect(events[0]).toMatchObject({ kind: "status", status: "starting" });
  });

  it("that is deleted ends its events", async () => {
    const session = await client.start("echo");
    const kinds: string[] = [];
    const listening = (async () => {
      for await (const { kind } of session.events({ after: 0 })) {
        kinds.push(kind);
      }
    })();
    await session.shutdown();
    await session.delete();
    await listening;
    expect(kinds).toContain("exited");
  });

  it("whose kernel dies rejects every pending call", async () => {
    await using session = await client.start("echo");
    const running = session.execute("sleep 60000");
    const reply = session.request("kernel_info_request");
    const rejected = expect(reply).rejects.toMatchObject({
      reason: "kernel_exited",
    });
    const listening = (async () => {
      for await (const event of running) {
        if (event.type === "execute_input") await session.kill();
      }
    })();
    await expect(listening).rejects.toMatchObject({ reason: "kernel_exited" });
    await expect(running).rejects.toThrow("SIGKILL");
    await rejected;
  });

  it("whose kernel dies at once from the code rejects the execution", async () => {
    await using session = await client.start("crash-on-execute");
    await expect(session.execute("x")).rejects.toMatchObject({
      reason: "kernel_exited",
    });
  });

  it("runs code after a restart, and reports the end of earlier executions", async () => {
    await using session = await client.start("echo");
    const running = session.execute("sleep 60000");
    const waiting = session.execute("x");
    for await (const event of waiting) if (event.type === "queued") break;
    await session.restart();
    await expect(running).rejects.toMatchObject({ reason: "kernel_exited" });
    expect((await waiting).status).toBe("aborted");
    expect(await session.execute("y")).toMatchObject({
      status: "ok",
      execution_count: 1,
    });
  });

  it("that does not start is deleted, and the error has the output of its kernel", async () => {
    const before = await client.sessions.list();
    const failed = await client
      .start("stillborn")
      .catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(SupervisorError);
    expect(failed).toMatchObject({ reason: "exited_during_start" });
    expect((failed as SupervisorError).startup?.output).toBeTruthy();
    expect(await client.sessions.list()).toHaveLength(before.length);
  });

  it("rejects pending executions when the handle detaches", async () => {
    await using session = await client.start("echo");
    const handle = client.session(session.session_id);
    const running = handle.execute("input wait");
    for await (const event of running)
      if (event.type === "input_request") break;
    handle.detach();
    await expect(running).rejects.toMatchObject({ reason: "no_answer" });
    await session.interrupt();
  });
});

describe("much output at once", needsIpykernel, () => {
  it("arrives whole, and so does later output", async () => {
    await using session = await client.start("python3");
    const printing = session.execute("print('a' * 106_000_000)", {
      collect: false,
    });
    let length = 0;
    for await (const event of printing) {
      if (event.type === "stream") length += event.text.length;
    }
    expect(length).toBe(106_000_001);
    const { result } = await session.execute("6 * 7");
    expect(result?.["text/plain"]).toBe("42");
  }, 120_000);

  it("is kept up to the limit, with the result and the size of the missing part", async () => {
    await using session = await client.start("python3");
    const code = "print('a' * 106_000_000)\n6 * 7";
    const { outputs, result, is_clipped, clipped } =
      await session.execute(code);
    expect(result?.["text/plain"]).toBe("42");
    const stream = outputs.find(({ output_type }) => output_type === "stream");
    const text = stream?.output_type === "stream" ? stream.text : "";
    expect(text.length).toBeGreaterThan(60 * 1024 * 1024);
    expect(text.length).toBeLessThanOrEqual(64 * 1024 * 1024);
    expect(is_clipped).toBe(true);
    expect(clipped?.limit_bytes).toBe(64 * 1024 * 1024);
    expect(clipped?.bytes).toBeGreaterThan(106_000_000 - text.length - 2_000);
  }, 120_000);
});

describe("a server", () => {
  it("lists its kernelspecs and reports its version", async () => {
    const { kernelspecs } = await client.kernelspecs();
    expect(kernelspecs.map(({ name }) => name)).toContain("echo");
    const { version } = JSON.parse(
      readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
    ) as { version: string };
    const status = await client.status();
    expect(status).toMatchObject({ process_id: process.pid, version });
    expect(status.kallichore_version).toMatch(/^0\.1\./);
    expect(status).not.toHaveProperty("server_version");
    expect(client.connection.state).toBe("open");
  });

  it("fails by the names of the contract", async () => {
    await expect(client.start("no-such-kernel")).rejects.toMatchObject({
      reason: "kernelspec_not_found",
    });
    const nowhere = client.session("nowhere");
    await expect(nowhere.execute("x")).rejects.toMatchObject({
      reason: "session_not_found",
    });
    const events = nowhere.events({ after: 0 });
    await expect(events.next()).rejects.toMatchObject({
      reason: "session_not_found",
    });
  });

  it("refuses a wrong token once, and for good", async () => {
    const url = urlOf(opened.server);
    await expect(connect({ url, token: "wrong" })).rejects.toMatchObject({
      name: "SupervisorError",
      reason: "unauthorized",
    });
    const wrong = createClient({ url, token: "wrong" });
    expect(wrong.connection.state).toBe("idle");
    await expect(wrong.kernelspecs()).rejects.toMatchObject({
      reason: "unauthorized",
    });
    await expect(
      wrong.session("x").send({ msg_type: "x", content: {} }),
    ).rejects.toMatchObject({ reason: "unauthorized" });
    expect(wrong.connection.state).toBe("closed");
    await expect(wrong.trpc.sessions.send.mutate(message)).rejects.toThrow(
      "token",
    );
    wrong.close();
  });

  it("rejects calls with the reason of their signals", async () => {
    const before = await client.sessions.list();
    const controller = new AbortController();
    const { signal } = controller;
    const session = await client.sessions.create({ kernel_name: "echo" });
    const starting = session.start({ signal });
    const stopped = expect(starting).rejects.toBe("changed my mind");
    for await (const event of session.events({ after: 0 })) {
      if (event.kind === "status") break;
    }
    controller.abort("changed my mind");
    await stopped;
    await session[Symbol.asyncDispose]();
    const aborted = { signal: AbortSignal.abort("no") };
    await expect(client.start("echo", aborted)).rejects.toBe("no");
    expect(await client.sessions.list()).toHaveLength(before.length);
    await expect(client.kernelspecs(aborted)).rejects.toBe("no");
    await expect(client.status(aborted)).rejects.toBe("no");
  });

  it("gets no request from a closed client", async () => {
    const closed = await clientOf(opened.server);
    const handle = closed.session("s");
    closed.close();
    const calls = [
      () => closed.status(),
      () => closed.kernelspecs(),
      () => closed.sessions.list(),
      () => closed.sessions.get("s"),
      () => closed.start("echo"),
      () => closed.trpc.server.status.query(),
      () => handle.info(),
      () => handle.interrupt(),
      () => handle.snapshot(),
      () => handle.execute("x"),
      () => handle.events().next(),
      () => handle.executions.list(),
    ];
    for (const call of calls) {
      await expect(call(), String(call)).rejects.toThrow(
        "The client was closed",
      );
    }
    await expect(closed.status()).rejects.toBeInstanceOf(ConnectionError);
  });

  it("that does not exist is awaited until the timeout", async () => {
    await using proxy = await cuttable("http://127.0.0.1:1");
    const { url } = proxy;
    await proxy[Symbol.asyncDispose]();
    const failed = connect({ url, timeout_ms: 300 });
    await expect(failed).rejects.toBeInstanceOf(ConnectionError);
    await expect(failed).rejects.toThrow("ECONNREFUSED");
    await expect(createClient({ url }).status()).rejects.toThrow(
      "ECONNREFUSED",
    );
  });

  it("that does not exist is noticed even if the WebSocket never emits close", async () => {
    class NeverClosing {
      readyState = 0;
      onerror: ((error: { message: string }) => void) | undefined;
      constructor() {
        setTimeout(() => this.onerror?.({ message: "" }));
      }
      send() {}
      close() {}
    }
    const url = "http://127.0.0.1:1";
    const failed = connect({
      url,
      WebSocket: NeverClosing as never,
      timeout_ms: 300,
    });
    await expect(failed).rejects.toThrow("request to the server failed");
  });

  it("has every operation with the interface of tRPC's own client", async () => {
    const session = await client.sessions.create({ kernel_name: "echo" });
    const { session_id } = session;
    const input = { session_id, lastEventId: "0" };
    const seen: unknown[] = [];
    const started = new Promise<void>((resolve) => {
      const following = client.trpc.sessions.events.subscribe(input, {
        onStarted: () => seen.push("started"),
        onConnectionStateChange: ({ state }) => seen.push(state),
        onData: ({ data }) => {
          if (data.kind !== "status") return;
          seen.push(data.status);
          following.unsubscribe();
          resolve();
        },
        onComplete: () => seen.push("complete"),
        onError: (error) => seen.push(error),
      });
    });
    await session.start();
    await started;
    expect(seen).toEqual(["pending", "started", "starting"]);

    const events: string[] = [];
    for await (const { data } of client.trpc.sessions.events.subscribe(input)) {
      events.push(data.kind === "status" ? data.status : data.kind);
      if (events.includes("idle")) break;
    }
    expect(events).toContain("starting");

    // A library that builds upon tRPC's client finds the untyped client.
    const untyped = getUntypedClient(client.trpc);
    expect(await untyped.query("sessions.get", { session_id })).toMatchObject({
      session_id,
    });
    const ended: string[] = [];
    const complete = new Promise<void>((resolve) => {
      client.trpc.sessions.events.subscribe(input, {
        onStopped: () => ended.push("stopped"),
        onComplete: () => {
          ended.push("complete");
          resolve();
        },
      });
    });
    await session[Symbol.asyncDispose]();
    await complete;
    expect(ended).toEqual(["stopped", "complete"]);
  });

  it("rejects a failed call as tRPC's own client does", async () => {
    const input = { session_id: "none" };
    const failed = {
      name: "TRPCClientError",
      data: { code: "NOT_FOUND", failure: { reason: "session_not_found" } },
    };
    const { sessions } = client.trpc;
    await expect(sessions.get.query(input)).rejects.toMatchObject(failed);
    const error = new Promise<unknown>((onError) =>
      sessions.events.subscribe(input, { onError }),
    );
    expect(await error).toMatchObject(failed);
    const listening = sessions.events.subscribe(input).next();
    await expect(listening).rejects.toMatchObject(failed);
  });

  it("gets no call whose signal was aborted before", async () => {
    const reason = new Error("changed my mind");
    const { sessions } = client.trpc;
    const input = { session_id: "none" };
    const query = sessions.get.query(input, {
      signal: AbortSignal.abort(reason),
    });
    await expect(query).rejects.toMatchObject({ cause: reason });
    const ended = new Promise<void>((onComplete) =>
      sessions.events.subscribe(input, {
        onComplete,
        signal: AbortSignal.abort(reason),
      }),
    );
    await ended;
  });

  it("takes the token from its own address, and does not repeat it", async () => {
    const { token = "" } = opened.server;
    await using another = await connect({
      url: `${urlOf(opened.server)}/?token=${token}`,
    });
    expect(await another.sessions.list()).toBeDefined();
    expect(JSON.stringify(another)).not.toContain(token);
  });

  it("is found by its connection file", async () => {
    const connectionFile = join(opened.folder, "connection.json");
    await writeFile(
      connectionFile,
      JSON.stringify({
        base_path: urlOf(opened.server),
        bearer_token: opened.server.token,
      }),
    );
    await using another = await connect({ connectionFile });
    expect(await another.sessions.list()).toBeDefined();
  });

  it("is found by the output of `kallichore serve --json`", async () => {
    const connectionFile = join(opened.folder, "printed.json");
    const { token } = opened.server;
    const printed = { url: urlOf(opened.server), token };
    await writeFile(connectionFile, JSON.stringify(printed));
    await using another = await connect({ connectionFile });
    expect(await another.sessions.list()).toBeDefined();
  });

  it("whose address is missing or not valid is an error that says what to give", async () => {
    const connectionFile = join(opened.folder, "nowhere.json");
    const missing = connect({ connectionFile });
    await expect(missing).rejects.toThrow("--connection-file");
    await expect(missing).rejects.toBeInstanceOf(ConnectionError);
    await expect(connect({} as { url: string })).rejects.toThrow("socketPath");
    const wrong = connect({ url: "banana?token=secret" });
    await expect(wrong).rejects.toThrow("http://127.0.0.1");
    await expect(wrong).rejects.not.toThrow("secret");
  });

  it("is not awaited after the signal has aborted", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const waiting = connect({ url: "http://127.0.0.1:9", signal });
    setTimeout(() => controller.abort("enough"), 50);
    await expect(waiting).rejects.toBe("enough");
    const never = { url: urlOf(opened.server), signal };
    await expect(connect(never)).rejects.toBe("enough");
  });

  it("serves a client that uses only features of browsers", async () => {
    const { WebSocket } = await import("ws");
    const { token } = opened.server;
    await using another = await connect({
      url: urlOf(opened.server),
      token,
      WebSocket,
    });
    await using session = await another.start("echo");
    expect((await session.execute("x")).status).toBe("ok");
  });

  it("rejects pending and new calls of a client that was closed", async () => {
    await using session = await client.start("echo");
    const another = await clientOf(opened.server);
    const handle = another.session(session.session_id);
    const running = handle.execute("input wait");
    for await (const event of running)
      if (event.type === "input_request") break;
    another.close();
    await expect(running).rejects.toBeInstanceOf(ConnectionError);
    await expect(handle.execute("x")).rejects.toBeInstanceOf(ConnectionError);
    const next = handle.events({ after: 0 }).next();
    await expect(next).rejects.toBeInstanceOf(ConnectionError);
    const states: string[] = [];
    for await (const state of another.connection) states.push(state);
    expect(states).toEqual(["closed"]);
    await session.interrupt();
  });
});

it("a client can connect to a Unix socket", async () => {
  await using own = await open({ onSocket: true });
  await using another = await connect({
    socketPath: own.socketPath,
    token: own.server.token,
  });
  await using session = await another.start("echo");
  expect((await session.execute("x")).result).toEqual({ "text/plain": "x" });
  await expect(another.sessions.get("nowhere")).rejects.toMatchObject({
    reason: "session_not_found",
  });
  await expect(
    connect({ socketPath: own.socketPath, token: "wrong" }),
  ).rejects.toMatchObject({ reason: "unauthorized" });
});

describe("Python", needsIpykernel, () => {
  it("runs, completes, inspects and remembers", async () => {
    await using session = await client.start("python3");
    const shown = await session.execute("print('a'); print('b'); 6 * 7");
    expect(shown).toMatchObject({
      status: "ok",
      result: { "text/plain": "42" },
      outputs: [
        { output_type: "stream", name: "stdout", text: "a\nb\n" },
        { output_type: "execute_result", execution_count: 1 },
      ],
    });
    // At its first completion IPython loads a parser, which takes long on a busy machine.
    const patient = { timeout_ms: 60_000 };
    const { matches } = await session.complete("'😀'; prin", 10, patient);
    expect(matches).toContain("print");
    expect(await session.inspect("print")).toMatchObject({ found: true });
    expect(await session.isComplete("if x:")).toMatchObject({
      status: "incomplete",
    });
    const history = await session.history({ n: 1 });
    expect(history[0]?.[2]).toContain("6 * 7");
    const failed = await session.execute("1 / 0");
    expect(failed.error?.ename).toBe("ZeroDivisionError");
  });

  it("updates a display in the awaited outputs", async () => {
    await using session = await client.start("python3");
    const { outputs } = await session.execute(`
from IPython.display import display
handle = display("before", display_id=True)
handle.update("after")`);
    expect(outputs).toMatchObject([{ data: { "text/plain": "'after'" } }]);
  });
});

const message = {
  session_id: "x",
  channel: "shell" as const,
  header: { msg_id: "1", msg_type: "x_request" },
  content: {},
};
