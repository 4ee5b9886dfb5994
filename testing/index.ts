/**
 * The test kit for Node: mocked kernels, in memory or as processes, and the
 * whole server with them, in memory or on a port. See docs/testing.md.
 *
 * @module kallichore/testing
 */
import { memoryServer, type MemoryServerOptions } from "./memory-server.ts";
import { portServer } from "./port-server.ts";
import type { TestServer } from "./test-server.ts";

export type TestServerOptions =
  | (MemoryServerOptions & { readonly listen?: false })
  | (Pick<MemoryServerOptions, "kernels" | "token"> & {
      /** Listens on a loopback port that the system chooses. */
      readonly listen: true;
      /** The path under which the server answers, such as `/user/ann`. Default: `/`. */
      readonly basePath?: string;
    });

/** A server. The caller disposes of it: `await using server = await testServer({ kernels })`. */
export function testServer(
  options: TestServerOptions = {},
): Promise<TestServer> {
  if (options.listen !== true) {
    return Promise.resolve(memoryServer(options));
  }
  const { kernels = {}, token, basePath } = options;
  return portServer({ kernels, token, basePath });
}

export {
  installMockKernel,
  type InstalledMockKernel,
  runMockKernel,
} from "./process.ts";
export { type Clock, countingIds, ManualClock } from "./clock.ts";
export {
  type CompleteCall,
  isMockKernel,
  type LanguageInfo,
  type MockKernel,
  mockKernel,
  type MockKernelOptions,
  type On,
  type KernelFaults,
} from "./mock-kernel.ts";
export { outputsOf } from "../outputs/outputs.ts";
export type { Overrides } from "./overrides.ts";
export { type MockKernels, MockProvisioner } from "./provisioner.ts";
export { record, type RecordOptions } from "./record.ts";
export { replay, type ReplayOptions } from "./recorded-kernel.ts";
export { openRecording, readRecording, type Recording } from "./recording.ts";
export {
  answer,
  answerLate,
  background,
  broken,
  clear,
  type CommCall,
  commClose,
  commMsg,
  commOpen,
  display,
  type Ending,
  error,
  type ExecuteCall,
  exit,
  type Flood,
  flood,
  omit,
  hang,
  input,
  password,
  print,
  type Reaction,
  result,
  publish,
  startHeartbeat,
  type Step,
  stopHeartbeat,
  stream,
  update,
  wait,
} from "./steps.ts";
export type { RestartOptions } from "./memory-keep.ts";
export type { TestServer } from "./test-server.ts";
export { TestSession } from "./test-session.ts";
export { assertOrder, Transcript, eventNames } from "./transcript.ts";
export { failure } from "../contract/errors.ts";
export { SupervisorError } from "../contract/reasons.ts";
