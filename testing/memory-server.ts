/**
 * The server in memory: its contract, sessions, journals and doors are the real
 * ones, its kernels are mocked, and it opens no socket and starts no process.
 * Disposing of it proves that nothing is left.
 */
import { createTRPCClient, localLink, type TRPCClient } from "@trpc/client";
import { type AppRouter } from "../contract/index.ts";
import { answers } from "../src/server/answers/answers.ts";
import {
  type Context,
  logAccident,
  routerOf,
} from "../src/server/answers/router.ts";
import type { Service } from "../src/server/answers/service.ts";
import { EVERYTHING, type Principal } from "../src/session/principal.ts";
import type { Supervisor } from "../src/supervisor/supervisor.ts";
import { MemoryDoors } from "./memory-doors.ts";
import { memoryService } from "./memory-service.ts";
import { type Dial, socketClass, type SocketClass } from "./memory-socket.ts";
import { type Overrides, overridden } from "./overrides.ts";
import type { MockKernels, MockProvisioner } from "./provisioner.ts";
import {
  assertNothingLeft,
  readersOf,
  requestTo,
  type TestServer,
} from "./test-server.ts";
import { TestSession } from "./test-session.ts";

export interface MemoryServerOptions {
  /** By the name of their kernelspec; the first is the default. */
  readonly kernels?: MockKernels;
  /** What clients must hold; everybody may come in unless given. */
  readonly token?: string;
  /** Operations that shall answer otherwise. */
  readonly overrides?: Overrides;
  /** New ids where the server makes them up for a session; random unless given. */
  readonly ids?: () => string;
  /** Where the server seems to be; `http://localhost` unless given. */
  readonly url?: string;
}

export class MemoryServer implements TestServer {
  readonly url: string;
  readonly token: string | undefined;
  readonly trpc: TRPCClient<AppRouter>;
  readonly WebSocket: SocketClass;
  readonly supervisor: Supervisor;
  readonly doors: MemoryDoors;
  /** Resolves with the reason once somebody asked the server to end. */
  readonly shutdownRequested: Promise<string>;
  readonly #provisioner: MockProvisioner;
  #closed: Promise<void> | undefined;

  constructor(options: MemoryServerOptions = {}) {
    const { kernels = {}, token, overrides = {} } = options;
    const { ids = () => crypto.randomUUID() } = options;
    let shutDown: (reason: string) => void = () => {};
    this.shutdownRequested = new Promise((resolve) => (shutDown = resolve));
    const { service, provisioner } = memoryService({
      kernels,
      ids,
      shutDown: (reason) => shutDown(reason),
    });
    const router = routerOf(overridden(answers, overrides));
    this.supervisor = service.supervisor;
    this.token = token;
    this.url = (options.url ?? "http://localhost").replace(/\/+$/, "");
    this.#provisioner = provisioner;
    const { pathname } = new URL(this.url);
    this.doors = new MemoryDoors({
      router,
      service,
      token,
      basePath: pathname.replace(/\/+$/, ""),
    });
    this.trpc = localClient(router, service);
    const dial: Dial = (url, peer) => {
      if (token !== undefined) url.searchParams.set("token", token);
      return this.doors.connect(url, peer);
    };
    this.WebSocket = socketClass(dial);
  }

  readonly fetch: TestServer["fetch"] = (input, init) =>
    this.doors.fetch(requestTo(this, input, init));

  start(kernel_name?: string, session_id?: string): Promise<TestSession> {
    return TestSession.start(this.trpc, kernel_name, session_id);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const { supervisor } = this;
    const { sessions } = supervisor;
    await supervisor[Symbol.asyncDispose](); // while clients can still hear how their kernels end
    this.doors.close();
    await assertNothingLeft({
      kernels: () => this.#provisioner.running,
      sockets: () => this.doors.openSockets,
      readers: () => readersOf(sessions),
    });
  }
}

/** Whoever asks without a request. */
const local: Principal = {
  who: "local",
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
        onError: ({ error, path }) => logAccident(service, error, path),
      }),
    ],
  });
}
