/** REST: the sixteen operations, their bodies, codes and error shapes, and the common parts of all answers. */
import { randomUUID } from "node:crypto";

import {
  at,
  equal,
  holds,
  keys,
  list,
  refute,
  shown,
  text,
} from "../harness/check.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import type { Item } from "../harness/item.ts";
import { talk } from "../harness/request.ts";
import type { Server } from "../harness/server.ts";
import { Session, newId, newSession } from "../harness/session.ts";

interface World {
  readonly server: Server;
}

export const group = outline<World>({
  id: "REST",
  open: async (ground) => ({ server: await ground.start() }),
  items: [
    {
      id: "REST-01",
      claim:
        "GET /status: 200 with counts, times, version, process_id and started",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const { status, body, headers } = await server.anonymous(
          "GET",
          "/status",
        );
        equal(status, 200, "status code");
        holds(
          /^application\/json/.test(headers["content-type"] ?? ""),
          "not JSON",
        );
        for (const key of [
          ...["sessions", "active", "idle_seconds", "busy_seconds"],
          ...["uptime_seconds", "process_id"],
        ])
          holds(
            Number.isInteger(at(body, key)),
            `${key}: ${shown(at(body, key))}`,
          );
        equal(at(body, "busy"), false, "busy");
        equal(at(body, "process_id"), server.pid, "process_id");
        holds(/^\d+\.\d+\.\d+/.test(text(at(body, "version"))), "version");
        isTimestamp(at(body, "started"), "started");
      },
    },
    {
      id: "REST-02",
      claim: "GET /sessions: 200 {total, sessions} in the order of creation",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const ids: string[] = [];
        for (let i = 0; i < 3; i += 1)
          ids.push((await Session.create(server)).id);
        const { status, body } = await server.request("GET", "/sessions");
        equal(status, 200, "status code");
        const sessions = list(at(body, "sessions"));
        equal(at(body, "total"), sessions.length, "total");
        const listed = sessions.map((session) =>
          text(at(session, "session_id")),
        );
        equal(
          listed.filter((id) => ids.includes(id)),
          ids,
          "the three sessions",
        );
      },
    },
    {
      id: "REST-03",
      claim: "PUT /sessions: 200 with the given id",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const body = newSession();
        const answer = await server.request("PUT", "/sessions", { body });
        equal(answer.status, 200, "status code");
        equal(answer.body, { session_id: body["session_id"] }, "body");
      },
    },
    {
      id: "REST-04",
      claim: "PUT /sessions with an id in use: 400 KS-0",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const { id } = await Session.create(server);
        const body = newSession({ body: { session_id: id } });
        isError(
          await server.request("PUT", "/sessions", { body }),
          400,
          "KS-0",
        );
      },
    },
    {
      id: "REST-05",
      claim: "two PUT /sessions at once with one id: one succeeds, one is KS-0",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const body = newSession();
        const answers = await Promise.all(
          Array.from({ length: 6 }, () =>
            server.request("PUT", "/sessions", { body }),
          ),
        );
        const codes = answers.map((answer) => answer.status).sort();
        equal(codes, [200, 400, 400, 400, 400, 400], "status codes");
      },
    },
    missingProgram(
      "REST-06",
      "an absolute path that is no file",
      "/no/such/kernel",
    ),
    missingProgram(
      "REST-07",
      "a name that is not on the PATH",
      "no-such-kernel-program",
    ),
    {
      id: "REST-08",
      claim: "PUT /sessions without argv is accepted (a session to be adopted)",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        await Session.create(server, { body: { argv: [] } });
      },
    },
    {
      id: "REST-09",
      claim: "GET /sessions/{id}: every given field, and those of the state",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const given = {
          display_name: "A display name",
          language: "a language",
          username: "a user",
          interrupt_mode: "message",
          session_mode: "notebook",
          notebook_uri: "file:///some/notebook.ipynb",
          working_directory: "/",
          input_prompt: "in",
          continuation_prompt: "more",
        };
        const session = await Session.create(server, { body: given });
        const body = await session.details();
        for (const [key, value] of Object.entries(given))
          equal(at(body, key), value, key);
        equal(
          list(at(body, "argv")).at(-1),
          "{connection_file}",
          "argv, unexpanded",
        );
        equal(
          at(body, "execution_queue"),
          { length: 0, pending: [] },
          "execution_queue",
        );
        equal(at(body, "connected"), false, "connected");
        equal(at(body, "initial_env"), {}, "initial_env");
        equal(at(body, "kernel_info"), {}, "kernel_info");
        for (const key of ["process_id", "resource_usage", "socket_path"])
          holds(!keys(body).includes(key), `${key} is there`);
        for (const key of ["idle_seconds", "busy_seconds"])
          holds(Number.isInteger(at(body, key)), key);
        isTimestamp(at(body, "started"), "started");
      },
    },
    {
      id: "REST-10",
      claim: "optional fields without a value are omitted, not null",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server);
        const body = await session.details();
        holds(!keys(body).includes("notebook_uri"), "notebook_uri is there");
        const nulls = keys(body).filter((key) => at(body, key) === null);
        equal(nulls, [], "fields that are null");
      },
    },
    {
      id: "REST-11",
      claim: "a session that never started is `uninitialized`",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.create(server);
        equal(at(await session.details(), "status"), "uninitialized", "status");
      },
    },
    {
      id: "REST-12",
      claim: "success without content is the JSON literal null",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const answer = await server.request("POST", "/client_heartbeat", {
          body: {},
        });
        equal(answer.status, 200, "status code");
        equal(answer.text, "null", "body");
        holds(
          /^application\/json/.test(answer.headers["content-type"] ?? ""),
          "type",
        );
      },
    },
    {
      id: "REST-13",
      claim: "x-span-id is returned, and generated if there is none",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const id = randomUUID();
        const headers = { "x-span-id": id };
        const echoed = await server.request("GET", "/status", { headers });
        equal(echoed.headers["x-span-id"], id, "the echoed one");
        const made = await server.request("GET", "/status");
        holds(
          /^[0-9a-f-]{36}$/.test(String(made.headers["x-span-id"])),
          "no fresh one",
        );
      },
    },
    {
      id: "REST-14",
      claim: "unknown fields are accepted",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        await Session.create(server, {
          body: { workspace_id: "w", future: { a: [1] } },
        });
      },
    },
    {
      id: "REST-15",
      claim: "ignored fields are named in a `warning` header",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const body = newSession({ body: { no_such_field: 1 } });
        const answer = await server.request("PUT", "/sessions", { body });
        const warning = text(answer.headers["warning"]);
        holds(warning.includes("no_such_field"), `warning: ${shown(warning)}`);
      },
    },
    {
      id: "REST-16",
      claim: "a body is read as JSON with any Content-Type, or without one",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        for (const type of [
          undefined,
          "text/plain",
          "application/x-www-form-urlencoded",
        ]) {
          const raw = JSON.stringify(newSession());
          const headers: Record<string, string> =
            type === undefined ? {} : { "content-type": type };
          const answer = await server.request("PUT", "/sessions", {
            raw,
            headers,
          });
          equal(answer.status, 200, `with ${shown(type)}`);
        }
      },
    },
    malformed("REST-17", "no body", ""),
    malformed("REST-18", "the body null", "null"),
    malformed("REST-19", "a body that is no JSON", "{nonsense"),
    malformed(
      "REST-20",
      "a field missing",
      JSON.stringify({ session_id: "x" }),
    ),
    malformed(
      "REST-21",
      "env as an object",
      JSON.stringify(newSession({ body: { env: { A: "1" } } })),
    ),
    malformed(
      "REST-22",
      "an integer beyond 32 bits",
      JSON.stringify(newSession({ body: { connection_timeout: 2 ** 31 } })),
    ),
    malformed(
      "REST-23",
      "an unknown interrupt_mode",
      JSON.stringify(newSession({ body: { interrupt_mode: "shout" } })),
    ),
    {
      id: "REST-24",
      claim: "null is accepted for optional fields",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        await Session.create(server, {
          body: {
            notebook_uri: null,
            connection_timeout: null,
            protocol_version: null,
            startup_environment_arg: null,
          },
        });
      },
    },
    {
      id: "REST-25",
      claim:
        "unknown paths are 404; a trailing slash makes another path; the query is ignored",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        equal(
          (await server.request("GET", "/no-such-place")).status,
          404,
          "unknown",
        );
        equal(
          (await server.request("GET", "/sessions/a/b/c")).status,
          404,
          "too deep",
        );
        equal(
          (await server.request("GET", "/sessions?x=1")).status,
          200,
          "with a query",
        );
        equal(
          (await server.request("DELETE", "/status/")).status,
          404,
          "/status/",
        );
      },
    },
    {
      id: "REST-26",
      claim: "a known path with another method is 405",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        for (const [method, path] of [
          ["DELETE", "/status"],
          ["POST", "/sessions"],
          ["GET", "/shutdown"],
          ["PATCH", "/sessions/x"],
          ["GET", "/sessions/x/start"],
          ["PUT", "/sessions/x/kill"],
          ["POST", "/sessions/x/adopt"],
          ["DELETE", "/server_configuration"],
        ] as const)
          equal(
            (await server.request(method, path)).status,
            405,
            `${method} ${path}`,
          );
      },
    },
    {
      id: "REST-27",
      claim: "an unknown session is 404 for every operation on one",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        for (const [method, operation] of OF_SESSIONS) {
          const path = `/sessions/no-such-session${operation}`;
          const body = operation === "/adopt" ? connectionInfo() : undefined;
          const call = body === undefined ? {} : { body };
          equal(
            (await server.request(method, path, call)).status,
            404,
            `${method} ${path}`,
          );
        }
      },
    },
    {
      id: "REST-28",
      claim: "404 for a session carries an Error with code KS-1",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const answer = await server.request("GET", "/sessions/no-such-session");
        isError(answer, 404, "KS-1");
      },
    },
    {
      id: "REST-29",
      claim:
        "session ids are percent-decoded; one with slash, space and accents works everywhere",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session_id = `a/b c?#é${newId()}`;
        const session = await Session.create(server, { body: { session_id } });
        equal(
          at(await session.details(), "session_id"),
          session_id,
          "session_id",
        );
      },
    },
    {
      id: "REST-30",
      claim: "undecodable percent-encoding in a path is 400",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        equal(
          (await server.request("GET", "/sessions/%ff%fe")).status,
          400,
          "status code",
        );
      },
    },
    {
      id: "REST-31",
      claim:
        "an id with slashes and dots starts; one of 300 characters starts or is refused at once with 400",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const odd = { session_id: `../../x/${newId()}` };
        await Session.started(server, { body: odd });
        const long = newSession({
          body: { session_id: `${newId()}${"y".repeat(300)}` },
        });
        const { status } = await server.request("PUT", "/sessions", {
          body: long,
        });
        if (status === 400) return;
        const session = new Session(server, text(long["session_id"]));
        equal((await session.start()).status, 200, "start of the long one");
      },
    },
    {
      id: "REST-32",
      claim:
        "GET connection_info: five ports, key, scheme, ip and transport; the same at the second request",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server, { body: { argv: [] } });
        const path = session.path("connection_info");
        const first = await server.request("GET", path);
        equal(first.status, 200, "status code");
        equal(
          [...keys(first.body)].sort(),
          Object.keys(connectionInfo()).sort(),
          "keys",
        );
        const ports = keys(first.body).filter((key) => key.endsWith("_port"));
        for (const port of ports)
          holds(
            Number.isInteger(at(first.body, port)),
            `${port} is no integer`,
          );
        equal(at(first.body, "ip"), "127.0.0.1", "ip");
        equal(at(first.body, "transport"), "tcp", "transport");
        equal(
          at(first.body, "signature_scheme"),
          "hmac-sha256",
          "signature_scheme",
        );
        holds(/^[0-9a-f]{32}/.test(text(at(first.body, "key"))), "key");
        equal(
          (await server.request("GET", path)).body,
          first.body,
          "asked again",
        );
      },
    },
    {
      id: "REST-33",
      claim:
        "keep-alive and large bodies work: a session with a megabyte of arguments",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const argv = [process.execPath, "x".repeat(1_000_000)];
        await Session.create(server, { body: { argv } });
      },
    },
    {
      id: "REST-34",
      claim: "/status counts sessions, the active ones among them",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const before = (await server.anonymous("GET", "/status")).body;
        await Session.create(server);
        const after = (await server.anonymous("GET", "/status")).body;
        equal(
          at(after, "sessions"),
          Number(at(before, "sessions")) + 1,
          "sessions",
        );
      },
    },
    {
      id: "REST-35",
      claim: "an adopt body with a field missing is 400",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server, { body: { argv: [] } });
        const body = { ...connectionInfo(), key: undefined };
        const answer = await server.request("PUT", session.path("adopt"), {
          body,
        });
        equal(answer.status, 400, "status code");
      },
    },
    spoken(
      "REST-36",
      "a client that offers HTTP/2 with a request (Java's does) is answered, its body read",
      (lines) => [
        `POST /client_heartbeat HTTP/1.1\r\n${lines}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAAAA\r\nContent-Length: 16\r\n\r\n{"proc`,
        'ess_id":1}GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n',
      ],
      /^HTTP\/1.1 200 OK\r\n[^]*null[^]*HTTP\/1.1 200 OK\r\n[^]*"process_id"/,
    ),
    spoken(
      "REST-37",
      "a request's target may be a whole URL, as behind a proxy",
      () => ["GET http://localhost/status HTTP/1.1\r\nHost: localhost\r\n\r\n"],
      /^HTTP\/1.1 200 OK\r\n[^]*"process_id"/,
    ),
    spoken(
      "REST-38",
      "HTTP/1.0 without a Host is answered",
      () => ["GET /status HTTP/1.0\r\n\r\n"],
      /^HTTP\/1.[01] 200 OK\r\n[^]*"process_id"/,
    ),
    spoken(
      "REST-39",
      "requests that come together are answered in their order",
      (lines) => [
        `GET /sessions HTTP/1.1\r\n${lines}\r\nGET /sessions/nobody HTTP/1.1\r\n${lines}\r\nGET /status HTTP/1.1\r\n${lines}\r\n`,
      ],
      /^HTTP\/1.1 200 OK\r\n[^]*"total"[^]*HTTP\/1.1 404 [^]*HTTP\/1.1 200 OK\r\n[^]*"process_id"/,
    ),
    spoken(
      "REST-40",
      "a body in chunks is read",
      (lines) => [
        `POST /client_heartbeat HTTP/1.1\r\n${lines}Transfer-Encoding: chunked\r\n\r\n5;ext=1\r\n{"pro\r\n`,
        'b\r\ncess_id":1}\r\n0\r\n\r\n',
      ],
      /^HTTP\/1.1 200 OK\r\n[^]*null/,
    ),
    spoken(
      "REST-41",
      "a body that waits for 100 Continue is asked for, and read",
      (lines) => [
        `POST /client_heartbeat HTTP/1.1\r\n${lines}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n`,
        "{}",
      ],
      /^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 OK\r\n[^]*null/,
    ),
    spoken(
      "REST-42",
      "headers of fifty kilobytes are read",
      () => [
        `GET /status HTTP/1.1\r\nHost: localhost\r\nCookie: ${"x".repeat(50_000)}\r\n\r\n`,
      ],
      /^HTTP\/1.1 200 OK\r\n[^]*"process_id"/,
    ),
  ],
});

/** Bytes that are sent, and the expected answer. */
function spoken(
  id: string,
  claim: string,
  pieces: (lines: string) => readonly string[],
  received: RegExp,
): Item<World> {
  return {
    id,
    claim,
    source: KALLICHORE,
    mark: "same",
    run: async ({ server }) => {
      const { address, token = "" } = server;
      if (!("port" in address)) refute("the server is not on TCP");
      const lines = `Host: localhost\r\nAuthorization: Bearer ${token}\r\n`;
      const whole = await talk(address, pieces(lines), received);
      holds(received.test(whole), `heard ${shown(whole)}`);
    },
  };
}

/** All operations on one session, by method and the rest of the path. */
export const OF_SESSIONS = [
  ["GET", ""],
  ["DELETE", ""],
  ["POST", "/start"],
  ["POST", "/restart"],
  ["POST", "/kill"],
  ["POST", "/interrupt"],
  ["PUT", "/adopt"],
  ["GET", "/connection_info"],
] as const;

export function connectionInfo(): Record<string, unknown> {
  return {
    control_port: 1,
    shell_port: 2,
    stdin_port: 3,
    hb_port: 4,
    iopub_port: 5,
    signature_scheme: "hmac-sha256",
    key: "0123456789abcdef0123456789abcdef",
    transport: "tcp",
    ip: "127.0.0.1",
  };
}

/** An Error body: a code and a message, and details as text if there are any. */
export function isError(
  answer: {
    readonly status: number;
    readonly body: unknown;
    readonly text: string;
  },
  status: number,
  code: string,
): void {
  equal(answer.status, status, `status code, answering ${shown(answer.text)}`);
  equal(at(answer.body, "code"), code, "code");
  holds(text(at(answer.body, "message")) !== "", "no message");
}

function isTimestamp(value: unknown, what: string): void {
  const form = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
  holds(form.test(text(value)), `${what} is no UTC timestamp: ${shown(value)}`);
}

function missingProgram(
  id: string,
  what: string,
  program: string,
): Item<World> {
  return {
    id,
    claim: `PUT /sessions with ${what}: 400 KS-19, and no session`,
    source: KALLICHORE,
    mark: "same",
    run: async ({ server }) => {
      const body = newSession({
        body: { argv: [program, "{connection_file}"] },
      });
      isError(await server.request("PUT", "/sessions", { body }), 400, "KS-19");
      const path = `/sessions/${text(body["session_id"])}`;
      equal((await server.request("GET", path)).status, 404, "GET of it");
    },
  };
}

function malformed(id: string, what: string, raw: string): Item<World> {
  return {
    id,
    claim: `PUT /sessions with ${what}: 400`,
    source: KALLICHORE,
    mark: "same",
    run: async ({ server }) => {
      const answer = await server.request("PUT", "/sessions", { raw });
      equal(answer.status, 400, `status code, answering ${shown(answer.text)}`);
    },
  };
}
