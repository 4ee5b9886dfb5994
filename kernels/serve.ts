/**
 * Runs a kernel as a process. It reads the connection file, binds its sockets
 * and answers requests. It ends at a shutdown request, or when its parent
 * process has ended.
 */
import { writeFile } from "node:fs/promises";
import {
  portNames,
  readInstructions,
  type Dialect,
  type Instructions,
} from "./connection.ts";
import { Kernel, type KernelDefinition } from "./kernel.ts";
import { register } from "./registration.ts";
import { Wire } from "./wire.ts";

export interface ServeOptions extends KernelDefinition {
  /** Whether to send `iopub_welcome` to each subscriber (JEP 65). */
  readonly welcome?: boolean;
  /** Called when a client has subscribed to iopub; it receives all messages that are published from then on. */
  readonly subscribed?: (kernel: Kernel) => void;
  /** See `WireOptions`. */
  readonly iopubLimit?: number;
  /** False: the heartbeat socket is bound and never answers. */
  readonly heartbeat?: boolean;
  /** Registers in this dialect, whatever the connection file says. */
  readonly dialect?: Dialect;
}

/** Serves until the end of the process. A kernel's program calls it. */
export async function runKernel(
  definition: ServeOptions,
  file: string | undefined = process.argv[2],
): Promise<ServedKernel> {
  if (file === undefined) {
    throw new TypeError(
      "The connection file is missing: give its path as the only argument",
    );
  }
  const instructions = await readInstructions(file);
  const served = await serveKernel(definition, instructions);
  if (instructions.registration === undefined && hasZeros(instructions)) {
    await writeFile(file, JSON.stringify(served.wire.connection), {
      mode: 0o600,
    });
  }
  process.on("SIGINT", () => void served.kernel.interrupt());
  process.on("SIGTERM", () => served.end());
  const watch = watchParent(() => process.exit(1));
  void served.ended.then(async () => {
    clearInterval(watch);
    await served[Symbol.asyncDispose]();
    process.exit(0);
  });
  return served;
}

export interface ServedKernel extends AsyncDisposable {
  readonly kernel: Kernel;
  readonly wire: Wire;
  /** Resolves when a client has requested the shutdown, or `end` was called. */
  readonly ended: Promise<void>;
  end(): void;
}

/** Resolves when the sockets are bound and, if the file requires it, the kernel has registered. */
export async function serveKernel(
  options: ServeOptions,
  { connection, registration }: Instructions,
): Promise<ServedKernel> {
  let end = () => {};
  const ended = new Promise<void>((resolve) => (end = resolve));
  const kernel: Kernel = new Kernel(options, {
    send: (message, identities) => wire.send(message, identities),
    end: () => end(),
  });
  const wire = await Wire.bind({
    connection,
    onMessage: (message) => kernel.receive(message),
    subscribed: (topic) => {
      if (options.welcome === true) void greet(kernel, topic);
      options.subscribed?.(kernel);
    },
    ...(options.iopubLimit === undefined
      ? {}
      : { iopubLimit: options.iopubLimit }),
  });
  if (options.heartbeat === false) wire.stopHeartbeat();
  try {
    if (registration !== undefined) {
      const { dialect = registration.dialect } = options;
      await register(
        { ...registration, dialect },
        wire.connection,
        kernel.session,
      );
    }
  } catch (error) {
    await wire.close(0);
    throw error;
  }
  await kernel.publish("status", { execution_state: "starting" });
  return {
    kernel,
    wire,
    ended,
    end,
    [Symbol.asyncDispose]: () => wire.close(),
  };
}

function greet(kernel: Kernel, topic: Uint8Array): Promise<void> {
  const subscription = Buffer.from(topic).toString();
  return kernel.publish("iopub_welcome", { subscription }, { topic });
}

function hasZeros({ connection }: Instructions): boolean {
  return portNames.some((name) => connection[name] === 0);
}

const PARENT_POLL_MS = 2_000;

/** Calls `gone` when the parent process has ended, or when this process has got another parent. */
function watchParent(gone: () => void): NodeJS.Timeout | undefined {
  const given = Number(process.env["JPY_PARENT_PID"]);
  // On Windows the variable is a handle, for which Node cannot wait. There the process that started us is watched.
  const parent =
    process.platform === "win32" && given > 0 ? process.ppid : given;
  if (!Number.isInteger(parent) || parent <= 1) return undefined;
  const direct = process.ppid === parent; // else a shell is between the two processes
  const watch = setInterval(() => {
    if ((direct && process.ppid !== parent) || !exists(parent)) gone();
  }, PARENT_POLL_MS);
  return watch.unref();
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
