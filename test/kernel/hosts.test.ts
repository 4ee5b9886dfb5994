/**
 * The launch, on this machine and on another one, with the same promises on
 * each.
 *
 * The other machine has its own loopback address, directory, private files and
 * variables, and starts every command through its own program.
 */
import {
  chmodSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { SupervisorError } from "../../contract/index.ts";
import type { Exit } from "../../src/host/exit.ts";
import type { Host } from "../../src/host/host.ts";
import { localHost } from "../../src/host/local.ts";
import { reservePorts } from "../../src/host/ports.ts";
import { RuntimeFiles } from "../../src/host/runtime-files.ts";
import type { KernelSockets } from "../../src/kernel/ipc.ts";
import type {
  Hooks,
  Launched,
  Provisioner,
  Recipe,
} from "../../src/kernel/kernel.ts";
import { hostProvisioner } from "../../src/kernel/provisioner.ts";
import { Faults } from "../../src/log/faults.ts";
import { silentLog } from "../../src/log/log.ts";
import { transportOf } from "../../src/zmq/transport-of.ts";
import { temporaryFolder } from "../harness.ts";
import { argvOf, type TestKernel } from "../kernels/index.ts";
import { needsPosix } from "../needs.ts";

const log = silentLog();

function thisMachine(): Host {
  const files = new RuntimeFiles(temporaryFolder());
  onTestFinished(() => files[Symbol.dispose]());
  return localHost({ files, log, env: process.env });
}

/** Linux has all of 127/8 on its loopback; on other systems the second machine has the same address. */
const OTHER_IP = process.platform === "linux" ? "127.0.0.2" : "127.0.0.1";

function otherMachine(): Host {
  const folder = temporaryFolder();
  // A path that is short enough for sockets.
  const parent = mkdtempSync("/tmp/kc-other-");
  const files = new RuntimeFiles(parent);
  onTestFinished(() => {
    files[Symbol.dispose]();
    rmSync(parent, { recursive: true, force: true });
  });
  const wrapper = join(folder, "run");
  writeFileSync(wrapper, `#!/bin/sh\nexport ON_MACHINE=other\nexec "$@"\n`);
  chmodSync(wrapper, 0o755);
  const host = localHost({ files, log, env: { PATH: process.env["PATH"] } });
  return {
    ...host,
    ip: OTHER_IP,
    workingDirectory: (path) =>
      host.workingDirectory(path === "" ? folder : path),
    reservePorts: () => reservePorts(OTHER_IP),
    start: (command, onOutput) =>
      host.start(
        {
          ...command,
          program: wrapper,
          args: [command.program, ...command.args],
        },
        onOutput,
      ),
  };
}

interface Stage {
  readonly provisioner: Provisioner;
  readonly launched: Launched[];
  readonly exits: Exit[];
  readonly hooks: Hooks;
}

function stageOn(host: Host, sockets: KernelSockets = "tcp"): Stage {
  const faults = new Faults(log);
  const transport = transportOf("zmtp");
  const provisioner = hostProvisioner({
    host,
    transport,
    log,
    faults,
    sockets,
  });
  const launched: Launched[] = [];
  const exits: Exit[] = [];
  const hooks: Hooks = {
    launched: (run) => launched.push(run),
    exited: (exit) => exits.push(exit),
    caughtUp: () => undefined,
    state() {},
    message() {},
    burst() {},
    refused() {},
    tooLarge() {},
    output() {},
    registered() {},
    heartbeat() {},
  };
  return { provisioner, launched, exits, hooks };
}

function recipeOf(kernel: TestKernel, more: Partial<Recipe> = {}): Recipe {
  return {
    session_id: kernel,
    argv: argvOf(kernel),
    language: "echo",
    env: [],
    spec_env: undefined,
    working_directory: "",
    key: "the kernel's key",
    username: "tester",
    interrupt_mode: "signal",
    protocol_version: "5.3",
    startup_environment: "none",
    startup_environment_arg: undefined,
    connection: undefined,
    timeout_ms: 20_000,
    ...more,
  };
}

const never = new AbortController().signal;

async function launchOn(host: Host, recipe: Recipe, sockets?: KernelSockets) {
  const stage = stageOn(host, sockets);
  const { provisioner, hooks } = stage;
  const kernel = await provisioner.launch(recipe, hooks, never);
  onTestFinished(async () => {
    await kernel.kill().catch(() => {}); // the test has ended it
    await kernel.exited;
    provisioner.release(recipe.session_id);
  });
  return { ...stage, kernel };
}

async function failureOn(host: Host, recipe: Recipe): Promise<string> {
  const { provisioner, hooks } = stageOn(host);
  try {
    await provisioner.launch(recipe, hooks, never);
  } catch (error) {
    provisioner.release(recipe.session_id);
    if (error instanceof SupervisorError) {
      return `${error.reason}: ${error.message}`;
    }
    throw error;
  }
  throw new Error("the kernel has started");
}

const hosts = [
  ["this machine", thisMachine],
  ["another machine", otherMachine],
] as const;

describe.each(hosts)("on %s", needsPosix, (_name, hostOf) => {
  test("a kernel binds the host's address, answers, and ends at the request to shut down", async () => {
    const host = hostOf();
    const { kernel, launched, exits } = await launchOn(host, recipeOf("echo"));
    expect(kernel.connection).toMatchObject({ transport: "tcp", ip: host.ip });
    expect(kernel.info).toMatchObject({ status: "ok" });
    expect(launched[0]?.working_directory).toBe(
      (await host.workingDirectory("")).path,
    );
    expect(statSync(launched[0]?.connection_file ?? "").mode & 0o777).toBe(
      0o600,
    );
    await expect(kernel.stop(false)).resolves.toMatchObject({ exit_code: 0 });
    expect(exits).toHaveLength(1);
  });

  test("a kernel registers at the host's address", async () => {
    const host = hostOf();
    const { kernel } = await launchOn(
      host,
      recipeOf("registered", { protocol_version: "5.5" }),
    );
    expect(kernel.connection.ip).toBe(host.ip);
    expect(kernel.info).toMatchObject({ status: "ok" });
  });

  test("a kernel is killed, and the next one of its session starts", async () => {
    const host = hostOf();
    const { kernel, provisioner, hooks, exits } = await launchOn(
      host,
      recipeOf("echo"),
    );
    await kernel.kill();
    await expect(kernel.exited).resolves.toMatchObject({ signal: "SIGKILL" });
    const next = await provisioner.launch(recipeOf("echo"), hooks, never);
    expect(next.pid).not.toBe(kernel.pid);
    await next.stop(true);
    expect(exits).toHaveLength(2);
  });

  test("a kernel whose port another process has gets other ports", async () => {
    const host = hostOf();
    const taker = createServer((socket) => socket.destroy());
    onTestFinished(() => void taker.close());
    let reserved = 0;
    const crowded: Host = {
      ...host,
      async reservePorts() {
        const reservation = await host.reservePorts();
        reserved += 1;
        if (reserved > 1) return reservation;
        taker.listen(reservation.address.shell_port, host.ip);
        await once(taker, "listening");
        return reservation;
      },
    };
    const { kernel, exits } = await launchOn(crowded, recipeOf("echo"));
    expect(reserved).toBe(2);
    expect(kernel.info).toMatchObject({ status: "ok" });
    expect(exits).toEqual([]); // the end of the first process is not the end of the run
  });

  test("a kernel binds Unix sockets in a private directory", async () => {
    const { kernel } = await launchOn(hostOf(), recipeOf("echo"), "ipc");
    const { transport, ip } = kernel.connection;
    expect(transport).toBe("ipc");
    expect(statSync(dirname(ip)).mode & 0o777).toBe(0o700);
  });

  test("a kernel that another program has started is adopted", async () => {
    const host = hostOf();
    const { kernel } = await launchOn(host, recipeOf("echo"));
    const { provisioner, hooks, launched } = stageOn(host);
    const recipe = recipeOf("echo", { session_id: "adopting" });
    const adopted = await provisioner.adopt(
      recipe,
      kernel.connection,
      hooks,
      never,
    );
    expect(adopted.info).toMatchObject({ status: "ok" });
    expect(launched[0]?.kill).toBeUndefined();
    await expect(adopted.interrupt()).rejects.toThrow(
      "another program started its process",
    );
    await adopted.stop(false);
  });

  test.each<[string, Recipe, RegExp]>([
    [
      "has no command",
      recipeOf("echo", { argv: [] }),
      /^start_failed: .*it has no command/,
    ],
    [
      "has no start-up script",
      recipeOf("echo", {
        startup_environment: "script",
        startup_environment_arg: "/nowhere/activate",
      }),
      /^start_failed: .*no start-up script \/nowhere\/activate/,
    ],
    [
      "ends before it answers",
      recipeOf("stillborn"),
      /^exited_during_start: .*exit code/,
    ],
    [
      "ends before it registers",
      recipeOf("stillborn", { protocol_version: "5.5" }),
      /^exited_before_handshake: .*exit code/,
    ],
    [
      "does not answer",
      recipeOf("unresponsive", { timeout_ms: 1_500 }),
      /^connection_timeout: .*within 1.5 s/,
    ],
    [
      "does not register",
      recipeOf("unresponsive", {
        argv: scripted("setInterval(() => {}, 1000)"),
        timeout_ms: 1_500,
        protocol_version: "5.5",
      }),
      /^handshake_failed: .*did not register its ports within 1.5 s/,
    ],
  ])("the error for a kernel that %s", async (_what, recipe, words) => {
    expect(await failureOn(hostOf(), recipe)).toMatch(words);
  });

  test("the errors of a host without ports, files or the program", async () => {
    const host = hostOf();
    const out = () => Promise.reject(new Error("it is out of them"));
    expect(
      await failureOn({ ...host, reservePorts: out }, recipeOf("echo")),
    ).toMatch(/^no_connection_info: .*it is out of them/);
    expect(
      await failureOn({ ...host, writeFile: out }, recipeOf("echo")),
    ).toMatch(/^start_failed: .*its connection file could not be written/);
    expect(await failureOn({ ...host, start: out }, recipeOf("echo"))).toMatch(
      /^start_failed: .*cannot be run: it is out of them/,
    );
  });

  test("a kernel that requires Unix sockets and does not support them is started only once", async () => {
    const { provisioner, hooks, launched } = stageOn(hostOf(), "ipc");
    const program = `console.error("ipc is not supported"); process.exit(1)`;
    const recipe = recipeOf("echo", { argv: scripted(program) });
    await expect(provisioner.launch(recipe, hooks, never)).rejects.toThrow(
      "exit code 1",
    );
    provisioner.release(recipe.session_id);
    expect(launched).toHaveLength(1);
  });
});

test(
  "another machine starts kernels with its own program, variables and directory",
  needsPosix,
  async () => {
    const host = otherMachine();
    const { provisioner, hooks, launched, exits } = stageOn(host);
    const program = `console.error([process.env.ON_MACHINE, process.env.HOME, process.cwd()].join()); process.exit(3)`;
    const recipe = recipeOf("echo", { argv: scripted(program) });
    await expect(provisioner.launch(recipe, hooks, never)).rejects.toThrow(
      "exit code 3",
    );
    provisioner.release(recipe.session_id);
    const { path } = await host.workingDirectory("");
    expect(path).not.toBe(process.cwd());
    expect(launched[0]?.working_directory).toBe(path);
    expect(exits[0]?.output).toBe(`other,,${realpathSync(path)}\n`);
  },
);

function scripted(program: string): string[] {
  return [process.execPath, "-e", program];
}
