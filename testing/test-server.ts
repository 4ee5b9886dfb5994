/** The interface of a test's server, in memory or on a port. */
import type { TRPCClient } from "@trpc/client";
import type { AppRouter } from "../contract/index.ts";
import type { Session } from "../src/session/session.ts";
import type { Supervisor } from "../src/supervisor/supervisor.ts";
import { turn } from "./clock.ts";
import type { RestartOptions } from "./memory-keep.ts";
import type { SocketClass } from "./memory-socket.ts";
import type { TestSession } from "./test-session.ts";

export interface TestServer extends AsyncDisposable {
  readonly url: string;
  readonly token: string | undefined;
  /** `fetch` to this server, with the token. A path is resolved against the server's URL. */
  readonly fetch: (
    input: string | URL | Request,
    init?: RequestInit,
  ) => Promise<Response>;
  /** A `WebSocket` class that reaches this server, with the token, for a client that accepts such a class. */
  readonly WebSocket: SocketClass;
  /** The typed operations. In memory they are direct calls without a protocol. */
  readonly trpc: TRPCClient<AppRouter>;
  /** The server's sessions. */
  readonly supervisor: Supervisor;
  /** Ends the server and begins the next one: connections break, and kept sessions go on. Rejects unless the server is in memory and has `keep: true`. */
  restart(options?: RestartOptions): Promise<void>;
  /** Ends a restart with `attach: false`: the sessions are attached to their kernels again. */
  attach(): void;
  /** Starts a session. Default: the default kernelspec. */
  start(kernel_name?: string, session_id?: string): Promise<TestSession>;
}

/** The most turns of the event loop that the end of all work may take. */
const MAX_TURNS = 100;

/** Waits until all counts are 0. Rejects with the names and numbers of what is left after that time. */
export async function assertNothingLeft(
  counts: Readonly<Record<string, () => number>>,
): Promise<void> {
  const left = () =>
    Object.entries(counts).flatMap(([name, count]) =>
      count() > 0 ? [`${count()} ${name}`] : [],
    );
  for (let turns = 0; left().length > 0 && turns < MAX_TURNS; turns += 1) {
    await turn();
  }
  if (left().length === 0) return;
  const what = left().join(", ");
  throw new Error(`The test server has ended, but these are left: ${what}`);
}

/** The number of readers of the sessions' journals. */
export function readersOf(sessions: readonly Session[]): number {
  return sessions.reduce((sum, { journal }) => sum + journal.readers, 0);
}

/** The request with the full URL and the token. */
export function requestTo(
  { url, token }: Pick<TestServer, "url" | "token">,
  input: string | URL | Request,
  init: RequestInit | undefined,
): Request {
  const address =
    typeof input === "string" && input.startsWith("/") ? url + input : input;
  const request = new Request(address, init);
  if (token !== undefined && !request.headers.has("authorization")) {
    request.headers.set("authorization", `Bearer ${token}`);
  }
  return request;
}
