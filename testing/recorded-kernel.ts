/** A mock kernel that replays a recording; `replay.ts` implements it. */
import {
  type MockKernel,
  mockKernel,
  type MockKernelOptions,
} from "./mock-kernel.ts";
import { readRecording, type Recording } from "./recording.ts";

export interface ReplayOptions extends MockKernelOptions {
  /** 1 is the recorded speed, 10 is ten times as fast. Default: no waiting. */
  readonly speed?: number;
  /** Whether the kernel ends where the recorded one ended, even if no code was running. Default: false, it keeps running. */
  readonly ends?: boolean;
}

/**
 * A kernel that repeats a recording to a client that sends the same requests in
 * the same order. A request that was not recorded is answered by the script. If
 * there is no script for it, the answer is an error named `NotRecorded`, which
 * says which recorded request is next.
 */
export function replay(
  recording: Recording | string | Iterable<string>,
  { speed, ends = false, ...options }: ReplayOptions = {},
): MockKernel {
  return {
    ...mockKernel(options),
    recorded: {
      recording: isRecording(recording) ? recording : readRecording(recording),
      speed: speed ?? Infinity,
      ends,
    },
  };
}

function isRecording(value: object | string): value is Recording {
  return typeof value === "object" && "events" in value;
}
