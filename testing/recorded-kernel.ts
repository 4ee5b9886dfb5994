/** A mock kernel that says what a recorded one said. `replay.ts` is how it does. */
import {
  type MockKernel,
  mockKernel,
  type MockKernelOptions,
} from "./mock-kernel.ts";
import { readRecording, type Recording } from "./recording.ts";

export interface ReplayOptions extends MockKernelOptions {
  /** 1 is as fast as it was, 10 ten times as fast; without waiting at all unless given. */
  readonly speed?: number;
  /** The kernel ends where the recorded one did, also where nothing ran; otherwise it then stays. */
  readonly ends?: boolean;
}

/**
 * A kernel that says again what was recorded, to whoever asks the same in the
 * same order. What was not recorded is answered by script, and where there is
 * none by an error named `NotRecorded`, which says what would have been next.
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
