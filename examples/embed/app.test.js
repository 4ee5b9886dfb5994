/** Tests with Node's own test runner and the bundled kernel: Python in WebAssembly. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { connect } from "kallichore/client";
import { openApp } from "./app.js";

test("the application and its kernels share one port, and end together", async () => {
  const app = await openApp({ path: "/kernels" });
  const client = await connect({
    url: `${app.url}/kernels`,
    token: app.kernels.token,
  });
  const session = await client.start("python-wasm");
  const { result } = await session.execute("6 * 7");
  assert.equal(result?.["text/plain"], "42");

  const page = await fetch(app.url);
  assert.equal(await page.text(), "<p>1 sessions</p>");
  const echo = await fetch(`${app.url}/echo`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"a":1}',
  });
  assert.deepEqual(await echo.json(), { a: 1 });
  const refused = await fetch(`${app.url}/kernels/sessions`);
  assert.equal(refused.status, 401);

  await app[Symbol.asyncDispose]();
  client.close();
  await assert.rejects(fetch(app.url));
  // Node ends by itself only if no handle is left open; otherwise this file times out.
});

test(
  "Ctrl+C ends the program and its kernels",
  { skip: process.platform === "linux" ? false : "it reads /proc" },
  async () => {
    const program = spawn(process.execPath, ["server.js"], {
      cwd: import.meta.dirname,
      env: { ...process.env, PORT: "0" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let printed = "";
    program.stdout.on("data", (text) => (printed += text));
    while (!printed.includes("#token=")) await once(program.stdout, "data");
    const [, url, token] = /(http\S+)\/docs#token=(\w+)/.exec(printed) ?? [];
    const client = await connect({ url, token });
    const session = await client.start("python-wasm");
    await session.execute("1");
    const children = readFileSync(
      `/proc/${program.pid}/task/${program.pid}/children`,
      "utf8",
    );
    assert.match(children, /\d/);
    const ended = once(program, "close");
    program.kill("SIGINT");
    assert.deepEqual(await ended, [0, null]);
    assert.match(printed, /No kernel is left/);
    for (const pid of children.trim().split(" ")) {
      assert.throws(() => process.kill(Number(pid), 0), /ESRCH/);
    }
    client.close();
  },
);
