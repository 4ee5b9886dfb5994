/** Labels and policies of sessions, as clients see them; with real kernels if these must die. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connect } from "../../client/index.ts";
import type { ActiveSession } from "../../contract/index.ts";
import { doors } from "../doors.ts";
import {
  eventually,
  openServer,
  openServerOf,
  type TestServer,
  TOKEN,
} from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";

async function get(server: TestServer, id: string): Promise<ActiveSession> {
  const { body } = await server.ask("GET", `/sessions/${id}`);
  return body as ActiveSession;
}

describe("labels", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await openServerOf({ echo });
    const create = (session_id: string, labels?: object) =>
      server.ask("PUT", "/sessions", {
        session_id,
        kernel_name: "echo",
        labels,
      });
    await create("a", { team: "stats", stage: "test" });
    await create("b", { team: "stats" });
    await create("c", { team: "it's = odd & more" });
    await create("d");
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test.each([
    ["", ["a", "b", "c", "d"]],
    ["?label=team=stats", ["a", "b"]],
    ["?label=team", ["a", "b", "c"]],
    ["?label=team=stats&label=stage=test", ["a"]],
    [`?label=${encodeURIComponent("team=it's = odd & more")}`, ["c"]],
    ["?label=toString", []],
    ["?label=team=", []],
  ])("GET /sessions%s lists %j", async (query, ids) => {
    const { body } = await server.ask("GET", `/sessions${query}`);
    const { sessions, total } = body as {
      sessions: { session_id: string }[];
      total: number;
    };
    expect(sessions.map(({ session_id }) => session_id)).toEqual(ids);
    expect(total).toBe(ids.length);
  });

  test("are listed, replaced as a whole, and removed", async () => {
    expect((await get(server, "a")).labels).toEqual({
      team: "stats",
      stage: "test",
    });
    expect((await get(server, "d")).labels).toEqual({});
    const put = await server.ask("PUT", "/sessions/d/labels", {
      labels: { "example.org/run": "42" },
    });
    expect(put.body).toEqual({ "example.org/run": "42" });
    expect((await get(server, "d")).labels).toEqual({
      "example.org/run": "42",
    });
    await server.ask("PUT", "/sessions/d/labels", { labels: {} });
    expect((await get(server, "d")).labels).toEqual({});
  });

  test("the typed client sets them and lists by them", async () => {
    await using client = await connect({ url: server.url, token: TOKEN });
    await using session = await client.sessions.create({
      kernel_name: "echo",
      labels: { owner: "me" },
    });
    const ids = async (labels: Record<string, string>) =>
      (await client.sessions.list({ labels })).map(
        ({ session_id }) => session_id,
      );
    expect(await ids({ owner: "me" })).toEqual([session.session_id]);
    await session.setLabels({ owner: "you" });
    expect(await ids({ owner: "me" })).toEqual([]);
    expect(await ids({ owner: "you" })).toEqual([session.session_id]);
  });

  test.each([
    ["a key of other characters", { "a b": "x" }],
    ["a key that begins with a dot", { ".a": "x" }],
    ["a key that is too long", { ["a".repeat(64)]: "x" }],
    ["an empty key", { "": "x" }],
    ["a value that is too long", { a: "x".repeat(257) }],
    ["a value with a control character", { a: "x\n" }],
    ["a value that is not text", { a: 1 }],
    [
      "too many",
      Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`key${i}`, ""])),
    ],
  ])("with %s are refused, and have no effect", async (_, labels) => {
    const path = "/sessions/b/labels";
    const { status, body } = await server.ask("PUT", path, { labels });
    expect(status).toBe(400);
    expect(body).toMatchObject({ reason: "bad_request" });
    expect((await get(server, "b")).labels).toEqual({ team: "stats" });
    const created = await server.ask("PUT", "/sessions", {
      session_id: "never",
      kernel_name: "echo",
      labels,
    });
    expect(created.status).toBe(400);
  });
});

describe("a policy", () => {
  const NONE = {
    cull_idle_timeout: 0,
    cull_connected: false,
    cull_busy: false,
    autorestart: null,
  };
  const BUDGET = { limit: 2, window_s: 600 };

  test("is empty by default, set at the creation, and changed in part", async () => {
    await using server = await openServerOf({ echo });
    const create = (session_id: string, policy?: object) =>
      server.ask("PUT", "/sessions", {
        session_id,
        kernel_name: "echo",
        policy,
      });
    await create("plain");
    expect((await get(server, "plain")).policy).toEqual(NONE);
    await create("given", { cull_idle_timeout: 60, autorestart: BUDGET });
    expect((await get(server, "given")).policy).toEqual({
      ...NONE,
      cull_idle_timeout: 60,
      autorestart: BUDGET,
    });
    const put = await server.ask("PUT", "/sessions/given/policy", {
      cull_connected: true,
      autorestart: null,
    });
    const expected = { ...NONE, cull_idle_timeout: 60, cull_connected: true };
    expect(put.body).toEqual(expected);
    expect((await get(server, "given")).policy).toEqual(expected);
    const bad = await server.ask("PUT", "/sessions/given/policy", {
      cull_idle_timeout: -1,
    });
    expect(bad.status).toBe(400);
  });

  test("of the server is the default for fields that a session does not set", async () => {
    await using server = await openServerOf(
      { echo },
      { policy: { cull_idle_timeout: 3600, autorestart: BUDGET } },
    );
    await server.start("echo", "s", { policy: { cull_idle_timeout: 0 } });
    expect((await get(server, "s")).policy).toEqual({
      ...NONE,
      autorestart: BUDGET,
    });
  });

  test("shuts down a real kernel without use, and clients get the reason", async () => {
    await using server = await openServer();
    await server.start("echo", "unused", { policy: { cull_idle_timeout: 1 } });
    const [door] = doors;
    if (door === undefined) throw new Error("no door");
    await using client = await door.attach(server, "unused");
    await client.until("idle", ({ status }) => status === "idle");
    // A session that became idle later, without readers, is culled first.
    await server.start("echo", "alone", { policy: { cull_idle_timeout: 1 } });
    await eventually("the other's end", async () => {
      const { status } = await get(server, "alone");
      return status === "exited" || undefined;
    });
    expect((await get(server, "unused")).status).toBe("idle"); // it has a reader
    await server.ask("PUT", "/sessions/unused/policy", {
      cull_connected: true,
    });
    const exited = await client.until(
      "exited",
      ({ status }) => status === "exited",
    );
    expect(exited["reason"]).toBe("culled after 1 s idle");
  });

  test("starts a real kernel that crashes again, until the limit is reached", async () => {
    await using server = await openServer();
    await using client = await connect({ url: server.url, token: TOKEN });
    await using session = await client.start("crash-on-execute", {
      policy: { autorestart: BUDGET },
    });
    const { session_id } = session;
    for (const round of [1, 2]) {
      await expect(session.execute("crash")).rejects.toMatchObject({
        reason: "kernel_exited",
      });
      const again = await eventually(`start ${round}`, async () => {
        const { status, process_id } = await get(server, session_id);
        return status === "idle" ? process_id : undefined;
      });
      expect(again).toBeGreaterThan(0);
    }
    await expect(session.execute("crash")).rejects.toMatchObject({
      reason: "kernel_exited",
    });
    await eventually("the end", async () =>
      (await get(server, session_id)).status === "exited" ? true : undefined,
    );
    const statuses: string[] = [];
    for await (const event of session.events({ after: 0 })) {
      if (event.kind === "status") {
        statuses.push(`${event.status} ${event.reason ?? ""}`);
      }
      if (statuses.at(-1)?.includes("not started again") === true) break;
    }
    expect(
      statuses.filter((each) => each.startsWith("starting autorestart")),
    ).toHaveLength(2);
  });

  test("that is removed lets a kernel that dies stay exited", async () => {
    await using server = await openServer();
    await using client = await connect({ url: server.url, token: TOKEN });
    await using session = await client.start("crash-on-execute", {
      policy: { autorestart: BUDGET },
    });
    await session.setPolicy({ autorestart: null });
    await expect(session.execute("crash")).rejects.toMatchObject({
      reason: "kernel_exited",
    });
    await eventually("the end", async () =>
      (await session.info()).status === "exited" ? true : undefined,
    );
    expect((await session.info()).process_id).toBeUndefined();
  });
});
