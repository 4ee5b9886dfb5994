import { expect, it } from "vitest";
import { openServer } from "../harness.ts";

it("treats a null `argv` as an absent one", async () => {
  await using server = await openServer();
  const body = { session_id: "a", kernel_name: "echo", argv: null };

  expect((await server.ask("PUT", "/sessions", body)).status).toBe(200);
  expect((await server.ask("POST", "/sessions/a/start")).status).toBe(200);
});

it("requires `argv` if it is null and there is no kernel name", async () => {
  await using server = await openServer();

  const answer = await server.ask("PUT", "/sessions", { argv: null });

  expect(answer.status).toBe(400);
  expect(answer.text).toContain("Give `kernel_name`, or `argv`");
});

it("refuses to keep a session if the server keeps none, and says what to do", async () => {
  await using server = await openServer();
  const made = { session_id: "a", kernel_name: "echo" };

  const answer = await server.ask("PUT", "/sessions", { ...made, keep: true });

  expect(answer.status).toBe(400);
  expect(answer.body).toMatchObject({ reason: "bad_configuration" });
  expect(answer.text).toContain("--keep");
  await server.ask("PUT", "/sessions", { ...made, keep: false });
  const session = await server.ask("GET", "/sessions/a");
  expect(session.body).toMatchObject({ keep: false });
});

it.each([0, 65_536])("refuses to adopt a kernel at port %i", async (port) => {
  await using server = await openServer();
  await server.ask("PUT", "/sessions", {
    session_id: "a",
    kernel_name: "echo",
  });

  const answer = await server.ask("PUT", "/sessions/a/adopt", {
    ip: "127.0.0.1",
    key: "k",
    shell_port: port,
    iopub_port: 41642,
    stdin_port: 41643,
    control_port: 41644,
    hb_port: 41645,
  });

  expect(answer.body).toMatchObject({ reason: "bad_request" });
  expect(answer.text).toContain("shell_port");
});

it("shows the environment and the directory in which the kernel was started", async () => {
  await using server = await openServer();
  const session = async () =>
    (await server.ask("GET", "/sessions/a")).body as {
      initial_env: Readonly<Record<string, string>>;
      working_directory: string;
    };
  const result = async (code: string) =>
    (await server.ask("POST", "/sessions/a/execute", { code })).text;
  await server.ask("PUT", "/sessions", {
    session_id: "a",
    kernel_name: "echo",
    working_directory: "/no/such/directory",
    env: [{ action: "replace", name: "COLOUR", value: "green" }],
  });
  expect((await session()).initial_env).toEqual({});

  await server.ask("POST", "/sessions/a/start");

  const { initial_env, working_directory } = await session();
  expect(initial_env["COLOUR"]).toBe("green");
  expect(await result("env PATH")).toContain(initial_env["PATH"]);
  expect(working_directory).not.toBe("/no/such/directory");
  expect(await result("cwd")).toContain(`"${working_directory}"`);
});
