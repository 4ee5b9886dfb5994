/** An error that the commands do not catch: the test puts a fault into their process from outside. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { eventually, temporaryFolder } from "../harness.ts";
import { Room, useCommand } from "./kallichore.ts";

useCommand();

/** Puts a fault into a server, which occurs when the file exists. Kernels, which also run in Node, are not affected. */
function faulty(fault: string): {
  env: Record<string, string>;
  begin: () => void;
} {
  const folder = temporaryFolder();
  const module = join(folder, "fault.mjs");
  const sign = join(folder, "now");
  writeFileSync(
    module,
    `import { existsSync } from "node:fs";
     if (process.argv.includes("serve")) {
       const timer = setInterval(() => {
         if (!existsSync(${JSON.stringify(sign)})) return;
         clearInterval(timer);
         ${fault}
       }, 50);
       timer.unref();
     }`,
  );
  return {
    env: { NODE_OPTIONS: `--import=${module}` },
    begin: () => writeFileSync(sign, ""),
  };
}

test("an uncaught error ends the server in order, and reports a bug in Kallichore", async () => {
  const { env, begin } = faulty(`throw new Error("put in by the test");`);
  await using room = new Room(); // it checks that no process, file or record of the server is left
  const server = room.start(["serve", "--json"], { env });
  await server.until("\n");
  await room.run(["start", "echo", "--id", "a"]);
  expect(room.processes.length).toBeGreaterThan(0);
  begin();
  const { code, stderr } = await server.ended();
  expect(code).toBe(70);
  expect(stderr).toContain("a bug in Kallichore");
  expect(stderr).toContain("put in by the test");
  expect(room.processes).toEqual([]);
  expect(room.records).toEqual([]);
  expect(readdirSync(join(room.folder, "tmp"))).toEqual([]);
});

test("a second uncaught error does not wait for kernels that ignore requests to end", async () => {
  const { env, begin } = faulty(
    `for (const ms of [0, 500]) setTimeout(() => { throw new Error("put in by the test"); }, ms);`,
  );
  await using room = new Room();
  const server = room.start(["serve", "--json"], { env });
  await server.until("\n");
  await room.run(["start", "stubborn", "--id", "a"]);
  begin();
  const { code } = await server.ended();
  expect(code).toBe(70);
  expect(room.processes).toEqual([]);
});

test("an unhandled rejection ends no kernel, and is logged", async () => {
  const { env, begin } = faulty(
    `void Promise.reject(new Error("put in by the test"));`,
  );
  await using room = new Room();
  const log = join(room.folder, "log");
  const server = room.start(["serve", "--json", "--log-file", log], { env });
  await server.until("\n");
  await room.run(["start", "echo", "--id", "a"]);
  begin();
  await eventually("a line in the log", () =>
    readFileSync(log, "utf8").includes("put in by the test") ? true : undefined,
  );
  expect(readFileSync(log, "utf8")).toContain("A bug in Kallichore");
  const { stdout } = await room.run(["exec", "-s", "a", "hello"]);
  expect(stdout).toContain("hello");
  server.child.kill("SIGTERM");
  expect((await server.ended()).code).toBe(0);
});
