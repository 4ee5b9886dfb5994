/** What every test's server is, in memory or on a port. */
import type { TRPCClient } from "@trpc/client";
import type { AppRouter } from "../contract/index.ts";
import type { Session } from "../src/session/session.ts";
import type { Supervisor } from "../src/supervisor/supervisor.ts";
import { turn } from "./clock.ts";
import type { SocketClass } from "./memory-socket.ts";
import type { TestSession } from "./test-session.ts";

export interface TestServer extends AsyncDisposable {
  readonly url: string;
  readonly token: string | undefined;
  /** `fetch` to this server, the token included. A path stands for the whole address. */
  readonly fetch: (
    input: string | URL | Request,
    init?: RequestInit,
  ) => Promise<Response>;
  /** The `WebSocket` that reaches this server, the token included: for a client that takes one. */
  readonly WebSocket: SocketClass;
  /** The operations, typed. In memory they are called in place, without a door between. */
  readonly trpc: TRPCClient<AppRouter>;
  /** The sessions behind the doors. */
  readonly supervisor: Supervisor;
  /** A session with a running kernel, of the default kernelspec unless named. */
  start(kernel_name?: string, session_id?: string): Promise<TestSession>;
}

/** Turns of the event loop that whoever was told to leave may take. */
const MOST_TURNS = 100;

/** Rejects with what is left, by name, once all that was told to leave has had its time. */
export async function assertNothingLeft(
  counts: Readonly<Record<string, () => number>>,
): Promise<void> {
  const left = () =>
    Object.entries(counts).flatMap(([name, count]) =>
      count() > 0 ? [`${count()} ${name}`] : [],
    );
  for (let turns = 0; left().length > 0 && turns < MOST_TURNS; turns += 1) {
    await turn();
  }
  if (left().length === 0) return;
  const what = left().join(", ");
  throw new Error(`The test server ended, and these are left: ${what}`);
}

/** Who still reads the sessions' journals. */
export function readersOf(sessions: readonly Session[]): number {
  return sessions.reduce((sum, { journal }) => sum + journal.readers, 0);
}

/** The whole request: address and token filled in. */
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
