/** Telemetry: the events that a program which embeds the server can count. */
import { expect, test } from "vitest";
import { connect } from "../../client/index.ts";
import type { Telemetry } from "../../src/telemetry/telemetry.ts";
import { eventually, openServerOf, TOKEN } from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";
import { newSession, code } from "../session/fake-kernel.ts";

/** A listener that keeps the reported values. */
class Listener implements Telemetry {
  readonly reported: [string, Record<string, unknown>][] = [];
  readonly bytes = { from_kernel: 0, to_kernel: 0 };

  operation(done: object): void {
    this.#note("operation", done);
  }
  sessionCreated(session: object): void {
    this.#note("sessionCreated", session);
  }
  sessionDeleted(session: object): void {
    this.#note("sessionDeleted", session);
  }
  kernelStarted(started: object): void {
    this.#note("kernelStarted", started);
  }
  kernelEnded(ended: object): void {
    this.#note("kernelEnded", ended);
  }
  refused(refused: object): void {
    this.#note("refused", refused);
  }
  gap(gap: object): void {
    this.#note("gap", gap);
  }
  execution(ended: object): void {
    this.#note("execution", ended);
  }
  message(
    _: string,
    direction: "from_kernel" | "to_kernel",
    __: string,
    bytes: number,
  ): void {
    this.bytes[direction] += bytes;
  }

  of(name: string): Record<string, unknown>[] {
    return this.reported.flatMap(([what, fields]) =>
      what === name ? [fields] : [],
    );
  }

  #note(name: string, fields: object): void {
    this.reported.push([name, { ...fields }]);
  }
}

test("the life of a session is reported, with the caller, and without content", async () => {
  const listener = new Listener();
  {
    await using server = await openServerOf({ echo }, { telemetry: listener });
    await using client = await connect({
      url: server.url,
      token: TOKEN,
      client: "a-test/1",
    });
    await using session = await client.start("echo", { session_id: "s" });
    await session.execute("a secret");
    await session.shutdown();
  }
  const named = { session_id: "s", kernel_name: "echo" };
  expect(listener.of("sessionCreated")).toEqual([named]);
  expect(listener.of("kernelStarted")).toMatchObject([
    { ...named, by: "start", duration_ms: expect.any(Number) as unknown },
  ]);
  expect(listener.of("execution")).toMatchObject([
    {
      session_id: "s",
      state: "done",
      reason: null,
      client: { client: "a-test", version: "1" },
      span_id: expect.stringMatching(/./) as unknown,
    },
  ]);
  expect(listener.of("kernelEnded")).toMatchObject([
    { ...named, reason: expect.stringContaining("exited") as unknown },
  ]);
  expect(listener.of("sessionDeleted")).toEqual([named]);
  const order = listener.reported
    .map(([name]) => name)
    .filter((name) => name !== "operation");
  expect(order).toEqual([
    "sessionCreated",
    "kernelStarted",
    "execution",
    "kernelEnded",
    "sessionDeleted",
  ]);
  expect(listener.bytes.to_kernel).toBeGreaterThan("a secret".length);
  expect(listener.bytes.from_kernel).toBeGreaterThan(0);
  expect(JSON.stringify(listener.reported)).not.toContain("secret");
  expect(JSON.stringify(listener.reported)).not.toContain(TOKEN);
});

test("each operation is reported with its result, over both protocols", async () => {
  const listener = new Listener();
  await using server = await openServerOf({ echo }, { telemetry: listener });
  const headers = {
    authorization: `Bearer ${TOKEN}`,
    "x-client": "rest/2",
    "x-span-id": "the-span",
  };
  await server.ask("GET", "/sessions", undefined, headers);
  await server.ask("GET", "/sessions/none", undefined, headers);
  await server.ask("PUT", "/sessions", {}, headers);
  await using client = await connect({ url: server.url, token: TOKEN });
  await client.status();
  await server.ask("GET", "/status", undefined, {});
  expect(listener.of("operation")).toMatchObject([
    {
      name: "sessions.list",
      failure: null,
      caller: "token",
      client: { client: "rest", version: "2" },
      span_id: "the-span",
    },
    { name: "sessions.get", failure: "session_not_found" },
    { name: "sessions.create", failure: "bad_request" },
    { name: "server.status", failure: null, caller: "token" },
    { name: "server.status", failure: null, caller: "nobody" },
  ]);
});

test("a subscription is reported when it has ended", async () => {
  const listener = new Listener();
  await using server = await openServerOf({ echo }, { telemetry: listener });
  await using client = await connect({ url: server.url, token: TOKEN });
  await using session = await client.start("echo");
  const events = session.events({ after: 0 });
  await events.next();
  const subscriptions = () =>
    listener.of("operation").filter(({ name }) => name === "sessions.events")
      .length;
  expect(subscriptions()).toBe(0);
  await events.return();
  await eventually("its end", () => (subscriptions() === 1 ? true : undefined));
});

test("entries that a reader missed are reported as a gap", async () => {
  const gaps: object[] = [];
  const { session, provisioner } = newSession({
    memory: 1000,
    telemetry: { gap: (gap) => gaps.push(gap) },
  });
  await session.start();
  const request = code("talk");
  session.send(request);
  for (let i = 0; i < 100; i += 1) provisioner.kernel.print("line", request);
  const reader = session.journal.follow(0, AbortSignal.timeout(5_000));
  const { value } = await reader.next();
  await reader.return();
  const [gap] = gaps;
  expect(value).toMatchObject({ gap: { from: 1 } });
  expect(gap).toMatchObject({ session_id: "s", from: 1 });
});

test("a listener that throws does not affect the server", async () => {
  const thrower = () => {
    throw new Error("a bug of the listener's");
  };
  await using server = await openServerOf(
    { echo },
    {
      telemetry: {
        operation: thrower,
        sessionCreated: thrower,
        kernelStarted: thrower,
        kernelEnded: thrower,
        message: thrower,
        execution: thrower,
        sessionDeleted: thrower,
      },
    },
  );
  await using client = await connect({ url: server.url, token: TOKEN });
  await using session = await client.start("echo");
  expect((await session.execute("1")).status).toBe("ok");
});
