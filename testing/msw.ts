/**
 * Kallichore for MSW: request handlers that stand in for a whole server with
 * mocked kernels, made from the contract. `setupServer(...handlers({ kernels }))`
 * in Node, `setupWorker(...handlers({ kernels }))` in a browser.
 *
 * The server's own code makes the answers. This file has only the addresses and
 * the faults that a test can switch on.
 *
 * @module kallichore/testing/msw
 */
import {
  http,
  type RequestHandler,
  ws,
  type WebSocketHandler,
  type WebSocketHandlerConnection,
} from "msw";
import {
  type Contract,
  contract,
  failure,
  type Operation,
  partsOf,
} from "../contract/index.ts";
import { sendFailure } from "../src/server/respond.ts";
import { systemClock, turn } from "./clock.ts";
import { exchangeOf } from "./memory-http.ts";
import {
  type MemoryServer,
  memoryServer,
  type MemoryServerOptions,
} from "./memory-server.ts";
import type { Peer, ServerSocket } from "./memory-socket.ts";
import type { Overrides } from "./overrides.ts";

type Groups = typeof contract;
/** The name of an operation, such as `sessions.start`. */
export type OperationName = {
  [G in keyof Groups]: `${G}.${Extract<keyof Groups[G], string>}`;
}[keyof Groups];

export interface HandlerOptions extends Omit<MemoryServerOptions, "url"> {
  /** The URL at which the front end expects the server. */
  readonly baseUrl?: string;
  /** The operations that are mocked. Default: all. Any other operation fails with an error that names it. */
  readonly operations?: readonly OperationName[];
}

/** Faults that a test can switch on. */
export interface Faults {
  /** Delay in milliseconds before each answer and before each message on a socket. */
  readonly delay_ms?: number;
  /** These operations, or all of them, answer 401; sockets are refused. */
  readonly unauthorized?: true | readonly OperationName[];
  /** Each socket, including the open ones, breaks after this number of messages to the client. 0 breaks all sockets now, and no socket can be opened. */
  readonly dropAfter?: number;
}

export type Handlers = readonly (RequestHandler | WebSocketHandler)[] & {
  /** The server behind the handlers. */
  readonly server: MemoryServer;
  /** Replaces the current faults by these; without an argument, by none. */
  fault(faults?: Faults): void;
  [Symbol.asyncDispose](): Promise<void>;
};

/** MSW handlers that answer as a whole server with mocked kernels at `baseUrl`. */
export function handlers({
  baseUrl = "http://localhost:8888",
  operations,
  overrides = {},
  ...options
}: HandlerOptions = {}): Handlers {
  const base = baseUrl.replace(/\/+$/, "");
  const mock: Mock = {
    server: memoryServer({
      ...options,
      url: base,
      overrides: restrictTo(overrides, operations),
    }),
    faults: {},
    sockets: new Set(),
  };
  const all = [
    refuseForeignSockets(base),
    ...rest(mock, base),
    ...others(mock, base),
  ];
  return Object.assign(all, {
    server: mock.server,
    fault(faults: Faults = {}) {
      mock.faults = faults;
      for (const socket of mock.sockets) socket.breakAfter(faults.dropAfter);
    },
    [Symbol.asyncDispose]: () => mock.server[Symbol.asyncDispose](),
  });
}

/** The state that all handlers of one mock share. */
interface Mock {
  readonly server: MemoryServer;
  faults: Faults;
  readonly sockets: Set<OpenSocket>;
}

/** One handler for each operation with a route. */
function rest(mock: Mock, base: string): RequestHandler[] {
  return namedOperations().flatMap(([name, { route }]) => {
    if (route === undefined) return [];
    const { method, path } = partsOf(route);
    const address = base + path.replace(/\{(\w+)\}/g, ":$1");
    const verb = method.toLowerCase() as "get" | "put" | "post" | "delete";
    return [http[verb](address, ({ request }) => answer(mock, request, name))];
  });
}

/** Handlers for tRPC, for sockets, and for every other path, which answers 404 as the server does. */
function others(
  mock: Mock,
  base: string,
): (RequestHandler | WebSocketHandler)[] {
  const sockets = base.replace(/^http/, "ws");
  const trpc = `${base}/trpc/`;
  return [
    http.all(`${trpc}*`, ({ request }) => {
      const { pathname } = new URL(request.url);
      const names = pathname.split("/trpc/")[1] ?? "";
      return answer(mock, request, ...names.split(","));
    }),
    ws
      .link(`${sockets}/*`)
      .addEventListener("connection", (connection) =>
        connect(mock, connection),
      ),
    http.all(`${base}/*`, ({ request }) => answer(mock, request)),
  ];
}

async function answer(
  mock: Mock,
  request: Request,
  ...names: string[]
): Promise<Response> {
  await delay(mock);
  const { unauthorized } = mock.faults;
  const isRefused =
    unauthorized === true ||
    names.some((name) => unauthorized?.includes(name as OperationName));
  if (!isRefused) return mock.server.doors.fetch(request);
  const { res, response } = exchangeOf(request, "");
  sendFailure(res, failure("unauthorized", {}));
  return response;
}

function connect(mock: Mock, { client }: WebSocketHandlerConnection): void {
  const { unauthorized, dropAfter } = mock.faults;
  let queue = Promise.resolve();
  const delayed = (act: () => void) => {
    if ((mock.faults.delay_ms ?? 0) === 0) act();
    else queue = queue.then(() => delay(mock)).then(act);
  };
  if (unauthorized === true || dropAfter === 0) {
    client.close(BROKEN); // a browser does not learn why an upgrade was refused
    return;
  }
  const socket = openSocket(client, dropAfter);
  const peer: Peer = {
    opened: (server) => {
      socket.opened(server);
      mock.sockets.add(socket);
      client.addEventListener("close", () => mock.sockets.delete(socket));
    },
    receive: (text) => delayed(() => socket.receive(text)),
    closed: (code, reason) => delayed(() => client.close(code, reason)),
  };
  mock.server.doors.connect(client.url, peer).catch(() => client.close(BROKEN));
}

async function delay({ faults: { delay_ms = 0 } }: Mock): Promise<void> {
  if (delay_ms > 0) await systemClock.sleep(delay_ms);
}

/**
 * MSW treats a WebSocket that is not `globalThis.WebSocket`, such as that of
 * the package `ws`, as a request only: the socket would open and never receive
 * a message.
 */
function refuseForeignSockets(base: string): RequestHandler {
  return http.get(
    ({ request }) =>
      request.headers.get("upgrade")?.toLowerCase() === "websocket" &&
      request.url.startsWith(base),
    ({ request }) => {
      throw new Error(
        `The WebSocket to ${request.url} is not the global one, and MSW mocks only that: in Node 20 set globalThis.WebSocket before listen(), and let clients use it`,
      );
    },
  );
}

/** The close code that a client sees if a connection broke. */
const BROKEN = 1006;

/** A socket between a client that MSW mocks and the server's end. */
interface OpenSocket {
  opened(server: ServerSocket): void;
  breakAfter(messages?: number): void;
  receive(text: string): void;
}

/** `left` is the number of messages until the socket breaks. */
function openSocket(client: MockedClient, left = Infinity): OpenSocket {
  let end: ServerSocket | undefined;
  const breakOff = (): void => {
    client.close(BROKEN);
    end?.terminate();
  };
  return {
    opened(server) {
      end = server;
      client.addEventListener("message", ({ data }) =>
        server.receiveFrame(data),
      );
      client.addEventListener("close", ({ code, reason }) =>
        server.close(code, reason),
      );
    },
    breakAfter(messages = Infinity) {
      left = messages;
      if (messages <= 0) breakOff();
    },
    receive(text) {
      if (left <= 0) return;
      client.send(text);
      left -= 1;
      // The sent message needs one turn of the event loop to reach the client.
      if (left <= 0) void turn().then(breakOff);
    },
  };
}

type MockedClient = WebSocketHandlerConnection["client"];

function namedOperations(): (readonly [OperationName, Operation])[] {
  return Object.entries(contract as Contract).flatMap(([group, members]) =>
    Object.entries(members).map(
      ([name, operation]) =>
        [`${group}.${name}` as OperationName, operation] as const,
    ),
  );
}

/** Makes every operation that is not mocked fail with an error that names it. */
function restrictTo(
  overrides: Overrides,
  operations: readonly OperationName[] | undefined,
): Overrides {
  if (operations === undefined) return overrides;
  const all: Record<string, Record<string, unknown>> = {};
  for (const [name] of namedOperations()) {
    const [group = "", member = ""] = name.split(".");
    const given = (overrides as typeof all)[group]?.[member];
    if (given !== undefined) (all[group] ??= {})[member] = given;
    else if (!operations.includes(name)) {
      (all[group] ??= {})[member] = () => {
        const why = `The operation ${name} is not mocked: add it to \`operations\`, or override it`;
        throw failure("bad_request", { why });
      };
    }
  }
  return all;
}

export { failure } from "../contract/errors.ts";
export { SupervisorError } from "../contract/reasons.ts";
