/** A folder for the state of servers that keep sessions, their keepers and their kernels. All have ended after the test. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { isAlive } from "../../src/host/process-table.ts";
import { keeperFileIn, readKeeperFile } from "../../src/keeper/keeper-file.ts";
import type { Log } from "../../src/log/log.ts";
import {
  type KeepOptions,
  type RunningServer,
  startServer,
} from "../../src/serve.ts";
import { ask, type Answer, eventually, ownWords, TOKEN } from "../harness.ts";
import { programOf } from "../keeper/programs.ts";
import { argvOf, type TestKernel } from "../kernels/index.ts";

export class KeptPlace {
  readonly folder = mkdtempSync("/tmp/kc-kept-"); // short enough for sockets
  readonly root = join(this.folder, "state");
  readonly runtimeDirectory = join(this.folder, "run");
  readonly name: string;
  readonly state: string;
  readonly #pids = new Set<number>();
  readonly #servers = new Set<RunningServer>();

  constructor(name = "default") {
    this.name = name;
    this.state = join(this.root, name);
    mkdirSync(this.runtimeDirectory);
    onTestFinished(async () => {
      for (const server of this.#servers) await server.letGo();
      this.#noteKeeper();
      for (const pid of this.#pids) {
        if (!isAlive(pid)) continue;
        process.kill(pid, "SIGTERM");
        await eventually("the keeper's end", () =>
          isAlive(pid) ? undefined : true,
        );
      }
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  /** A server in this process. */
  async serve(keep: KeepOptions = {}, log?: Log): Promise<KeptServer> {
    this.#noteKeeper();
    const server = await startServer({
      token: TOKEN,
      runtimeDirectory: this.runtimeDirectory,
      jupyterRuntimeDirectory: null,
      resourceSampleIntervalMs: 0,
      keep: {
        stateDirectory: this.root,
        stateName: this.name,
        keeper: [programOf("keeper")],
        ...keep,
      },
      ...(log !== undefined && { log }),
    });
    this.#servers.add(server);
    return new KeptServer(server);
  }

  get keeperPid(): number | undefined {
    return readKeeperFile(keeperFileIn(this.state))?.pid;
  }

  /** How many sessions have files. */
  get folders(): number {
    return readdirSync(join(this.state, "sessions")).length;
  }

  #noteKeeper(): void {
    const { keeperPid } = this;
    if (keeperPid !== undefined) this.#pids.add(keeperPid);
  }
}

export class KeptServer {
  readonly server: RunningServer;

  constructor(server: RunningServer) {
    this.server = server;
  }

  ask(method: string, path: string, body?: unknown): Promise<Answer> {
    return ask(
      { url: this.server.url ?? "" },
      {
        method,
        path,
        body,
        headers: {
          authorization: `Bearer ${TOKEN}`,
          "content-type": "application/json",
        },
      },
    );
  }

  async start(
    session_id: string,
    kernel: TestKernel = "echo",
    more: object = {},
  ): Promise<void> {
    const argv = argvOf(kernel);
    const made = { ...ownWords, session_id, argv, ...more };
    await this.#do("PUT", "/sessions", made);
    await this.#do("POST", `/sessions/${session_id}/start`);
  }

  /** The session's kernel ends. */
  async end(session_id: string): Promise<void> {
    await this.#do("POST", `/sessions/${session_id}/shutdown`);
  }

  async execute(session_id: string, code: string): Promise<void> {
    await this.#do("POST", `/sessions/${session_id}/execute`, { code });
  }

  /** Resolves when the kernel runs the code. */
  async send(session_id: string, code: string): Promise<void> {
    const answer = await this.ask("POST", `/sessions/${session_id}/messages`, {
      channel: "shell",
      header: { msg_id: crypto.randomUUID(), msg_type: "execute_request" },
      content: { code },
      buffers: [],
    });
    if (answer.status !== 202) throw new Error(answer.text);
    await eventually("the running code", () =>
      this.server.supervisor.session(session_id).status === "busy"
        ? true
        : undefined,
    );
  }

  async describe(session_id: string): Promise<Record<string, unknown>> {
    const { body } = await this.ask("GET", `/sessions/${session_id}`);
    return body as Record<string, unknown>;
  }

  /** The sessions' ids. */
  get ids(): string[] {
    return this.server.supervisor.sessions.map(({ id }) => id);
  }

  /** The texts of a session's journal. */
  async journal(session_id: string): Promise<string[]> {
    const { journal } = this.server.supervisor.session(session_id);
    await journal.flushed(); // readers get only what is written
    const texts: string[] = [];
    for (let seen = 0; ;) {
      const reading = await journal.read(seen);
      if (reading === undefined) return texts;
      if ("gap" in reading) throw new Error("There is a gap");
      for (const { text } of reading.entries) texts.push(text.toString());
      seen = reading.entries.last;
    }
  }

  letGo(): Promise<void> {
    return this.server.letGo();
  }

  async #do(method: string, path: string, body?: unknown): Promise<void> {
    const answer = await this.ask(method, path, body);
    if (answer.status !== 200) throw new Error(answer.text);
  }
}
