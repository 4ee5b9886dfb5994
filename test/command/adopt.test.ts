/** Kernels of other programs: listed, and made sessions of, by the command. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openServer, temporaryFolder } from "../harness.ts";
import { Room, useCommand } from "./kallichore.ts";

useCommand();

test("a kernel of another program is listed, adopted, used and left running", async () => {
  const directory = join(temporaryFolder(), "runtime");
  const other = await openServer({ jupyterRuntimeDirectory: directory });
  onTestFinished(() => other[Symbol.asyncDispose]());
  await using room = new Room();
  await room.serve("--jupyter-runtime-dir", directory);
  const none = await room.run(["ps", "--external"]);
  expect([none.code, none.stdout]).toEqual([0, ""]);
  expect(none.stderr).toContain(`No kernels of other programs in ${directory}`);

  const kernel = await other.start("echo", randomUUID());
  const listed = await room.run(["ps", "--external"]);
  expect(listed.stdout).toMatch(/^KERNEL ID +KERNEL +STARTED/);
  expect(listed.stdout).toContain(kernel);
  const adopted = await room.run(["adopt", kernel, "--id", "mine"]);
  expect([adopted.code, adopted.stdout]).toEqual([0, "mine\n"]);
  const ran = await room.run(["exec", "-s", "mine", "hello"]);
  expect(ran.stdout).toContain("hello");

  const missing = await room.run(["adopt", "nobody", "--id", "other"]);
  expect(missing.code).toBe(3);
  expect(missing.stderr).toContain("there is no such file");
  const { stdout } = await room.run(["ps", "--json"]);
  const { sessions } = JSON.parse(stdout) as {
    sessions: { session_id: string }[];
  };
  expect(sessions.map(({ session_id }) => session_id)).toEqual(["mine"]);
});
