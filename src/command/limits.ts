/** The options that limit what a session's kernel may use. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { LimitsRequest } from "../../contract/index.ts";
import { bytes } from "./bytes.ts";
import { duration } from "./duration.ts";

export interface LimitOptions {
  readonly memory?: number | undefined;
  readonly cpus?: number | undefined;
  readonly runTime?: number | undefined;
}

export const limitParsers = {
  memory: bytes(1024 ** 2),
  cpus: (text: string): number => {
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN;
    if (value >= 0.01 && value <= 4096) return value;
    throw new InvalidArgumentError("Use a number of cores from 0.01 to 4096.");
  },
  runTime: (text: string): number => Math.ceil(duration(1, 365)(text)),
};

/** Options for a command that starts a kernel; with an existing session there is none to limit. */
export function withLimits(command: Command): Command {
  const options = [
    new Option(
      "--memory <bytes>",
      "Memory that the kernel may use with all processes that it starts, such as 2G; a kernel that uses more is killed (default: the server's limit)",
    ).argParser(limitParsers.memory),
    new Option(
      "--cpus <count>",
      "Cores that the kernel may use with all processes that it starts, such as 1.5; refused where the server cannot limit them (default: the server's limit)",
    ).argParser(limitParsers.cpus),
    new Option(
      "--run-time <time>",
      "Time after which the kernel is shut down, such as 8h, 90m or 3600s (default: the server's limit)",
    ).argParser(limitParsers.runTime),
  ];
  for (const option of options) command.addOption(option.conflicts("session"));
  return command;
}

/** The field `limits` of a new session; no field without the options. */
export function limited({ memory, cpus, runTime }: LimitOptions): {
  limits?: LimitsRequest;
} {
  const limits = {
    ...(memory !== undefined && { memory_bytes: memory }),
    ...(cpus !== undefined && { cpus }),
    ...(runTime !== undefined && { run_time_s: runTime }),
  };
  return Object.keys(limits).length === 0 ? {} : { limits };
}
