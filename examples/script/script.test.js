import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { startServer } from "kallichore";

const run = promisify(execFile);
const expected = `line 0
line 1
line 2
Your name? Ada
'Hello Ada'
error KeyboardInterrupt
still here
`;

/** @param {Record<string, string>} env */
const script = (env) =>
  run(process.execPath, ["script.js"], {
    cwd: import.meta.dirname,
    env: { ...process.env, ...env },
    timeout: 60_000,
  });

test("the script runs with its own server, and ends", async () => {
  assert.equal((await script({})).stdout, expected);
});

test("the script runs with a running server, and leaves no session there", async () => {
  const server = await startServer();
  const KALLICHORE_URL = `${server.url}?token=${server.token}`;
  assert.equal((await script({ KALLICHORE_URL })).stdout, expected);
  assert.equal(server.supervisor.sessions.length, 0);
  await server[Symbol.asyncDispose]();
});
