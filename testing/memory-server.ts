/**
 * The server in memory. Its contract, sessions, journals and protocols are the
 * real ones. Its kernels are mocked. It opens no socket and starts no process.
 * Disposing of it fails if a kernel, a socket or a reader is left.
 */
import { createTRPCClient, localLink, type TRPCClient } from "@trpc/client";
import { type AppRouter } from "../contract/index.ts";
import { answers } from "../src/server/answers/answers.ts";
import {
  type Context,
  logInternalError,
  routerOf,
} from "../src/server/answers/router.ts";
import { basePathOf } from "../src/server/base-path.ts";
import type { Service } from "../src/server/answers/service.ts";
import { EVERYTHING, type Principal } from "../src/session/principal.ts";
import { type MemoryDoors, memoryDoors } from "./memory-doors.ts";
import { memoryService } from "./memory-service.ts";
import { type Dial, socketClass } from "./memory-socket.ts";
import { type Overrides, withOverrides } from "./overrides.ts";
import type { MockKernels } from "./provisioner.ts";
import {
  assertNothingLeft,
  readersOf,
  requestTo,
  type TestServer,
} from "./test-server.ts";
import { TestSession } from "./test-session.ts";

export interface MemoryServerOptions {
  /** The kernels by the name of their kernelspec; the first is the default. */
  readonly kernels?: MockKernels;
  /** The token that clients must send. Default: no token is needed. */
  readonly token?: string;
  /** Operations whose answers are replaced. */
  readonly overrides?: Overrides;
  /** Makes ids for sessions that are created without one. Default: random ids. */
  readonly ids?: () => string;
  /** Whether sessions outlive `restart`. Default: false. */
  readonly keep?: boolean;
  /** The URL that the server appears to have. Default: `http://localhost`. */
  readonly url?: string;
}

export interface MemoryServer extends TestServer {
  readonly doors: MemoryDoors;
  /** Resolves with the reason when a client requests the shutdown of the server. */
  readonly shutdownRequested: Promise<string>;
  [Symbol.asyncDispose](): Promise<void>;
}

export function memoryServer(options: MemoryServerOptions = {}): MemoryServer {
  const { kernels = {}, token, overrides = {} } = options;
  const { ids = () => crypto.randomUUID() } = options;
  const url = (options.url ?? "http://localhost").replace(/\/+$/, "");
  let shutDown: (reason: string) => void = () => {};
  const shutdownRequested = new Promise<string>((resolve) => {
    shutDown = resolve;
  });
  const basePath = basePathOf(new URL(url).pathname);
  const { service, provisioner, kept } = memoryService({
    kernels,
    isKeeping: options.keep === true,
    ids,
    shutDown,
    basePath: basePath.path,
  });
  const { supervisor } = service;
  const router = routerOf(withOverrides(answers, overrides));
  const doors = memoryDoors({ router, service, token, basePath });
  const trpc = localClient(router, service);
  const dial: Dial = (address, peer) => {
    if (token !== undefined) address.searchParams.set("token", token);
    return doors.connect(address, peer);
  };
  const followed = new Set<TestSession>();
  const close = async (): Promise<void> => {
    const { sessions } = supervisor;
    kept?.attach(); // a session that is being restored cannot end its kernel
    await supervisor[Symbol.asyncDispose](); // first, so that clients still receive the end of their kernels
    doors.close();
    await assertNothingLeft({
      kernels: () => provisioner.running,
      sockets: () => doors.openSockets,
      readers: () => readersOf(sessions),
    });
  };
  let closed: Promise<void> | undefined;
  return {
    url,
    token,
    trpc,
    WebSocket: socketClass(dial),
    supervisor,
    doors,
    shutdownRequested,
    fetch: (input, init) => doors.fetch(requestTo({ url, token }, input, init)),
    async start(kernel_name, session_id) {
      const session = await TestSession.start(trpc, kernel_name, session_id);
      followed.add(session);
      return session;
    },
    async restart(how = {}) {
      if (kept === undefined) throw new Error(NOT_KEPT);
      await kept.restart(supervisor, () => doors.cut(), how);
      for (const session of followed) session.followAgain();
    },
    attach: () => kept?.attach(),
    [Symbol.asyncDispose]: () => (closed ??= close()),
  };
}

/** Why a server cannot be restarted. */
export const NOT_KEPT =
  "Only a server in memory with `keep: true` can be restarted";

/** The principal of calls that come without an HTTP request. */
const local: Principal = {
  kind: "local",
  scopes: EVERYTHING,
  client: null,
  span_id: "local",
};

export function localClient(
  router: AppRouter,
  service: Service,
): TRPCClient<AppRouter> {
  return createTRPCClient<AppRouter>({
    links: [
      localLink({
        router,
        createContext: (): Promise<Context> =>
          Promise.resolve({ service, by: local }),
        onError: ({ error, path }) => logInternalError(service, error, path),
      }),
    ],
  });
}
