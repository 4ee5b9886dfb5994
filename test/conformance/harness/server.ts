/** One server process under test: its streams, its end, and requests with or without its token. */
import type { ChildProcess } from "node:child_process";
import { readFileSync, existsSync } from "node:fs";

import { at, holds, refute, shown, text } from "./check.ts";
import { parsed, request, settled, until } from "./request.ts";
import type { Address, Answer, Call } from "./request.ts";

const CONNECT_MS = 15_000;

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Server {
  readonly home: string;
  readonly pid: number;
  readonly exited: Promise<Exit>;
  /** The content of the connection file or of the handshake. */
  connection: unknown = undefined;
  address: Address = { socketPath: "" };
  token: string | undefined;
  readonly #child: ChildProcess;
  readonly #output = { stdout: "", stderr: "" };
  #exit: Exit | undefined;

  constructor(child: ChildProcess, home: string, isRead: boolean) {
    this.#child = child;
    this.home = home;
    this.pid = child.pid ?? 0;
    const { promise, resolve } = settled<Exit>();
    this.exited = promise;
    const end = (exit: Exit) => {
      this.#exit = exit;
      resolve(exit);
    };
    child.on("error", (error) => {
      this.#output.stderr += error.message;
      end({ code: 127, signal: null });
    });
    // `close`, not `exit`: the streams are read to their end, unless no program reads them.
    const last = isRead ? "close" : "exit";
    child.on(last, (code: number | null, signal: NodeJS.Signals | null) => {
      end({ code, signal });
    });
    if (!isRead) return;
    child.stdout?.on("data", (chunk: Buffer) => {
      this.#output.stdout += chunk.toString();
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      this.#output.stderr += chunk.toString();
    });
  }

  printed(): { stdout: string; stderr: string } {
    return { ...this.#output };
  }

  hasExited(): boolean {
    return this.#exit !== undefined;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** The exit, or undefined after the timeout. */
  async ended(within_ms: number): Promise<Exit | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => {
        resolve(undefined);
      }, within_ms);
    });
    const exit = await Promise.race([this.exited, late]);
    clearTimeout(timer);
    return exit;
  }

  /** Only for a server that does not end otherwise. Does not wait for streams that orphans keep open. */
  async kill(): Promise<Exit> {
    this.signal("SIGKILL");
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
    await this.exited;
    return { code: null, signal: "SIGKILL" };
  }

  /** A request with the token. */
  request(method: string, path: string, call: Call = {}): Promise<Answer> {
    const headers = { ...this.authorization(), ...call.headers };
    return request(this.address, method, path, { ...call, headers });
  }

  /** A request without the token. */
  anonymous(method: string, path: string, call: Call = {}): Promise<Answer> {
    return request(this.address, method, path, call);
  }

  authorization(): Record<string, string> {
    if (this.token === undefined) return {};
    return { authorization: `Bearer ${this.token}` };
  }
}

/** Waits for the connection file, and reads address and token from it. */
export async function connected(server: Server, file: string): Promise<void> {
  await until(
    "the connection file appears",
    () => Promise.resolve(existsSync(file) || server.hasExited()),
    { holds: (seen) => seen, within_ms: CONNECT_MS },
  );
  if (!existsSync(file)) {
    const exit = await server.exited;
    refute(
      `the server ended (${shown(exit)}) saying ${shown(server.printed())}`,
    );
  }
  const whole = readFileSync(file, "utf8");
  const connection = parsed(whole);
  holds(
    connection !== undefined,
    `the connection file is not whole when it appears: ${shown(whole)}`,
  );
  enter(server, connection);
}

export function enter(server: Server, connection: unknown): void {
  const port = at(connection, "port");
  server.connection = connection;
  server.address =
    typeof port === "number"
      ? { host: "127.0.0.1", port }
      : { socketPath: text(at(connection, "socket_path")) };
  const token = at(connection, "bearer_token");
  server.token = typeof token === "string" ? token : undefined;
}
