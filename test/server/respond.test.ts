/** A large answer, and clients that read it or do not. */
import { once } from "node:events";
import { createServer, get, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { abortedByClose, sendJson } from "../../src/server/respond.ts";

const answer = { texts: Array.from({ length: 64 }, () => "é".repeat(512_000)) };

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** Answers once; resolves with the address, and with the end of the answering. */
async function answering(timeout_ms: number) {
  let done: () => void = () => {};
  const answered = new Promise<void>((resolve) => (done = resolve));
  server = createServer((_, res) => {
    void sendJson(res, 200, answer, timeout_ms).then(done);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/`, answered };
}

test("a client that reads nothing within the timeout is disconnected", async () => {
  const { url, answered } = await answering(100);
  const request = get(url);
  const [response] = (await once(request, "response")) as [
    NodeJS.ReadableStream,
  ];
  const failed = once(response, "error");
  await answered; // nothing was read until then
  response.resume();
  const [error] = (await failed) as [NodeJS.ErrnoException];
  expect(error.code).toBe("ECONNRESET");
});

test("a client that reads slowly gets everything", async () => {
  const { url, answered } = await answering(60_000);
  const request = get(url);
  const [response] = (await once(request, "response")) as [
    NodeJS.ReadableStream,
  ];
  const chunks: Buffer[] = [];
  for await (const chunk of response) {
    chunks.push(chunk as Buffer);
    if (chunks.length % 100 === 0) {
      await new Promise(setImmediate);
    }
  }
  await answered;
  expect(JSON.parse(Buffer.concat(chunks).toString())).toEqual(answer);
});

test.each([
  ["leaves later", false],
  ["has left before", true],
])("work for a client that %s is aborted", async (_, isGone) => {
  server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const request = get(`http://127.0.0.1:${port}/`).on("error", () => {});
  const [, res] = (await once(server, "request")) as [unknown, ServerResponse];
  const leave = async () => {
    request.destroy();
    await once(res, "close");
  };
  if (isGone) await leave();
  const { signal } = abortedByClose(res);
  expect(signal.aborted).toBe(isGone);
  if (!isGone) await leave();
  expect(signal.aborted).toBe(true);
});
