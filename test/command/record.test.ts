/** `kallichore record`: records a session for the test kit. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { replay, testServer } from "../../testing/index.ts";
import { Room, useCommand } from "./kallichore.ts";

useCommand();

test("a session is recorded without secrets, and replayed", async () => {
  await using room = new Room();
  await room.serve();
  await room.run(["start", "echo", "--id", "work"]);
  await room.run(["exec", "-s", "work", "say hi"]);
  const secrets = join(room.folder, "secrets.txt");
  writeFileSync(secrets, "i am a secret\n");
  await room.run(["exec", "-s", "work", "say i am a secret"]);

  const { code, stdout } = await room.run([
    "record",
    "wor",
    "--secrets",
    secrets,
  ]);

  expect(code).toBe(0);
  expect(stdout).toContain("say [removed]");
  expect(stdout).not.toContain("secret");
  await using server = await testServer({
    kernels: { echo: replay(stdout) },
  });
  const session = await server.start();
  expect(session.kernel_info.implementation).toBe("echo");
  expect((await session.execute("say hi")).status).toBe("ok");
});

test("with --follow, new messages are written as they arrive, until Ctrl-C", async () => {
  await using room = new Room();
  await room.serve();
  await room.run(["start", "echo", "--id", "work"]);
  const recording = room.start(["record", "work", "--follow"]);
  await recording.until('"kallichore-recording"');
  await room.run(["exec", "-s", "work", "only later"]);
  await recording.until("only later");
  recording.child.kill("SIGINT");
  expect((await recording.ended()).code).toBe(130);
});

test("an unknown session or file is an error", async () => {
  await using room = new Room();
  await room.serve();
  expect(await room.run(["record", "work"])).toMatchObject({ code: 3 });
  expect(
    await room.run(["record", "work", "--secrets", "nowhere"]),
  ).toMatchObject({
    code: 64,
    stderr: expect.stringContaining(
      "nowhere cannot be read: there is no such file or directory",
    ) as string,
  });
});
