/**
 * Runs the command as people do: the shipped bundle as a process, in its own
 * directories, so that it does not find the tester's own servers. When a room
 * is disposed of, everything that was started in it has ended.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import { installKernelspecs } from "../kernels/index.ts";
import { installIpykernel } from "../kernels/python.ts";
import { buildCommand } from "./built.ts";

let program: string;

/** Builds the command for the tests of a file. */
export function useCommand(): void {
  beforeAll(async () => {
    program = await buildCommand("kallichore");
  });
  afterAll(() => rmSync(dirname(program), { recursive: true, force: true }));
}

/** The command's program, for another program that runs it. */
export function commandFile(): string {
  return program;
}

export interface RunOptions {
  /** Standard input. Default: empty. */
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** A program, with arguments, that runs the command. */
  readonly through?: readonly string[];
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class Room implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "kc-"));
  readonly #running = new Set<Running>();

  constructor() {
    for (const name of ["tmp", "home", "run"]) {
      mkdirSync(join(this.folder, name), { mode: 0o700 });
    }
    const jupyter = join(this.folder, "jupyter");
    installKernelspecs(jupyter);
    installIpykernel(jupyter);
  }

  get records(): string[] {
    return readdirSync(join(this.folder, "run"));
  }

  /** The command lines of processes of this room: kernels are started with a file in it. */
  get processes(): string[] {
    return processesNaming(this.folder);
  }

  /** Runs the command to its end. */
  async run(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    const running = this.start(args, options);
    running.child.stdin?.end(options.input ?? "");
    return running.ended();
  }

  start(args: readonly string[], options: RunOptions = {}): Running {
    const { through = [] } = options;
    return this.#spawn(
      [...through, process.execPath, program, ...args],
      options,
    );
  }

  /** Runs the command at a terminal. */
  terminal(args: readonly string[]): Running {
    const script =
      "import os,pty,sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    const command = [process.execPath, program, ...args];
    return this.#spawn(["python3", "-c", script, ...command], {});
  }

  /** Resolves with a server when it has printed its address. */
  async serve(...args: string[]): Promise<Running> {
    const server = this.start(["serve", "--json", ...args]);
    await server.until("\n");
    return server;
  }

  #spawn([file = "", ...args]: string[], options: RunOptions): Running {
    const { folder } = this;
    const { env = {}, cwd = folder } = options;
    const child = spawn(file, args, {
      cwd,
      env: {
        PATH: process.env["PATH"],
        TERM: "xterm-256color",
        HOME: join(folder, "home"),
        TMPDIR: join(folder, "tmp"),
        JUPYTER_PATH: join(folder, "jupyter"),
        KALLICHORE_RUNTIME_DIR: join(folder, "run"),
        ...env,
      },
    });
    const running = new Running(child);
    this.#running.add(running);
    return running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const running of this.#running) {
      running.child.kill("SIGTERM");
      await running.ended();
    }
    expect(readdirSync(join(this.folder, "tmp"))).toEqual([]);
    expect(this.records).toEqual([]);
    expect(this.processes).toEqual([]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class Running {
  readonly child: ChildProcess;
  stdout = "";
  stderr = "";
  readonly #ended: Promise<unknown>;
  #seen = 0;
  #received = () => {};

  constructor(child: ChildProcess) {
    this.child = child;
    this.#ended = once(child, "close");
    child.stdin?.on("error", () => {}); // the command does not read it
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
      this.#received();
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
      this.#received();
    });
  }

  /** Resolves when standard output has `text` after the part that earlier calls waited for. */
  async until(text: string): Promise<void> {
    const late = setTimeout(() => this.child.kill("SIGKILL"), 20_000);
    try {
      for (;;) {
        const at = this.stdout.indexOf(text, this.#seen);
        if (at !== -1) {
          this.#seen = at + text.length;
          return;
        }
        const more = new Promise<"more">((resolve) => {
          this.#received = () => resolve("more");
        });
        const next = await Promise.race([more, this.#ended]);
        if (next === "more") continue;
        throw new Error(
          `It ended without ${JSON.stringify(text)}: ${this.stdout}${this.stderr}`,
        );
      }
    } finally {
      clearTimeout(late);
    }
  }

  type(text: string): void {
    this.child.stdin?.write(text);
  }

  async ended(): Promise<Ended> {
    await this.#ended;
    const { stdout, stderr } = this;
    return { code: this.child.exitCode, stdout, stderr };
  }
}

function processesNaming(folder: string): string[] {
  if (!existsSync("/proc/self/cmdline")) return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => commandOf(pid))
    .filter((command) => command.includes(folder));
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return ""; // the process has just ended
  }
}
