import { expect, it } from "vitest";
import { openServer } from "../harness.ts";

it("takes an `argv` that is null as one that is absent", async () => {
  await using server = await openServer();
  const body = { session_id: "a", kernel_name: "echo", argv: null };

  expect((await server.ask("PUT", "/sessions", body)).status).toBe(200);
  expect((await server.ask("POST", "/sessions/a/start")).status).toBe(200);
});

it("says that an `argv` is required where it is null and no kernel is named", async () => {
  await using server = await openServer();

  const answer = await server.ask("PUT", "/sessions", { argv: null });

  expect(answer.status).toBe(400);
  expect(answer.text).toContain("Give `kernel_name`, or `argv`");
});

it.each([0, 65_536])("adopts no kernel at port %i", async (port) => {
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
