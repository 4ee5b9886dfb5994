/** Readers that are killed or stopped, or never read: the session and the other readers are not affected. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { buildSync } from "esbuild";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { Entry } from "../../src/journal/entry.ts";
import type { Journal } from "../../src/journal/journal.ts";
import {
  eventually,
  openServer,
  temporaryFolder,
  type TestServer,
  TOKEN,
} from "../harness.ts";
import { needsIpykernel } from "../needs.ts";

const TIMEOUT_MS = 300;
const BUFFER = 200_000;

/**
 * 20 MB in messages of 0 to 40 kB: more than fits into the memory and the sockets.
 * If the disk is slower, the server stops reading such large messages. It would
 * drop some small ones.
 */
const FLOOD = { messages: 1_000, code: "flood 1000 40000" };

let server: TestServer;
let count = 0;

beforeAll(async () => {
  server = await openServer({
    limits: {
      journal_memory_bytes: 8_000_000,
      reader_buffer_bytes: BUFFER,
      reader_timeout_ms: TIMEOUT_MS,
    },
  });
});
afterAll(() => server[Symbol.asyncDispose]());

test("a reader that is killed again and again loses no message", async () => {
  const { session_id, journal } = await witness();
  const reader = new ReaderProcess(session_id);
  await flood(session_id, "flood 3000 1000");
  for (let kill = 0; kill < 5; kill += 1) {
    const before = reader.lines.length;
    await reader.start();
    await eventually("more lines", () =>
      reader.lines.length > before ? true : undefined,
    );
    await reader.kill();
  }
  await reader.start();
  await journaled(session_id, 3000);
  await reader.reaches(journal.last);
  reader.expectAll(3000);
});

test("a reader that is stopped for a while is disconnected, reconnects and loses no message", async () => {
  const { session_id, journal } = await witness();
  const reader = new ReaderProcess(session_id);
  await reader.start();
  await eventually("the first line", () =>
    reader.lines.length > 0 ? true : undefined,
  );
  expect(journal.readers).toBe(1);
  reader.signal("SIGSTOP");
  await flood(session_id, FLOOD.code);
  await journaled(session_id, FLOOD.messages);
  await eventually("the disconnection of the stopped reader", () =>
    journal.readers === 0 ? true : undefined,
  );
  reader.signal("SIGCONT");
  await reader.reaches(journal.last);
  reader.expectAll(FLOOD.messages);
});

test.each([
  ["server-sent events", sse],
  ["tRPC", (session_id: string) => trpc(session_id)],
  ["the Kallichore channel", kallichore],
])(
  "a reader that never reads costs a bounded buffer, then its connection, over %s",
  async (_, attach) => {
    const { session_id, journal } = await witness();
    const reader = await attach(session_id);
    await eventually("the reader", () =>
      journal.readers === 1 ? true : undefined,
    );
    reader.pause();
    await flood(session_id, FLOOD.code);
    await journaled(session_id, FLOOD.messages);
    await eventually("the end of the reader", () =>
      journal.readers === 0 ? true : undefined,
    );
  },
);

test(
  "a hundred readers do not prevent the server from reading all messages of a kernel",
  { ...needsIpykernel, timeout: 120_000 },
  async () => {
    const lines = 15_000;
    const session_id = await server.start("python3", `crowd-${(count += 1)}`);
    for (let n = 0; n < 100; n += 1) (await sse(session_id)).resume();
    // Five times as many messages as usual may wait in the kernel: on a loaded machine this process gets no processor for a while.
    const publish = `shell = get_ipython()
shell.kernel.iopub_thread.socket.sndhwm = 5000
publish = shell.display_pub.publish
for n in range(${lines}): publish({"text/plain": str(n)})`;
    await flood(session_id, publish);
    await journaled(session_id, lines, 110_000);
    const { journal } = server.server.supervisor.session(session_id);
    expect(await displayedIn(journal)).toEqual(
      Array.from({ length: lines }, (_, n) => String(n)),
    );
  },
);

test("many subscriptions that wait on one socket cause no leak warning", async () => {
  const warn = vi.spyOn(process, "emitWarning");
  onTestFinished(() => warn.mockRestore());
  const { session_id, journal } = await witness();
  const reader = await trpc(session_id, 12);
  await eventually("the readers", () =>
    journal.readers === 12 ? true : undefined,
  );
  reader.pause();
  await flood(session_id, FLOOD.code);
  await eventually("the end of the readers", () =>
    journal.readers === 0 ? true : undefined,
  );
  expect(warn).not.toHaveBeenCalled();
});

async function witness() {
  const session_id = await server.start("witness", `witness-${(count += 1)}`);
  const { journal } = server.server.supervisor.session(session_id);
  return { session_id, journal };
}

async function flood(session_id: string, code: string): Promise<void> {
  const answer = await server.ask("POST", `/sessions/${session_id}/messages`, {
    channel: "shell",
    header: { msg_id: crypto.randomUUID(), msg_type: "execute_request" },
    parent_header: null,
    metadata: {},
    content: { code, silent: false, store_history: false },
    buffers: [],
  });
  expect(answer.status).toBe(202);
}

/** Resolves when all of a flood is in the journal. */
async function journaled(
  session_id: string,
  messages: number,
  timeout_ms?: number,
): Promise<void> {
  const session = server.server.supervisor.session(session_id);
  const isComplete = () =>
    session.journal.last > messages && session.status === "idle"
      ? true
      : undefined;
  await eventually("the end of the flood", isComplete, timeout_ms);
}

/** The texts of all displays. */
async function displayedIn(journal: Journal): Promise<string[]> {
  const texts: string[] = [];
  for (let seen = 0; seen < journal.last;) {
    const reading = await journal.read(seen);
    if (reading === undefined || "gap" in reading) throw new Error("A gap");
    for (const entry of reading.entries) {
      seen = entry.seq;
      if (!(entry instanceof Entry)) continue;
      if (entry.msg_type !== "display_data") continue;
      const { data } = JSON.parse(entry.raw.content.toString()) as {
        data: Record<string, string>;
      };
      texts.push(data["text/plain"] ?? "");
    }
  }
  return texts;
}

class ReaderProcess {
  readonly #file = join(temporaryFolder(), "heard");
  readonly #program = join(temporaryFolder(), "reader.mjs");
  readonly #url: string;
  #child: ChildProcess | undefined;

  constructor(session_id: string) {
    this.#url = `${server.url}/sessions/${session_id}/events`;
    const { outputFiles } = buildSync({
      entryPoints: [join(import.meta.dirname, "reader-process.ts")],
      bundle: true,
      platform: "node",
      format: "esm",
      write: false,
    });
    writeFileSync(this.#program, outputFiles[0]?.contents ?? "");
    onTestFinished(() => this.kill());
  }

  get lines(): string[] {
    if (!existsSync(this.#file)) return [];
    return readFileSync(this.#file, "utf8").split("\n").slice(0, -1);
  }

  async start(): Promise<void> {
    const args = [this.#program, this.#url, TOKEN, this.#file];
    this.#child = spawn(process.execPath, args, { stdio: "ignore" });
    await once(this.#child, "spawn");
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }

  async reaches(seq: number): Promise<void> {
    await eventually(`number ${seq}`, () =>
      Number(this.lines.at(-1)?.split(" ")[0] ?? 0) >= seq ? true : undefined,
    );
  }

  /** Every number once and in order, no gap, and all messages of the kernel. */
  expectAll(messages: number): void {
    const lines = this.lines.map((line) => line.split(" "));
    expect(lines.map(([seq]) => Number(seq))).toEqual(
      lines.map((_, index) => index + 1),
    );
    const counted = lines
      .filter(([, , n = ""]) => n !== "")
      .map(([, , n]) => Number(n));
    expect(counted).toEqual(
      Array.from({ length: messages }, (_, index) => index + 1),
    );
  }
}

function sse(session_id: string): Promise<Socket> {
  return attachRaw([`GET /sessions/${session_id}/events HTTP/1.1`]);
}

async function trpc(session_id: string, subscriptions = 1): Promise<Socket> {
  const socket = await attachRaw(["GET /trpc HTTP/1.1", ...UPGRADE]);
  for (let id = 1; id <= subscriptions; id += 1) {
    const ask = JSON.stringify({
      id,
      method: "subscription",
      params: { path: "sessions.events", input: { session_id } },
    });
    socket.write(masked(ask));
  }
  return socket;
}

function kallichore(session_id: string): Promise<Socket> {
  return attachRaw([
    `GET /sessions/${session_id}/channels HTTP/1.1`,
    ...UPGRADE,
  ]);
}

const UPGRADE = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/** A socket of which only the beginning of the answer is read. */
async function attachRaw([
  request = "",
  ...headers
]: readonly string[]): Promise<Socket> {
  const { port } = new URL(server.url);
  const socket = connect(Number(port), "127.0.0.1");
  socket.on("error", () => {});
  onTestFinished(() => void socket.destroy());
  const head = [
    request,
    "Host: localhost",
    `Authorization: Bearer ${TOKEN}`,
    ...headers,
  ];
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  await once(socket, "data");
  return socket;
}

/** A text frame of at most 65,535 bytes, masked with zeros. */
function masked(text: string): Buffer {
  const bytes = Buffer.from(text);
  const head = Buffer.alloc(8);
  head[0] = 0x81;
  head[1] = 0x80 | 126;
  head.writeUInt16BE(bytes.length, 2);
  return Buffer.concat([head, bytes]);
}
