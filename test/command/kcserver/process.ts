/**
 * A kcserver that a test started: its output and its end. It is gone after the
 * test.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, watch } from "node:fs";
import { request } from "node:http";
import { dirname } from "node:path";

const TIMEOUT_MS = 20_000;

export interface StartOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** File descriptors instead of the pipes that the test reads. */
  readonly output?: readonly [out: number | "pipe", err: number | "pipe"];
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Running implements AsyncDisposable {
  stdout = "";
  stderr = "";
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #waiting = new Set<() => void>();
  #isOver = false;

  constructor(
    command: readonly string[],
    { env = {}, cwd, output = ["pipe", "pipe"] }: StartOptions = {},
  ) {
    const [program = "", ...args] = command;
    this.#child = spawn(program, args, {
      cwd,
      env: { ...process.env, RUST_LOG: undefined, ...env },
      stdio: ["ignore", ...output],
      detached: true,
    });
    this.#child.stdout?.on("data", (chunk: Buffer) => {
      this.stdout += chunk.toString();
      this.#wake();
    });
    this.#child.stderr?.on("data", (chunk: Buffer) => {
      this.stderr += chunk.toString();
      this.#wake();
    });
    this.exited = new Promise((resolve) => {
      this.#child.once("close", (code, signal) => {
        this.#isOver = true;
        resolve({ code, signal });
        this.#wake();
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? NaN;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** As a reader that ends. */
  stopReading(): void {
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
  }

  /** Resolves with the first group of the pattern when it was printed. */
  async printed(pattern: RegExp): Promise<string> {
    const find = () => pattern.exec(this.stdout + this.stderr);
    await this.#until(() => find() !== null, String(pattern));
    const [whole = "", group] = find() ?? [];
    return group ?? whole;
  }

  /** How it ended; rejects if it does not end. */
  async ended(): Promise<Exit> {
    const late = AbortSignal.timeout(TIMEOUT_MS);
    return Promise.race([
      this.exited,
      new Promise<never>((_resolve, reject) => {
        late.addEventListener("abort", () =>
          reject(new Error(`still runs: ${this.stdout}${this.stderr}`)),
        );
      }),
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    const late = setTimeout(() => this.#child.kill("SIGKILL"), TIMEOUT_MS);
    await this.exited;
    clearTimeout(late);
  }

  async #until(holds: () => boolean, what: string): Promise<void> {
    const late = AbortSignal.timeout(TIMEOUT_MS);
    const wake = () => this.#wake();
    late.addEventListener("abort", wake);
    while (!holds()) {
      if (late.aborted || this.#isOver) {
        throw new Error(`never printed ${what}: ${this.stdout}${this.stderr}`);
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
    late.removeEventListener("abort", wake);
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}

/** The client's use of a connection file or a handshake. */
export interface Connection {
  readonly base_path?: string;
  readonly port?: number;
  readonly socket_path?: string;
  readonly transport: string;
  readonly server_path: string;
  readonly server_pid: number;
  readonly bearer_token: string | null;
  readonly log_path: string | null;
  readonly server_id: string;
}

export function readConnection(path: string): Connection {
  return JSON.parse(readFileSync(path, "utf8")) as Connection;
}

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** Sends a request as Kallichore's clients do. */
export function ask(
  to: Pick<Connection, "base_path" | "socket_path" | "bearer_token">,
  line: string,
  body?: unknown,
): Promise<Answer> {
  const [method = "", path = ""] = line.split(" ");
  return new Promise((resolve, reject) => {
    const requested = request(
      `${to.base_path ?? "http://localhost"}${path}`,
      {
        method,
        agent: false,
        ...(to.socket_path !== undefined && { socketPath: to.socket_path }),
        headers: {
          ...(to.bearer_token !== null && {
            authorization: `Bearer ${to.bearer_token}`,
          }),
          "content-type": "application/json",
        },
      },
      (res) => {
        let text = "";
        res.setEncoding("utf8");
        res.on("data", (chunk: string) => (text += chunk));
        res.on("error", reject);
        res.on("end", () =>
          resolve({
            status: res.statusCode ?? 0,
            body: JSON.parse(text) as unknown,
          }),
        );
      },
    );
    requested.on("error", reject);
    requested.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Resolves when the file exists, in a directory that exists already. Rejects after a timeout. */
export async function appeared(file: string): Promise<void> {
  const watcher = watch(dirname(file));
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  try {
    while (!existsSync(file)) await once(watcher, "change", { signal });
  } finally {
    watcher.close();
  }
}
