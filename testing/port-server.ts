/**
 * The whole server on a port of loopback, listener and gate included, with
 * mocked kernels. Disposing of it proves that nothing is left.
 */
import {
  createTRPCClient,
  createWSClient,
  httpLink,
  splitLink,
  type TRPCClient,
  wsLink,
} from "@trpc/client";
import { WebSocket } from "ws";
import type { AppRouter } from "../contract/index.ts";
import { type RunningServer, startServer } from "../src/serve.ts";
import type { Supervisor } from "../src/supervisor/supervisor.ts";
import { kernelspecsOf } from "./memory-service.ts";
import type { SocketClass } from "./memory-socket.ts";
import { type MockKernels, MockProvisioner } from "./provisioner.ts";
import {
  assertNothingLeft,
  readersOf,
  requestTo,
  type TestServer,
} from "./test-server.ts";
import { TestSession } from "./test-session.ts";

export class PortServer implements TestServer {
  readonly url: string;
  readonly token: string | undefined;
  readonly WebSocket: SocketClass;
  readonly trpc: TRPCClient<AppRouter>;
  readonly supervisor: Supervisor;
  readonly #server: RunningServer;
  readonly #provisioner: MockProvisioner;
  readonly #line: ReturnType<typeof createWSClient>;
  #closed: Promise<void> | undefined;

  private constructor(server: RunningServer, provisioner: MockProvisioner) {
    const { url = "", token } = server;
    this.#server = server;
    this.#provisioner = provisioner;
    this.url = url;
    this.token = token;
    this.supervisor = server.supervisor;
    const headers: Record<string, string> =
      token === undefined ? {} : { authorization: `Bearer ${token}` };
    const Authorized = class extends WebSocket {
      constructor(address: string | URL) {
        super(address, { headers });
      }
    };
    this.WebSocket = Authorized;
    this.#line = createWSClient({
      url: `${url.replace(/^http/, "ws")}/trpc`,
      WebSocket: Authorized as never,
      lazy: { enabled: true, closeMs: 0 },
    });
    this.trpc = createTRPCClient<AppRouter>({
      links: [
        splitLink({
          condition: ({ type }) => type === "subscription",
          true: wsLink({ client: this.#line }),
          false: httpLink({ url: `${url}/trpc`, headers }),
        }),
      ],
    });
  }

  /** Everybody on this machine may come in, unless a token is given. */
  static async open(options: {
    readonly kernels: MockKernels;
    readonly token: string | undefined;
  }): Promise<PortServer> {
    const provisioner = new MockProvisioner(options.kernels);
    const server = await startServer({
      provisioner,
      kernelspecs: kernelspecsOf(options.kernels, process.execPath),
      token: options.token ?? null,
      resourceSampleIntervalMs: 0, // there is no process to look at
    });
    return new PortServer(server, provisioner);
  }

  readonly fetch: TestServer["fetch"] = (input, init) =>
    globalThis.fetch(requestTo(this, input, init));

  start(kernel_name?: string, session_id?: string): Promise<TestSession> {
    return TestSession.start(this.trpc, kernel_name, session_id);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const { sessions } = this.supervisor;
    await this.#line.close();
    await this.#server[Symbol.asyncDispose]();
    await assertNothingLeft({
      kernels: () => this.#provisioner.running,
      readers: () => readersOf(sessions),
    });
  }
}
