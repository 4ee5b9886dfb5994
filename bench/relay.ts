/**
 * What does carrying one message from a kernel to one client cost?
 *
 *     npx tsx bench/relay.ts [rounds]
 *
 * A kernel says messages as fast as it can; a process between it and us carries
 * them to a WebSocket of ours. Printed: processor time of the process between,
 * for each message, and how that compares with our tRPC door. `naive` verifies,
 * parses every frame and stringifies the whole; `zmtp` and `libzmq` only
 * receive. The candidates alternate round by round.
 */
import { type ChildProcess, fork } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocket, WebSocketServer } from "ws";
import { Signer, toFrames } from "../src/jupyter/frames.ts";
import { compose } from "../src/jupyter/message.ts";
import { libzmq } from "../src/zmq/libzmq.ts";
import type { Frames, KernelTransport } from "../src/zmq/transport.ts";
import { zmtp } from "../src/zmq/zmtp.ts";
import { startServer } from "../src/serve.ts";
import { argvOf, installKernelspecs } from "../test/kernels/index.ts";
import { launch } from "../test/kernels/raw-client.ts";

const CANDIDATES = ["trpc", "kallichore", "naive", "zmtp", "libzmq"] as const;
/** `unchecked` is our channel without the check of what kernels send; see `entrance.ts`. */
type Candidate = (typeof CANDIDATES)[number] | "unchecked";

export const CASES = [
  { name: "600 B", size: 0, count: 20_000 }, // that is what a message weighs without any text
  { name: "10 kB", size: 10_000, count: 5_000 },
  { name: "1 MB", size: 1_000_000, count: 150 },
] as const;
type Case = (typeof CASES)[number];

const ROUND_PATIENCE_MS = 120_000;
const TOKEN = "bench";

const isMain = process.argv[1] === fileURLToPath(import.meta.url);
if (process.send !== undefined && isMain) {
  await between(process.argv[2] as Candidate);
} else if (isMain) await compare(Number(process.argv[2] ?? 3));

async function compare(rounds: number): Promise<void> {
  for (const what of CASES) {
    const costs = CANDIDATES.map((): number[] => []);
    for (let round = 0; round < rounds; round += 1) {
      for (const [index, candidate] of CANDIDATES.entries()) {
        costs[index]?.push(await relay(candidate, what));
      }
    }
    const medians = costs.map(median);
    const [ours = NaN] = medians;
    const line = CANDIDATES.map((candidate, index) => {
      const cost = medians[index] ?? NaN;
      return `${candidate} ${cost.toFixed(1)} (${(cost / ours).toFixed(2)})`;
    });
    console.log(`relay ${what.name.padEnd(5)} µs/msg: ${line.join(", ")}`);
  }
}

/** Processor time of one message, in µs. The first flood warms up. */
export async function relay(
  candidate: Candidate,
  { size, count }: Case,
): Promise<number> {
  const hook = new URL("unchecked-hook.ts", import.meta.url).href;
  const unchecked = candidate === "unchecked" ? ["--import", hook] : [];
  const child = fork(fileURLToPath(import.meta.url), [candidate], {
    execArgv: [...process.execArgv, ...unchecked],
  });
  const signal = AbortSignal.timeout(ROUND_PATIENCE_MS);
  try {
    const [address] = (await once(child, "message", { signal })) as [string];
    const client =
      address === "" ? undefined : await attach(candidate, address);
    for (const n of [count >> 2, count]) {
      const heard = client === undefined ? undefined : client.hears(n);
      await tell(child, `flood ${n} ${size} exact`, signal); // begins
      await (heard ?? tell(child, "wait", signal));
      const cost = Number(await tell(child, "cost", signal));
      if (n === count) {
        client?.socket.terminate();
        return cost / count;
      }
    }
    return NaN;
  } finally {
    if (child.connected) child.disconnect();
    if (child.exitCode === null) await once(child, "exit");
  }
}

async function tell(
  child: ChildProcess,
  what: string,
  signal: AbortSignal,
): Promise<unknown> {
  const answered = once(child, "message", { signal });
  child.send(what);
  const [answer] = (await answered) as [unknown];
  return answer;
}

async function attach(candidate: Candidate, url: string) {
  const paths = {
    trpc: `/trpc?token=${TOKEN}`,
    kallichore: `/sessions/s/channels?token=${TOKEN}`,
    unchecked: `/sessions/s/channels?token=${TOKEN}`,
  } as Record<string, string>;
  const socket = new WebSocket(
    `${url.replace("http", "ws")}${paths[candidate] ?? ""}`,
    {
      headers: { authorization: `Bearer ${TOKEN}` },
    },
  );
  let left = Infinity;
  let done = () => {};
  const STREAM = Buffer.from('"msg_type":"stream"');
  socket.on("message", (data: Buffer) => {
    if (!data.subarray(0, 1_000).includes(STREAM)) return;
    left -= 1;
    if (left === 0) done();
  });
  await once(socket, "open");
  if (candidate === "trpc") {
    const params = { path: "sessions.events", input: { session_id: "s" } };
    socket.send(JSON.stringify({ id: 1, method: "subscription", params }));
  }
  return {
    socket,
    hears: (n: number) => {
      left = n;
      return new Promise<void>((resolve) => (done = resolve));
    },
  };
}

/** The child: tells its address, then does as it is told, one answer to each word. */
async function between(candidate: Candidate): Promise<void> {
  const place =
    candidate === "trpc" ||
    candidate === "kallichore" ||
    candidate === "unchecked"
      ? await ours()
      : await theirs(candidate);
  let before = process.cpuUsage();
  process.on("message", (what: string) => {
    void (async () => {
      if (what === "wait") {
        await place.heard();
        process.send?.("heard");
      } else if (what === "cost") {
        const { user, system } = process.cpuUsage(before);
        process.send?.(user + system);
      } else {
        before = process.cpuUsage();
        place.flood(what);
        process.send?.("begun");
      }
    })();
  });
  process.once(
    "disconnect",
    () => void place.end().finally(() => process.exit()),
  );
  process.send?.(place.address);
}

interface Place {
  /** Where a client connects; empty where none does. */
  readonly address: string;
  flood(code: string): void;
  /** Resolves when all of the flood is here. */
  heard(): Promise<void>;
  end(): Promise<void>;
}

async function ours(): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), "kallichore-relay-"));
  installKernelspecs(folder, ["witness"]);
  const server = await startServer({
    token: TOKEN,
    kernelspecDirs: [folder],
    runtimeDirectory: folder,
  });
  const { url = "" } = server;
  const headers = { authorization: `Bearer ${TOKEN}` };
  const body = JSON.stringify({ session_id: "s", kernel_name: "witness" });
  await fetch(`${url}/sessions`, { method: "PUT", headers, body });
  await fetch(`${url}/sessions/s/start`, { method: "POST", headers });
  const session = server.supervisor.session("s");
  return {
    address: url,
    flood: (code) => void session.send(request(code)),
    heard: () => Promise.resolve(),
    end: async () => {
      await server[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function theirs(
  candidate: Exclude<Candidate, "trpc" | "kallichore" | "unchecked">,
): Promise<Place> {
  const driver: KernelTransport = candidate === "libzmq" ? libzmq : zmtp;
  const launched = await launch({ argv: argvOf("witness") });
  const { connection } = launched;
  const signer = new Signer(connection.key, connection.signature_scheme);
  const sockets =
    candidate === "naive"
      ? new WebSocketServer({
          port: 0,
          host: "127.0.0.1",
          perMessageDeflate: false,
        })
      : undefined;
  let left = Infinity;
  let done = () => {};
  const hear = (frames: Frames) => {
    if (candidate === "naive") {
      for (const client of sockets?.clients ?? [])
        client.send(naively(frames, connection.key));
    }
    if ((frames.at(-1)?.length ?? 0) < 1) return;
    if (!Buffer.from(frames[0] ?? []).includes("stream")) return;
    left -= 1;
    if (left === 0) done();
  };
  const endpoint = (port: number) => `ipc://${connection.ip}-${port}`;
  let isConnected = () => {};
  const connected = new Promise<void>((resolve) => (isConnected = resolve));
  const iopub = driver.connect({
    type: "sub",
    endpoint: endpoint(connection.iopub_port),
    onMessages: (batch) => {
      for (const frames of batch) hear(frames);
    },
    onState: (state) => {
      if (state === "connected") isConnected();
    },
  });
  const shell = driver.connect({
    type: "dealer",
    endpoint: endpoint(connection.shell_port),
    identity: Buffer.from("bench"),
    onMessages: () => {},
  });
  await connected;
  const address = sockets?.address();
  return {
    address:
      typeof address === "object" && address !== null
        ? `http://127.0.0.1:${address.port}`
        : "",
    flood: (code) => {
      left = Number(code.split(" ")[1]);
      heard = new Promise<void>((resolve) => (done = resolve));
      shell.send(toFrames(request(code), signer));
    },
    heard: () => heard,
    end: async () => {
      sockets?.close();
      iopub.close();
      shell.close();
      await launched[Symbol.asyncDispose]();
    },
  };
}

let heard: Promise<void> = Promise.resolve();

function request(code: string) {
  return compose({
    channel: "shell",
    msg_type: "execute_request",
    content: { code, silent: false, store_history: false },
    session: "bench",
    username: "bench",
  });
}

/** As one would write it first: verify, parse, stringify. */
function naively(frames: Frames, key: string): string {
  const at = frames.findIndex(
    (frame) => Buffer.from(frame).toString() === "<IDS|MSG>",
  );
  const [signature, header, parent_header, metadata, content] = frames.slice(
    at + 1,
  );
  const hmac = createHmac("sha256", key);
  for (const frame of [header, parent_header, metadata, content])
    hmac.update(frame ?? new Uint8Array());
  if (hmac.digest("hex") !== Buffer.from(signature ?? []).toString())
    throw new Error("A wrong signature");
  const parse = (frame: Uint8Array | undefined) =>
    JSON.parse(Buffer.from(frame ?? []).toString()) as unknown;
  return JSON.stringify({
    kind: "jupyter",
    channel: "iopub",
    header: parse(header),
    parent_header: parse(parent_header),
    metadata: parse(metadata),
    content: parse(content),
    buffers: frames
      .slice(at + 6)
      .map((buffer) => Buffer.from(buffer).toString("base64")),
  });
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}
