/** What a scripted kernel lives in: memory, or a process. What only a process can do (end, print, stop its heart) is asked of it. */
import type { Io } from "../kernels/io.ts";
import type { Breakage, Ending, StreamName } from "./steps.ts";

export interface MockHost {
  readonly env: Readonly<Record<string, string>>;
  /** Which of its session's kernels it is, from 0. */
  readonly run: number;
  /** Resolves when it has ended, in whatever way. */
  readonly ended: Promise<unknown>;
  /** Does not come back. */
  exit(ending: Ending): Promise<never>;
  print(stream: StreamName, text: string): void | Promise<void>;
  heartbeat(beats: boolean): void;
  broken(how: Breakage, io: Io): void | Promise<void>;
}
