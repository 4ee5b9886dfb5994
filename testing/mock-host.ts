/** The environment of a scripted kernel: memory or a process. It does what only a process can do: exit, print, stop the heartbeat. */
import type { Io } from "../kernels/io.ts";
import type { Breakage, Ending, StreamName } from "./steps.ts";

export interface MockHost {
  readonly env: Readonly<Record<string, string>>;
  /** The number of this kernel in its session, from 0. */
  readonly run: number;
  /** Resolves when the kernel has ended for any reason. */
  readonly ended: Promise<unknown>;
  /** Ends the kernel; never resolves. */
  exit(ending: Ending): Promise<never>;
  print(stream: StreamName, text: string): void | Promise<void>;
  heartbeat(beats: boolean): void;
  broken(how: Breakage, io: Io): void | Promise<void>;
}
