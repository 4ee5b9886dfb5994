/**
 * The whole server on a loopback port, including listener and access checks,
 * with mocked kernels. Disposing of it fails if a kernel or a reader is left.
 */
import {
  createTRPCClient,
  createWSClient,
  httpLink,
  splitLink,
  wsLink,
} from "@trpc/client";
import { WebSocket } from "ws";
import type { AppRouter } from "../contract/index.ts";
import { startServer } from "../src/serve.ts";
import { NOT_KEPT } from "./memory-server.ts";
import { kernelspecsOf } from "./memory-service.ts";
import { type MockKernels, MockProvisioner } from "./provisioner.ts";
import {
  assertNothingLeft,
  readersOf,
  requestTo,
  type TestServer,
} from "./test-server.ts";
import { TestSession } from "./test-session.ts";

/** Without a `token`, every process on this machine may connect. */
export async function portServer({
  kernels,
  token: givenToken = null,
  basePath,
}: {
  readonly kernels: MockKernels;
  readonly token?: string | null | undefined;
  readonly basePath?: string | undefined;
}): Promise<TestServer> {
  const provisioner = new MockProvisioner(kernels);
  const server = await startServer({
    provisioner,
    kernelspecs: kernelspecsOf(kernels, process.execPath),
    token: givenToken,
    basePath,
    resourceSampleIntervalMs: 0, // there is no process to measure
  });
  const { url = "", token, supervisor } = server;
  const headers: Record<string, string> =
    token === undefined ? {} : { authorization: `Bearer ${token}` };
  const Authorized = class extends WebSocket {
    constructor(address: string | URL) {
      super(address, { headers });
    }
  };
  const wsClient = createWSClient({
    url: `${url.replace(/^http/, "ws")}/trpc`,
    WebSocket: Authorized as never,
    lazy: { enabled: true, closeMs: 0 },
  });
  const trpc = createTRPCClient<AppRouter>({
    links: [
      splitLink({
        condition: ({ type }) => type === "subscription",
        true: wsLink({ client: wsClient }),
        false: httpLink({ url: `${url}/trpc`, headers }),
      }),
    ],
  });
  const close = async (): Promise<void> => {
    const { sessions } = supervisor;
    await wsClient.close();
    await server[Symbol.asyncDispose]();
    await assertNothingLeft({
      kernels: () => provisioner.running,
      readers: () => readersOf(sessions),
    });
  };
  let closed: Promise<void> | undefined;
  return {
    url,
    token,
    WebSocket: Authorized,
    trpc,
    supervisor,
    fetch: (input, init) =>
      globalThis.fetch(requestTo({ url, token }, input, init)),
    start: (kernel_name, session_id) =>
      TestSession.start(trpc, kernel_name, session_id),
    restart: () => Promise.reject(new Error(NOT_KEPT)),
    attach() {},
    [Symbol.asyncDispose]: () => (closed ??= close()),
  };
}
