/**
 * Sends floods, and keeps its own record, so that the messages that clients
 * received and sent can be compared with it: each received request and the
 * number of sent messages are lines of WITNESS_FILE.
 *
 *     execute  flood N SIZE [exact]   N messages `<n>:<padding>`, the padding up to SIZE bytes
 *     execute  listen HOST [orphan]   starts a program that listens (`ports.ts`), and prints `port <port> <pid>`
 *     note_request { note }   recorded, and answered with the number of times it was received
 *
 * Notes are sent on the control channel, which does not wait for the end of a
 * flood.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync } from "node:fs";
import type { Io } from "../../kernels/io.ts";
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";
import { listenForRequests } from "./ports.ts";

const { WITNESS_FILE = "/dev/null" } = process.env;
const FLOOD = /^flood (\d+) (\d+)( exact)?$/;
const LISTEN = /^listen (\S+)( orphan)?$/;
const TURN = 100; // messages, after which the other sockets are served

let printed = 0;
const got = new Map<string, number>();

const [, program = "", first, host = ""] = process.argv;
if (first === "--listen") {
  const port = await listenForRequests(host);
  process.stdout.write(`port ${port} ${process.pid}\n`);
} else await serve();

async function serve(): Promise<void> {
  await runKernel({
    kernelInfo: kernelInfo("witness"),
    iopubLimit: 0, // what is missing was lost at the other end
    handlers: {
      execute: async ({ code }, io) => {
        record(`got ${code}`);
        const [, host, orphan] = LISTEN.exec(code) ?? [];
        if (host !== undefined) await listen(host, orphan !== undefined, io);
        const [, n, size, exact] = FLOOD.exec(code) ?? [];
        if (n !== undefined) {
          const isExact = exact !== undefined;
          await flood({ n: Number(n), size: Number(size), isExact }, io);
        }
        return {};
      },
      other: ({ note }) => {
        const name = String(note);
        const times = (got.get(name) ?? 0) + 1;
        got.set(name, times);
        record(`got ${name}`);
        return { note, times };
      },
    },
  });
}

/** Starts another process that listens. An orphan's parent ends at once. */
async function listen(host: string, isOrphan: boolean, io: Io): Promise<void> {
  const command = [process.execPath, program, "--listen", host];
  const [file = "", ...args] = isOrphan
    ? ["/bin/sh", "-c", '"$@" &', "sh", ...command]
    : command;
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  await io.stream("stdout", String(line).trim());
}

async function flood(
  { n, size, isExact }: { n: number; size: number; isExact: boolean },
  io: Io,
): Promise<void> {
  for (let i = 0; i < n; i += 1) {
    printed += 1;
    const padding = "x".repeat(isExact ? size : (printed * 7919) % (size + 1));
    await io.stream("stdout", `${printed}:${padding}`);
    if (i % TURN === TURN - 1) await new Promise((turn) => setImmediate(turn));
  }
  record(`printed ${printed}`);
}

function record(line: string): void {
  appendFileSync(WITNESS_FILE, `${line}\n`);
}
