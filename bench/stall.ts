/**
 * How long does somebody else wait while a client sends something large or
 * wrong?
 *
 *     npx tsx bench/stall.ts [name…]
 *
 * The server is a process of its own, with a kernel that is another, and that
 * repeats nothing of what it hears: what counts are the requests. One
 * client asks for the server's status over and over, another sends each hostile
 * thing in turn. Printed for each: what it was answered, the longest that the
 * first client waited, and the longest time for which the server's event loop
 * did not turn. The first line, when nobody is hostile, says how far the
 * machine can be trusted.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { limits } from "../contract/limits.ts";
import { startServer } from "../src/serve.ts";
import { installKernelspecs } from "../test/kernels/index.ts";

const TOKEN = "bench";
const headers = { authorization: `Bearer ${TOKEN}` };
const ANSWER_MS = 60_000;

const [role = ""] = process.argv.slice(2); // of a process that we forked
if (process.send === undefined) await measure(process.argv.slice(2));
else if (role === "") await serve();
else await ask(role);

/** Sends it, and resolves with what came of it. */
type Hostile = (url: string) => Promise<string>;

function hostile(): Readonly<Record<string, Hostile>> {
  const many = (count: number, item: (at: number) => string) =>
    Array.from({ length: count }, (_, at) => item(at)).join(",");
  const env = many(100_000, () => '{"action":1}');
  const members = many(1_000_000, (at) => `"k${at}":1`);
  const code = JSON.stringify("x = 'text'\n".repeat(4_000_000));
  const buffer = Buffer.alloc(40_000_000, "kernel").toString("base64");
  const header = '{"msg_id":"ID","msg_type":"execute_request"}';
  const message = (content: string, more = "") =>
    `{"channel":"shell","header":${header.replace("ID", String(Math.random()))},"content":${content},"metadata":{}${more}}`;
  const numbers = many(5_000_000, () => "1e5");
  const comm = (text: string) => text.replace("execute_request", "comm_msg");
  const call = (at: number, path: string, method: string, input: string) =>
    `{"id":${at},"method":"${method}","params":{"path":"${path}","input":${input}}}`;
  const create = (text: string) =>
    `{"session_id":"s","code":${text},"silent":true}`;
  return {
    nothing: () => new Promise((resolve) => setTimeout(resolve, 1_000, "")),
    "REST: 100,000 wrong env items": rest(
      "PUT",
      "/sessions",
      `{"session_id":"w","kernel_name":"digest","env":[${env}]}`,
    ),
    "REST: a million unknown members": rest(
      "PUT",
      "/sessions",
      `{"kernel_name":"digest",${members}}`,
    ),
    "REST: 44 MB of code": rest("POST", "/sessions/s/executions", create(code)),
    "REST: a message of 44 MB": rest(
      "POST",
      "/sessions/s/messages",
      comm(message(`{"code":${code}}`)),
    ),
    "REST: 64 MB of open brackets": rest(
      "POST",
      "/sessions/s/messages",
      "[".repeat(64_000_000),
    ),
    "REST: 60 MB of white space": rest(
      "POST",
      "/sessions/s/messages",
      " ".repeat(60_000_000),
    ),
    "tRPC: 100,000 wrong env items": frame(
      "/trpc",
      call(
        1,
        "sessions.create",
        "mutation",
        `{"kernel_name":"digest","env":[${env}]}`,
      ),
    ),
    "tRPC: 44 MB of code": frame(
      "/trpc",
      call(1, "executions.create", "mutation", create(code)),
    ),
    "tRPC: 5,000 calls in one frame": frame(
      "/trpc",
      `[${many(5_000, (at) => call(at, "sessions.list", "query", "null"))}]`,
    ),
    "tRPC: 20,000 frames that are not JSON": frames("/trpc", "hello"),
    "tRPC over HTTP: a batch of 600": rest(
      "GET",
      `/trpc/${many(limits.batch_calls, () => "sessions.list")}?batch=1&input=%7B%7D`,
      undefined,
    ),
    "tRPC over HTTP: a batch of 600 that are wrong": rest(
      "POST",
      `/trpc/${many(limits.batch_calls, () => "sessions.create")}?batch=1`,
      `{${many(limits.batch_calls, (at) => `"${at}":{"env":[1,2,3]}`)}}`,
      { "content-type": "application/json" },
    ),
    "channel: 20,000 frames that are not JSON": frames(
      "/sessions/s/channels",
      "hello",
    ),
    "channel: 44 MB of code": frame(
      "/sessions/s/channels",
      message(`{"code":${code},"silent":true}`),
    ),
    "channel: five million numbers": frame(
      "/sessions/s/channels",
      comm(message(`{"a":[${numbers}]}`)),
    ),
    "channel: 53 MB of base64": frame(
      "/sessions/s/channels",
      comm(message("{}", `,"buffers":["${buffer}"]`)),
    ),
    "channel: a million members": frame("/sessions/s/channels", `{${members}}`),
  };
}

function rest(
  method: string,
  path: string,
  body: string | undefined,
  more: Readonly<Record<string, string>> = {},
): Hostile {
  return (url) =>
    new Promise((resolve, reject) => {
      const { hostname, port } = new URL(url);
      const req = request(
        {
          ...{ hostname, port, method, path, agent: false },
          headers: { ...headers, ...more },
        },
        (res) => {
          res.resume();
          res.on("end", () => resolve(String(res.statusCode)));
        },
      );
      req.on("error", reject);
      req.end(body);
    });
}

function frame(path: string, text: string): Hostile {
  return frames(path, text, 1);
}

/** The frames, and a ping behind them: the pong says that they have been read. */
function frames(path: string, text: string, count = 20_000): Hostile {
  return async (url) => {
    const socket = new WebSocket(url.replace("http", "ws") + path, { headers });
    await once(socket, "open");
    socket.on("message", () => {});
    for (let sent = 0; sent < count; sent += 1) socket.send(text);
    const ponged = once(socket, "pong", {
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    socket.ping();
    await ponged;
    await new Promise((resolve) => setTimeout(resolve, 1_000)); // what is read in turns goes on after it
    socket.terminate();
    return `${count} read`;
  };
}

async function measure(names: readonly string[]): Promise<void> {
  const self = fileURLToPath(import.meta.url);
  const server = fork(self);
  const [url] = (await once(server, "message")) as [string];
  const asker = fork(self, [url]);
  await once(asker, "message");
  try {
    for (const [name, attack] of Object.entries(hostile())) {
      if (names.length > 0 && !names.some((part) => name.includes(part)))
        continue;
      for (const isWarm of [false, true]) {
        await told(server, "reset");
        await told(asker, "reset");
        const answer = await attack(url).catch(String);
        const longest = Number(await told(asker, "longest"));
        const loop = Number(await told(server, "longest"));
        if (!isWarm) continue; // the first compiles what the second runs
        console.log(
          `${name.padEnd(42)} ${answer.padEnd(12)} others waited ${longest.toFixed(0).padStart(5)} ms, loop ${loop.toFixed(0).padStart(5)} ms`,
        );
      }
    }
  } finally {
    for (const child of [asker, server]) {
      child.kill();
      await once(child, "exit");
    }
  }
}

async function told(child: ChildProcess, what: string): Promise<unknown> {
  child.send(what);
  const [said] = (await once(child, "message")) as [unknown];
  return said;
}

async function serve(): Promise<void> {
  const kernels = mkdtempSync(join(tmpdir(), "bench-stall-"));
  process.once("exit", () => rmSync(kernels, { recursive: true }));
  installKernelspecs(kernels, ["digest"]);
  const server = await startServer({ token: TOKEN, kernelspecDirs: [kernels] });
  process.once("SIGTERM", () => {
    void server[Symbol.asyncDispose]().then(() => process.exit());
  });
  const { url = "" } = server;
  const spec = { session_id: "s", kernel_name: "digest" };
  const put = { method: "PUT", headers, body: JSON.stringify(spec) };
  await fetch(`${url}/sessions`, put);
  await fetch(`${url}/sessions/s/start`, { method: "POST", headers });
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  answers(
    () => delay.max / 1e6,
    () => delay.reset(),
  );
  process.send?.(url);
}

/** Asks for the status over and over. */
async function ask(url: string): Promise<void> {
  const agent = new Agent({ keepAlive: true });
  let longest = 0;
  answers(
    () => longest,
    () => (longest = 0),
  );
  process.send?.("ready");
  for (;;) {
    const began = performance.now();
    await new Promise<void>((resolve) => {
      request(`${url}/status`, { agent }, (res) => {
        res.resume();
        res.on("end", resolve);
      })
        .on("error", () => process.exit())
        .end();
    });
    longest = Math.max(longest, performance.now() - began);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

function answers(longest: () => number, reset: () => void): void {
  process.on("message", (what) => {
    if (what === "longest") process.send?.(longest());
    else {
      reset();
      process.send?.("done");
    }
  });
}
