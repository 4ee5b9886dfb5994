/** A kernel whose outputs arrive much later than its replies, as through a slow network: they belong to their execution all the same. */
import { connect, createServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { SECOND_SIGN_TIMEOUT_MS } from "../../src/session/executions/execution.ts";
import { openServer, ownWords, type TestServer } from "../harness.ts";
import { KeptPlace, type KeptServer } from "../state/kept-place.ts";

const MIB = 1024 * 1024;

/** A port that passes bytes on to `port`, and stops in the middle of a large message for longer than an execution waits for its end. */
async function slowPortTo(port: number): Promise<number> {
  const proxy = createServer((near) => {
    const far = connect({ host: "127.0.0.1", port });
    for (const socket of [near, far]) socket.on("error", () => {});
    near.on("data", (bytes) => far.write(bytes));
    near.on("close", () => far.destroy());
    far.on("close", () => near.destroy());
    void (async () => {
      let passed = 0;
      for await (const bytes of far as AsyncIterable<Buffer>) {
        const isHalf = passed < MIB && passed + bytes.length >= MIB;
        near.write(bytes);
        passed += bytes.length;
        if (isHalf) await sleep(2 * SECOND_SIGN_TIMEOUT_MS);
      }
    })().catch(() => {}); // one end went away
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  onTestFinished(() => void proxy.close());
  return (proxy.address() as AddressInfo).port;
}

/** Executes code in a second session with the kernel of session `echo`. Its iopub is slow. */
async function executeThroughSlowPort(server: TestServer | KeptServer) {
  const { body } = await server.ask("GET", "/sessions/echo/connection_info");
  const connection = body as { readonly iopub_port: number };
  await server.ask("PUT", "/sessions", {
    ...ownWords,
    session_id: "slow",
    argv: [],
  });
  const iopub_port = await slowPortTo(connection.iopub_port);
  const adopted = await server.ask("PUT", "/sessions/slow/adopt", {
    ...connection,
    iopub_port,
  });
  expect(adopted.status).toBe(200);
  const answer = await server.ask("POST", "/sessions/slow/execute", {
    code: `large ${2 * MIB}`,
  });
  return answer.body;
}

const whole = {
  status: "ok",
  outputs: [{ data: { "text/plain": `${2 * MIB} bytes` } }],
};

test("an output that arrives slowly is part of its execution", async () => {
  const server = await openServer();
  onTestFinished(() => server[Symbol.asyncDispose]());
  await server.start("echo");
  expect(await executeThroughSlowPort(server)).toMatchObject(whole);
});

test("the same for a kept kernel, whose keeper receives the output", async () => {
  const server = await new KeptPlace().serve();
  await server.start("echo");
  expect(await executeThroughSlowPort(server)).toMatchObject(whole);
});
