/**
 * A server, its clients, and checks that nothing leaked.
 *
 * Everything that a test opens is disposable. When a server is disposed of, the
 * harness asserts that none of its child processes, private files and listening
 * sockets is left.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, onTestFinished } from "vitest";
import type { WebSocket } from "ws";
import { descendantsOf } from "../src/host/process-table.ts";
import {
  type RunningServer,
  startServer,
  type ServerOptions,
} from "../src/serve.ts";
import { kernelspecsOf } from "../testing/memory-service.ts";
import { type MockKernels, MockProvisioner } from "../testing/provisioner.ts";
import { installKernelspecs } from "./kernels/index.ts";
import { installIpykernel } from "./kernels/python.ts";

export const TOKEN = "the-token-of-the-tests";

const kernelspecs = mkdtempSync(join(tmpdir(), "kallichore-specs-"));
installKernelspecs(kernelspecs);
installIpykernel(kernelspecs);
// After all other hooks of the test file. A worker is killed at its end, without the event `exit`.
afterAll(() => rmSync(kernelspecs, { recursive: true, force: true }));

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** The parsed body. */
  readonly body: unknown;
}

/** The fields of a session that a client without kernelspecs sends, besides its id and its command. */
export const ownWords = {
  display_name: "Echo",
  language: "echo",
  username: "tester",
  input_prompt: "",
  continuation_prompt: "",
  session_mode: "console",
  working_directory: "",
  env: [],
  interrupt_mode: "signal",
  startup_environment: "none",
} as const;

export class TestServer implements AsyncDisposable {
  readonly server: RunningServer;
  readonly #folder: string;
  readonly #children: ReadonlySet<number>;

  constructor(
    server: RunningServer,
    folder: string,
    children: ReadonlySet<number>,
  ) {
    this.server = server;
    this.#folder = folder;
    this.#children = children;
  }

  get url(): string {
    return this.server.url ?? "http://localhost";
  }

  get socketPath(): string | undefined {
    const { address } = this.server;
    return address.transport === "socket" ? address.path : undefined;
  }

  /** Sends a REST request with the token; the connection is closed afterwards. */
  ask(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {
      authorization: `Bearer ${TOKEN}`,
    },
  ): Promise<Answer> {
    return ask(
      { url: this.url, socketPath: this.socketPath },
      { method, path, body, headers },
    );
  }

  /** Creates and starts a session from a kernelspec. */
  async start(
    kernel_name: string,
    session_id = kernel_name,
    more: Readonly<Record<string, unknown>> = {},
  ): Promise<string> {
    const created = await this.ask("PUT", "/sessions", {
      session_id,
      kernel_name,
      ...more,
    });
    if (created.status !== 200) throw new Error(created.text);
    const started = await this.ask("POST", `/sessions/${session_id}/start`);
    if (started.status !== 200) throw new Error(started.text);
    return session_id;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    const left = descendantsOf([process.pid]).filter(
      (pid) => !this.#children.has(pid),
    );
    const files = readdirSync(this.#folder);
    rmSync(this.#folder, { recursive: true, force: true });
    if (left.length > 0) {
      throw new Error(`Processes are left: ${left.join(", ")}`);
    }
    if (files.length > 0)
      throw new Error(`Files are left: ${files.join(", ")}`);
  }
}

/** A server whose kernels are scripts in its memory, for tests that need no real kernels. */
export function openServerOf(
  kernels: MockKernels,
  options: ServerOptions = {},
): Promise<TestServer> {
  return openServer({
    provisioner: new MockProvisioner(kernels),
    kernelspecs: kernelspecsOf(kernels, process.execPath),
    ...options,
  });
}

/** A server with the suite's kernels and those of the machine. */
export async function openServer(
  options: ServerOptions = {},
): Promise<TestServer> {
  const folder = mkdtempSync(join(tmpdir(), "kallichore-test-"));
  const children = new Set(descendantsOf([process.pid]));
  const server = await startServer({
    token: TOKEN,
    kernelspecDirs: [kernelspecs],
    runtimeDirectory: folder,
    ...options,
  });
  return new TestServer(server, folder, children);
}

export type Frame = Readonly<Record<string, unknown>>;

/** The frames that a channel has sent, so far. */
export function framesOf(socket: WebSocket): readonly Frame[] {
  const frames: Frame[] = [];
  socket.on("message", (data: Buffer) =>
    frames.push(JSON.parse(data.toString()) as Frame),
  );
  return frames;
}

/** One server for the tests of a file, disposed of after the last one. */
export function ask(
  { url, socketPath }: { url: string; socketPath?: string | undefined },
  {
    method,
    path,
    body,
    headers,
  }: {
    method: string;
    path: string;
    body?: unknown;
    headers?: Readonly<Record<string, string>>;
  },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = httpRequest(
      {
        ...(socketPath === undefined
          ? { host: new URL(url).hostname, port: new URL(url).port }
          : { socketPath }),
        method,
        path,
        headers: { connection: "close", ...headers },
        agent: false,
      },
      (res) => {
        const chunks: Buffer[] = [];
        res.on("data", (chunk: Buffer) => chunks.push(chunk));
        res.on("error", reject);
        res.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          resolve({
            status: res.statusCode ?? 0,
            headers: res.headers,
            text,
            get body(): unknown {
              return JSON.parse(text) as unknown;
            },
          });
        });
      },
    );
    req.on("error", reject);
    req.end(
      body === undefined
        ? undefined
        : typeof body === "string"
          ? body
          : JSON.stringify(body),
    );
  });
}

/** Calls `look` every 20 ms and resolves with its first result; rejects with `what` after a timeout. Default: half a minute. */
export async function eventually<T>(
  what: string,
  look: () => T | undefined | Promise<T | undefined>,
  timeout_ms = 30_000,
): Promise<T> {
  const deadline = AbortSignal.timeout(timeout_ms);
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (deadline.aborted) throw new Error(`Never seen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A folder that is removed after the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "kallichore-test-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
