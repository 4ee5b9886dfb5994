/** Code below Jupyter's addresses, without a WebSocket: sent, read, answered and ended over HTTP alone. */
import { describe, expect, onTestFinished, test } from "vitest";
import { eventually, openServerOf, type TestServer } from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";

interface Request {
  readonly request_id: string;
  readonly request_status: string;
}

async function opened(): Promise<{ server: TestServer; kernel: string }> {
  const server = await openServerOf({ echo });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const { status, body } = await server.ask("POST", "/api/kernels", {
    name: "echo",
  });
  expect(status).toBe(201);
  return { server, kernel: `/api/kernels/${(body as { id: string }).id}` };
}

function finished(server: TestServer, location: string) {
  return eventually("the end of the code", async () => {
    const answer = await server.ask("GET", location);
    return answer.status === 202 ? undefined : answer;
  });
}

function idIn(location: unknown): string {
  return String(location).split("/").at(-1) ?? "";
}

describe("code without a WebSocket", () => {
  test("is accepted with an address, at which its outputs are found in the notebook format", async () => {
    const { server, kernel } = await opened();

    const sent = await server.ask("POST", `${kernel}/execute`, {
      code: "hello",
      metadata: { cell_id: "c" },
    });

    expect(sent.status).toBe(202);
    const location = String(sent.headers["location"]);
    expect(location).toMatch(
      new RegExp(`^${kernel}/requests/\\w+-\\w+-\\w+-\\w+-\\w+$`),
    );
    const { status, body } = await finished(server, location);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      request_id: idIn(location),
      pending: false,
      request_status: "complete",
      status: "ok",
      execution_count: 1,
      outputs: [
        { output_type: "stream", name: "stdout", text: "hello" },
        { output_type: "execute_result", data: { "text/plain": "hello" } },
      ],
    });
    // The same answer again: reading does not remove it.
    expect((await server.ask("GET", location)).body).toEqual(body);
  });

  test("is an execution of the session, with the client's metadata, and one that another client sent is a request", async () => {
    const { server, kernel } = await opened();
    const sent = await server.ask("POST", `${kernel}/execute`, {
      code: "hello",
      metadata: { cell_id: "c", n: 1 },
    });
    const id = idIn(sent.headers["location"]);
    const session = idIn(kernel);
    const own = await server.ask(
      "GET",
      `/sessions/${session}/executions/${id}`,
    );
    expect(own.body).toMatchObject({
      execution_id: id,
      code: "hello",
      metadata: { cell_id: "c", n: 1 },
    });

    await server.ask("POST", `/sessions/${session}/executions`, {
      code: "other",
      execution_id: "theirs",
    });
    const { body } = await finished(server, `${kernel}/requests/theirs`);
    expect(body).toMatchObject({ status: "ok", execution_count: 2 });
  });

  test.each([
    ["in the address", "?wait=30", {}],
    ["in the body", "", { wait: 30 }],
  ])(
    "is answered at once when it ends within `wait`, %s",
    async (_, query, more) => {
      const { server, kernel } = await opened();
      const { status, body, headers } = await server.ask(
        "POST",
        `${kernel}/execute${query}`,
        { code: "sleep 50", ...more },
      );
      expect(status).toBe(200);
      expect(headers["location"]).toBeUndefined();
      expect(body).toMatchObject({
        outputs: [{ data: { "text/plain": "slept 50" } }],
      });
    },
  );

  test("is still running after `wait` seconds, and can be waited for again", async () => {
    const { server, kernel } = await opened();
    const sent = await server.ask("POST", `${kernel}/execute?wait=0.05`, {
      code: "sleep 600",
    });
    expect(sent).toMatchObject({
      status: 202,
      body: { pending: true, request_status: "running" },
    });
    const location = String(sent.headers["location"]);
    const { status } = await server.ask("GET", `${location}?wait=30`);
    expect(status).toBe(200);
  });

  test.each(["?wait=x", "?wait=-1", "?wait=3601"])(
    "with %s is refused, and does not run",
    async (query) => {
      const { server, kernel } = await opened();
      const path = `${kernel}/execute${query}`;
      expect(await server.ask("POST", path, { code: "a" })).toMatchObject({
        status: 400,
        body: { reason: "bad_request" },
      });
      const { body } = await server.ask(
        "GET",
        `/sessions/${idIn(kernel)}/executions`,
      );
      expect(body).toMatchObject({ executions: [] });
    },
  );

  test("that fails is complete, with the error among its outputs", async () => {
    const { server, kernel } = await opened();
    const { status, body } = await server.ask(
      "POST",
      `${kernel}/execute?wait=30`,
      { code: "error no" },
    );
    expect(status).toBe(200);
    expect(body).toMatchObject({
      status: "error",
      outputs: [{ output_type: "error", ename: "EchoError", evalue: "no" }],
    });
  });

  test("that requests input says so, and where to send it", async () => {
    const { server, kernel } = await opened();
    const requested = await server.ask("POST", `${kernel}/execute?wait=30`, {
      code: "password Word? ",
    });
    expect(requested).toMatchObject({
      status: 300,
      body: {
        pending: true,
        request_status: "input",
        input_request: { prompt: "Word? ", password: true },
      },
    });
    expect(requested.headers["location"]).toBe(`${kernel}/input`);
    const { request_id } = requested.body as Request;

    const given = await server.ask("POST", `${kernel}/input`, { input: "Ann" });
    expect(given.status).toBe(201);
    const { body } = await server.ask(
      "GET",
      `${kernel}/requests/${request_id}?wait=30`,
    );
    expect(body).toMatchObject({
      outputs: [{ data: { "text/plain": "Ann" } }],
    });
    const late = await server.ask("POST", `${kernel}/input`, { input: "Bob" });
    expect(late).toMatchObject({
      status: 409,
      body: { reason: "execution_state" },
    });
  });

  test("with an id that is known does not run twice", async () => {
    const { server, kernel } = await opened();
    const body = { code: "hello", request_id: "mine" };
    const answers = [
      await server.ask("POST", `${kernel}/execute?wait=30`, body),
      await server.ask("POST", `${kernel}/execute?wait=30`, body),
    ];
    expect(answers.map((answer) => answer.body)).toMatchObject([
      { request_id: "mine", execution_count: 1 },
      { request_id: "mine", execution_count: 1 },
    ]);
    const { body: next } = await server.ask(
      "POST",
      `${kernel}/execute?wait=30`,
      { code: "hello" },
    );
    expect(next).toMatchObject({ execution_count: 2 });
  });

  test("does not overtake the request that the client names as the one before", async () => {
    const { server, kernel } = await opened();
    const second = {
      code: "b",
      request_id: "second",
      previous_request_id: "first",
    };
    const early = await server.ask("POST", `${kernel}/execute`, second);
    expect(early).toMatchObject({
      status: 409,
      body: { reason: "execution_state" },
    });
    await server.ask("POST", `${kernel}/execute`, {
      code: "a",
      request_id: "first",
    });
    const { body } = await server.ask(
      "POST",
      `${kernel}/execute?wait=30`,
      second,
    );
    expect(body).toMatchObject({ execution_count: 2 });
  });

  test("is dropped from the queue, interrupted, or left as it is, by DELETE", async () => {
    const { server, kernel } = await opened();
    const ask = async (code: string) => {
      const { headers } = await server.ask("POST", `${kernel}/execute`, {
        code,
      });
      return String(headers["location"]);
    };
    const runs = await ask("sleep 60000");
    const waits = await ask("never");

    expect((await server.ask("DELETE", waits)).status).toBe(204);
    expect(await server.ask("GET", waits)).toMatchObject({
      status: 500,
      body: {
        reason: "execution_aborted",
        message: expect.stringContaining("cancelled") as string,
        traceback: "",
      },
    });
    expect((await server.ask("DELETE", runs)).status).toBe(204);
    const ended = await server.ask("GET", `${runs}?wait=30`);
    expect(ended).toMatchObject({ status: 200, body: { status: "error" } });
    expect((await server.ask("DELETE", runs)).status).toBe(204);
    expect((await server.ask("GET", runs)).body).toEqual(ended.body);
  });

  test("whose kernel dies is an error that says so, and a dead kernel takes no more", async () => {
    const { server, kernel } = await opened();
    const policy = await server.ask("PUT", `/sessions/${idIn(kernel)}/policy`, {
      autorestart: null,
    });
    expect(policy.status).toBe(200);
    const { status, body } = await server.ask(
      "POST",
      `${kernel}/execute?wait=30`,
      { code: "exit 3" },
    );
    expect(status).toBe(500);
    expect(body).toMatchObject({
      reason: "execution_aborted",
      message: expect.stringContaining("exit code 3") as string,
    });
    await eventually("the end of the kernel", async () => {
      const { body } = await server.ask("GET", kernel);
      const { execution_state } = body as { execution_state: string };
      return execution_state === "dead" ? true : undefined;
    });
    expect(
      await server.ask("POST", `${kernel}/execute`, { code: "a" }),
    ).toMatchObject({ status: 409, body: { reason: "session_not_running" } });
  });

  test("of an unknown kernel, or an unknown request, is 404 in Jupyter's shape", async () => {
    const { server, kernel } = await opened();
    const nobody = "/api/kernels/111-111-111-111-111";
    const answers = [
      await server.ask("POST", `${nobody}/execute`, { code: "a" }),
      await server.ask("POST", `${nobody}/input`, { input: "a" }),
      await server.ask("GET", `${nobody}/requests/a`),
      await server.ask("DELETE", `${nobody}/requests/a`),
      await server.ask("GET", `${kernel}/requests/a`),
      await server.ask("DELETE", `${kernel}/requests/a`),
    ];
    for (const { status, body } of answers) {
      expect(status).toBe(404);
      expect(body).toMatchObject({ message: expect.any(String) as string });
    }
  });

  test("goes to the kernel as it was written, however large", async () => {
    const { server, kernel } = await opened();
    const code = `x ${'é"\\'.repeat(40_000)}`;
    const { body } = await server.ask("POST", `${kernel}/execute?wait=30`, {
      code,
      silent: null,
    });
    expect(body).toMatchObject({
      outputs: [{ text: code }, { data: { "text/plain": code } }],
    });
  });
});

describe("a kernel_id", () => {
  test("is an id of the session at its own addresses too, its events included", async () => {
    const { server, kernel } = await opened();
    const { body } = await server.ask("GET", kernel);
    const { id, session_id } = body as { id: string; session_id: string };
    await server.ask("PUT", "/sessions", {
      session_id: "native",
      kernel_name: "echo",
    });
    const native = await server.ask("GET", "/sessions/native");
    const { kernel_id } = native.body as { kernel_id: string };
    expect(kernel_id).not.toBe("native");
    expect((await server.ask("GET", `/sessions/${kernel_id}`)).body).toEqual(
      native.body,
    );
    expect(id).toBe(session_id);

    const stream = await server.ask("HEAD", `/sessions/${kernel_id}/events`);
    expect(stream).toMatchObject({ status: 200 });
    expect(stream.headers["content-type"]).toBe("text/event-stream");
    expect((await server.ask("DELETE", `/sessions/${kernel_id}`)).status).toBe(
      200,
    );
    expect((await server.ask("GET", "/sessions/native")).status).toBe(404);
  });
});

describe("a subscription to what is not there", () => {
  test.each([
    ["/sessions/nobody/events", "session_not_found"],
    ["/sessions/nobody/executions/a/events", "session_not_found"],
    ["EXECUTIONS/a/events", "execution_not_found"],
  ])("%s is 404 with the usual body", async (path, reason) => {
    const { server, kernel } = await opened();
    const whole = path.replace(
      "EXECUTIONS",
      `/sessions/${idIn(kernel)}/executions`,
    );
    for (const method of ["GET", "HEAD"]) {
      const answer = await server.ask(method, whole);
      expect(answer.status).toBe(404);
      expect(answer.headers["content-type"]).toBe("application/json");
      if (method === "GET") expect(answer.body).toMatchObject({ reason });
    }
  });

  test("is told in tRPC's own event stream as well", async () => {
    const { server } = await opened();
    const input = encodeURIComponent(JSON.stringify({ session_id: "nobody" }));
    const { text } = await server.ask(
      "GET",
      `/trpc/sessions.events?input=${input}`,
    );
    expect(text).toContain("event: serialized-error");
    expect(text).toContain('"reason":"session_not_found"');
  });
});
