/**
 * The environment of one group of items: private directories, the servers
 * started there, and the kit's own kernels. Closing it ends all of them, and
 * reports what the servers left behind.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Refuted } from "./check.ts";
import { MARK, marked } from "./processes.ts";
import { settled, until } from "./request.ts";
import { Server, connected } from "./server.ts";
import type { Exit } from "./server.ts";

/** The longest time of a graceful end; a server that takes longer counts as left behind. */
const STOP_MS = 20_000;
const SWEEP_MS = 4_000;

export const KERNEL = new URL("../kernels/kernel.mjs", import.meta.url)
  .pathname;

export interface Settings {
  /** The executable under test. */
  readonly kcserver: string;
  /** How many times in a row the restart items restart. */
  readonly restarts: number;
  /** A Python that has ipykernel, if there is one. */
  readonly python: string | undefined;
}

export interface Launch {
  readonly args?: readonly string[];
  readonly transport?: "tcp" | "socket";
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** A command line through which the server is run, for example a shell with ignored signals. */
  readonly through?: readonly string[];
  /** Whether no program reads the standard streams. */
  readonly unread?: boolean;
}

const open = new Set<Ground>();

/** For a run that is aborted: ends everything. */
export async function closeAll(): Promise<void> {
  await Promise.all([...open].map((ground) => ground.close()));
}

export class Ground {
  readonly settings: Settings;
  readonly #mark = randomUUID();
  readonly #homes: string[] = [];
  readonly #servers: Server[] = [];
  readonly #children: ChildProcess[] = [];

  constructor(settings: Settings) {
    this.settings = settings;
    open.add(this);
  }

  /** A private directory with a short name, because socket paths are limited to 104 bytes. */
  home(): string {
    const home = mkdtempSync(join(tmpdir(), "kcc-"));
    for (const name of ["run", "tmp", "home"])
      mkdirSync(join(home, name), { mode: 0o700 });
    this.#homes.push(home);
    return home;
  }

  /** Starts a server; resolves when it has written its connection file. */
  async start(launch: Launch = {}): Promise<Server> {
    const home = this.home();
    const { transport = "tcp" } = launch;
    const file = join(home, "connection.json");
    const args = ["--transport", transport, "--connection-file", file];
    const server = this.spawn(home, [...args, ...(launch.args ?? [])], launch);
    await connected(server, file);
    return server;
  }

  /** Starts a server process, which may fail. */
  spawn(home: string, args: readonly string[], launch: Launch = {}): Server {
    const { kcserver } = this.settings;
    const program = /\.[cm]?js$/.test(kcserver)
      ? [process.execPath, kcserver]
      : [kcserver];
    const [command = "", ...before] = [...(launch.through ?? []), ...program];
    const child = spawn(command, [...before, ...args], {
      cwd: home,
      env: {
        ...process.env,
        TMPDIR: join(home, "tmp"),
        XDG_RUNTIME_DIR: join(home, "run"),
        HOME: join(home, "home"),
        SHELL: "/bin/bash",
        RUST_LOG: undefined,
        [MARK]: this.#mark,
        ...launch.env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const server = new Server(child, home, launch.unread !== true);
    this.#servers.push(server);
    return server;
  }

  /** Runs the program to its end. A program that does not end is killed, and has no exit code. */
  async invoke(
    args: readonly string[],
    launch: Launch & { readonly home?: string } = {},
  ): Promise<Exit & { stdout: string; stderr: string; home: string }> {
    const home = launch.home ?? this.home();
    const server = this.spawn(home, args, launch);
    const exit = (await server.ended(5_000)) ?? (await server.kill());
    return { ...exit, ...server.printed(), home };
  }

  /** A kernel that the server did not start: started by the kit, with ports and a key of its choice. */
  adoptable(mode: string, connection_info: unknown): ChildProcess {
    const file = join(this.home(), "adoptable.json");
    writeFileSync(file, JSON.stringify(connection_info), { mode: 0o600 });
    const child = spawn(process.execPath, [KERNEL, mode, file], {
      stdio: "ignore",
    });
    return this.owned(child);
  }

  /** A process of the kit that ends with this ground. */
  owned(child: ChildProcess): ChildProcess {
    this.#children.push(child);
    return child;
  }

  /** Ends everything. Resolves with what the servers did not end or remove themselves. */
  async close(): Promise<readonly string[]> {
    open.delete(this);
    for (const child of this.#children) await ended(child);
    const left: string[] = [];
    await Promise.all(
      this.#servers.map(async (server) => {
        server.signal("SIGTERM");
        if ((await server.ended(STOP_MS)) !== undefined) return;
        left.push(
          `server ${server.pid}: did not end within ${STOP_MS} ms of SIGTERM`,
        );
        await server.kill();
      }),
    );
    left.push(...(await this.#sweep()));
    for (const home of this.#homes) {
      for (const name of ["run", "tmp"])
        for (const file of readdirSync(join(home, name)))
          left.push(`file: ${name}/${file}`);
      rmSync(home, { recursive: true, force: true });
    }
    return left;
  }

  async #sweep(): Promise<readonly string[]> {
    try {
      await until("processes end", () => Promise.resolve(marked(this.#mark)), {
        holds: (seen) => seen.length === 0,
        within_ms: SWEEP_MS,
      });
    } catch (error) {
      if (!(error instanceof Refuted)) throw error;
    }
    const orphans = marked(this.#mark);
    for (const { pid } of orphans) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // it ended by itself meanwhile
      }
    }
    return orphans.map(({ pid, command }) => `process ${pid}: ${command}`);
  }
}

async function ended(child: ChildProcess): Promise<void> {
  const { promise, resolve } = settled<undefined>();
  child.once("exit", () => {
    resolve(undefined);
  });
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGCONT");
  child.kill("SIGKILL");
  await promise;
}
