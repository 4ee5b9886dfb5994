/**
 * A mocked kernel as a process with real sockets, started from a kernelspec like
 * any other kernel. The script is a module of the test; a small runner imports
 * it and serves the exported kernel.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Io } from "../kernels/io.ts";
import { runKernel, type ServedKernel } from "../kernels/serve.ts";
import { compose, EMPTY_OBJECT } from "../src/jupyter/message.ts";
import { toFrames } from "../src/jupyter/frames.ts";
import { systemClock } from "./clock.ts";
import type { MockKernel } from "./mock-kernel.ts";
import { kernelspecOf } from "./provisioner.ts";
import type { MockHost } from "./mock-host.ts";
import { definitionOf } from "./scripted.ts";
import type { Breakage, Ending } from "./steps.ts";

export interface InstalledMockKernel extends Disposable {
  readonly name: string;
  /** The directory of `kernel.json`. */
  readonly resource_dir: string;
}

export interface InstallOptions {
  readonly name: string;
  /** The module that exports the kernel: a file URL or a path. */
  readonly module: string | URL;
  /** The name of the export. Default: `default`. */
  readonly exported?: string;
  /** The kernel, from which the fields of the kernelspec are taken. */
  readonly kernel: MockKernel;
  /** The file `<folder>/kernels/<name>/kernel.json` is written; add the folder to JUPYTER_PATH. */
  readonly folder: string;
  /** Options with which Node can run the module, such as `["--import", "tsx"]`. */
  readonly nodeOptions?: readonly string[];
}

/** Writes a kernelspec that starts the module's kernel as a process. Disposing of the result removes it. */
export function installMockKernel({
  name,
  module,
  exported = "default",
  kernel,
  folder,
  nodeOptions = [],
}: InstallOptions): InstalledMockKernel {
  const resource_dir = join(folder, "kernels", name);
  mkdirSync(resource_dir, { recursive: true });
  const { display_name, language, interrupt_mode, metadata, ...more } =
    kernelspecOf(name, kernel);
  const url =
    module instanceof URL || module.startsWith("file:")
      ? String(module)
      : pathToFileURL(module).href;
  const spec = {
    argv: [
      process.execPath,
      ...nodeOptions,
      runner(),
      "{connection_file}",
      url,
      exported,
    ],
    display_name,
    language,
    interrupt_mode,
    metadata,
    env: {},
    ...(more["kernel_protocol_version"] !== undefined && {
      kernel_protocol_version: more["kernel_protocol_version"],
    }),
  };
  writeFileSync(join(resource_dir, "kernel.json"), JSON.stringify(spec));
  return {
    name,
    resource_dir,
    [Symbol.dispose]: () =>
      rmSync(resource_dir, { recursive: true, force: true }),
  };
}

/** Serves the kernel in this process until it is shut down. The runner calls it; another program may call it too. */
export async function runMockKernel(
  kernel: MockKernel,
  connection_file: string | undefined,
): Promise<void> {
  const { faults = {}, delay, clock = systemClock, registers } = kernel.options;
  if (faults.exitsAtStart !== undefined) {
    die(faults.exitsAtStart === true ? { exit_code: 1 } : faults.exitsAtStart);
  }
  if (delay?.start !== undefined) await clock.sleep(delay.start);
  const running: { served?: ServedKernel } = {};
  const host = hostOf(() => running.served);
  const served = await runKernel(
    {
      ...definitionOf(kernel, host),
      iopubLimit: 0, // no limit: if messages of a flood are missing, the receiver has lost them
      ...(registers !== undefined && { dialect: registers }),
    },
    connection_file,
  );
  running.served = served;
  if (faults.noHeartbeat === true) served.wire.stopHeartbeat();
  if (faults.ignoresShutdown === true) {
    process.removeAllListeners("SIGTERM");
    process.on("SIGTERM", () => {});
  }
}

function hostOf(served: () => ServedKernel | undefined): MockHost {
  return {
    env: process.env as Record<string, string>,
    run: 0, // a process does not know how many kernels the session had before
    ended: new Promise(() => {}), // the end of the process ends everything
    async exit(ending) {
      await served()?.wire.close(); // so that earlier messages are still delivered
      die(ending);
    },
    print: (name, text) =>
      new Promise((resolve) => process[name].write(text, () => resolve())),
    heartbeat: (beats) => {
      if (beats) served()?.wire.startHeartbeat();
      else served()?.wire.stopHeartbeat();
    },
    broken: async (how, io) => {
      await served()?.wire.sendFrames("iopub", brokenFrames(how, io, served()));
    },
  };
}

function die({ exit_code = 0, signal, output }: Ending): never {
  if (output !== undefined) writeFileSync(2, `${output}\n`);
  if (signal !== undefined) process.kill(process.pid, signal);
  process.exit(exit_code);
}

/** The frames of a `stream` message with one fault. */
function brokenFrames(
  how: Breakage,
  io: Io,
  served: ServedKernel | undefined,
): Uint8Array[] {
  if (served === undefined) return [];
  const message = compose({
    channel: "iopub",
    msg_type: "stream",
    content: { name: "stdout", text: "broken" },
    session: served.kernel.session,
    username: "kernel",
    parent: io.request,
  });
  const topic = [Buffer.from("stream")];
  const { signer } = served.wire;
  switch (how) {
    case "frames":
      return toFrames(message, signer, topic).slice(0, 4);
    case "signature":
      return toFrames(message, signer, topic).with(
        2,
        Buffer.from("0".repeat(64)),
      );
    case "json": {
      const raw = { ...message.raw, content: EMPTY_OBJECT.subarray(0, 1) };
      return toFrames({ raw, buffers: [] }, signer, topic);
    }
  }
}

/** The path of the runner, from `dist` or from the sources. */
function runner(): string {
  const found = ["./kernels/mock.js", "../kernels/mock.js", "./runner.ts"]
    .map((path) => fileURLToPath(new URL(path, import.meta.url)))
    .find((path) => existsSync(path));
  if (found === undefined) throw new Error("The runner was not found");
  return found;
}
