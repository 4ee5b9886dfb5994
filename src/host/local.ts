/** This machine as a host of kernels. */
import { userInfo } from "node:os";
import { getSystemErrorMap } from "node:util";
import type { Log } from "../log/log.ts";
import type { Reservation } from "./address.ts";
import { settingsOf, whyNoControlGroup } from "./control-group.ts";
import { kernelEnvironment } from "./environment.ts";
import type {
  FoundProgram,
  Host,
  HostCommand,
  HostProcess,
  OutputListener,
  SearchContext,
} from "./host.ts";
import { reservePorts } from "./ports.ts";
import { spawnProcess } from "./process.ts";
import { findProgram, searchPath } from "./program.ts";
import type { RuntimeFiles } from "./runtime-files.ts";
import { startupCommand } from "./shell.ts";
import { reserveSockets } from "./unix-sockets.ts";
import { kernelJobs } from "./windows/job.ts";
import { workingDirectory } from "./working-directory.ts";

export interface LocalHostOptions {
  readonly files: RuntimeFiles;
  readonly log: Log;
  /** The variables that kernels inherit. They also decide the PATH, the shell and the home directory. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

export function localHost({ files, log, env: base }: LocalHostOptions): Host {
  const { platform } = process;
  const makeJob = kernelJobs(log);
  const isWindows = platform === "win32";
  return {
    platform,
    ip: "127.0.0.1",
    userName,
    workingDirectory: (requested) => workingDirectory(requested, { env: base }),
    environment: (options) => kernelEnvironment({ ...options, base }),
    findProgram: foundProgram,
    whyNoCpuLimit: () => whyNoControlGroup(settingsOf({ cpus: 1 })),
    startupCommand: (options) =>
      startupCommand({ ...options, serverShell: base["SHELL"] }),
    writeFile: (session_id, content) => files.write(session_id, content),
    removeFiles: (session_id) => files.remove(session_id),
    reservePorts: () => reservePorts(),
    reserveSockets: () =>
      isWindows
        ? Promise.resolve<Reservation | undefined>(undefined)
        : reserveSockets(files),
    start: (command, onOutput) => start(command, onOutput, makeJob),
    recordProcess: (session_id, pid) => files.recordProcess(session_id, pid),
  };
}

async function start(
  { interrupts, ...command }: HostCommand,
  onOutput: OutputListener,
  makeJob: ReturnType<typeof kernelJobs>,
): Promise<HostProcess> {
  const job = await makeJob({ interrupts });
  const env = { ...command.env };
  if (process.platform !== "win32") {
    env["JPY_PARENT_PID"] = String(process.pid); // so that the kernel ends if this server is killed
  }
  try {
    return await spawnProcess({ ...command, env, job }, onOutput);
  } catch (error) {
    throw withDescription(error);
  }
}

/** Replaces Node's message, which is only the error code, by the system's description. */
function withDescription(cause: unknown): unknown {
  const { errno, code, syscall } = cause as NodeJS.ErrnoException;
  const [, words] = getSystemErrorMap().get(errno ?? 0) ?? [];
  if (words === undefined || syscall === undefined) return cause;
  return Object.assign(new Error(`${words} (${code})`, { cause }), { errno });
}

async function foundProgram(
  program: string,
  context: SearchContext,
): Promise<FoundProgram> {
  const path = searchPath(context).join(":");
  return { file: await findProgram(program, context), path };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return ""; // a user without an entry in the password database
  }
}
