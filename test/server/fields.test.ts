/** Fields with impossible values are refused with a reason, and have no effect. */
import { mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { needsLinux } from "../needs.ts";
import {
  openServer,
  ownWords,
  temporaryFolder,
  type TestServer,
  TOKEN,
} from "../harness.ts";

let server: TestServer;
beforeAll(async () => {
  server = await openServer();
});
afterAll(() => server[Symbol.asyncDispose]());

const form = { ...ownWords, session_mode: undefined, argv: [] };
const pathOf = (id: string) => `/sessions/${encodeURIComponent(id)}`;

async function expectRefused(
  requested: ReturnType<TestServer["ask"]>,
  field: string,
): Promise<void> {
  const { status, body } = await requested;
  expect({ status, body }).toMatchObject({
    status: 400,
    body: {
      code: "bad_request",
      message: expect.stringContaining(field) as string,
    },
  });
}

test.each([
  ["empty", ""],
  [".", "."],
  ["..", ".."],
  ["half of a surrogate pair", "a\ud800"],
  ["with a NUL", "a\0b"],
  ["too long", "x".repeat(1025)],
])("a session id that is %s is refused", async (_, session_id) => {
  const made = server.ask("PUT", "/sessions", { ...form, session_id });
  await expectRefused(made, "session_id");
});

test.each(["%2e", "%2E%2E", "...", ".a", "a/b", "a b", "é😀", "?#&", "a\nb"])(
  "a session called %j is addressable over REST",
  async (session_id) => {
    const made = await server.ask("PUT", "/sessions", { ...form, session_id });
    expect(made.body).toEqual({ session_id });
    const { body } = await server.ask("GET", pathOf(session_id));
    expect(body).toMatchObject({ session_id });
    const gone = await server.ask("DELETE", pathOf(session_id));
    expect(gone.status).toBe(200);
  },
);

test.each([
  ["argv", { argv: ["/bin/true", "a\0b"] }],
  ["working_directory", { working_directory: "/tmp\0" }],
  ["startup_environment_arg", { startup_environment_arg: "\0" }],
  ["interrupt_mode", { interrupt_mode: "politely" }],
  ["connection_timeout", { connection_timeout: 1e10 }],
  ["connection_timeout", { connection_timeout: 0.5 }],
  ["name", { env: [{ action: "replace", name: "", value: "" }] }],
  ["name", { env: [{ action: "replace", name: "A=B", value: "" }] }],
  ["name", { env: [{ action: "replace", name: "A\0", value: "" }] }],
  ["value", { env: [{ action: "replace", name: "A", value: "\0" }] }],
  ["action", { env: [{ action: "remove", name: "A", value: "" }] }],
])("a session with a bad %s is refused: %j", async (field, bad) => {
  const made = server.ask("PUT", "/sessions", {
    ...form,
    session_id: "bad",
    ...bad,
  });
  await expectRefused(made, field);
});

const connection = {
  control_port: 1,
  shell_port: 2,
  stdin_port: 3,
  hb_port: 4,
  iopub_port: 5,
  signature_scheme: "hmac-sha256",
  key: "k",
  transport: "tcp",
  ip: "127.0.0.1",
};

test.each([
  ["shell_port", 0],
  ["iopub_port", -1],
  ["stdin_port", 70_000],
  ["control_port", 1.5],
  ["hb_port", 0],
  ["ip", ""],
  ["ip", "a\0b"],
  ["transport", "inproc"],
  ["signature_scheme", "bogus"],
  ["signature_scheme", "hmac-bogus"],
])(
  "an adoption with %s %j is refused, and has no effect",
  async (field, value) => {
    const session_id = `adopts ${field} ${String(value)}`.replace("\0", "0");
    await server.ask("PUT", "/sessions", { ...form, session_id });
    const path = pathOf(session_id);
    await expectRefused(
      server.ask("PUT", `${path}/adopt`, { ...connection, [field]: value }),
      field,
    );
    const { body } = await server.ask("GET", path);
    expect(body).toMatchObject({ status: "uninitialized", last_seq: 0 });
  },
);

test.each(["start", "restart"])(
  "a session without a command refuses to %s, and stays unchanged",
  async (operation) => {
    const session_id = `no command to ${operation}`;
    await server.ask("PUT", "/sessions", { ...form, session_id });
    const path = pathOf(session_id);
    const { status, body } = await server.ask("POST", `${path}/${operation}`);
    expect({ status, body }).toMatchObject({
      status: 500, // Positron shows the message of no other status
      body: {
        error: {
          code: "KS-5",
          message: expect.stringContaining("`argv` is empty") as string,
        },
      },
    });
    const seen = await server.ask("GET", path);
    expect(seen.body).toMatchObject({ status: "uninitialized", last_seq: 0 });
  },
);

test("the longest connection timeout does not fire at once", async () => {
  const session = await server.start("echo", "patient", {
    connection_timeout: 2_147_483_647,
  });
  const { body } = await server.ask("GET", pathOf(session));
  expect(body).toMatchObject({ status: "idle" });
});

test(
  "a working directory that is deleted while the kernel runs is reported unchanged",
  needsLinux,
  async () => {
    const folder = temporaryFolder();
    const [gone, named] = [join(folder, "gone"), join(folder, "x (deleted)")];
    for (const path of [gone, named]) mkdirSync(path);
    const session = await server.start("echo", "homeless", {
      working_directory: gone,
    });
    rmdirSync(gone);
    const run = () =>
      server.ask("POST", `${pathOf(session)}/execute`, { code: "hello" });
    await run();
    const where = async () =>
      (await server.ask("GET", pathOf(session))).body as object;
    expect(await where()).toMatchObject({ working_directory: gone });

    const restart = `${pathOf(session)}/restart`;
    await server.ask("POST", restart, { working_directory: named });
    await run();
    expect(await where()).toMatchObject({ working_directory: named });
    await server.ask("POST", `${pathOf(session)}/shutdown`);
  },
);

test.each(["[]", "5", '"x"', "true"])(
  "a body that is JSON but not an object is refused, and has no effect: %s",
  async (body) => {
    const session_id = `body ${body}`;
    await server.ask("PUT", "/sessions", { ...form, session_id });
    const path = pathOf(session_id);
    const restart = server.ask("POST", `${path}/restart`, body);
    const { status, text } = await restart;
    expect(status).toBe(400);
    expect(text).toContain("The body is not a JSON object");
    const seen = await server.ask("GET", path);
    expect(seen.body).toMatchObject({ status: "uninitialized", last_seq: 0 });
  },
);

test("a token in the address is not a field: it is neither refused, nor named in the warning", async () => {
  await server.ask("PUT", "/sessions", { ...form, session_id: "asked" });
  const answer = await server.ask(
    "GET",
    `/sessions/asked?token=${TOKEN}&client=mine&other=1`,
    undefined,
    {},
  );
  expect(answer.status).toBe(200);
  expect(answer.headers["warning"]).toBe(
    'Ignoring unknown fields in body: ["other"]',
  );
});
