/**
 * Code that must not compile for users of the package: each line that is marked
 * as an error and is none is an error. `npm run check:package` compiles this
 * with the packed types.
 */
import { connect, createClient, type Session } from "kallichore/client";
import type { AppRouter } from "kallichore/contract";
import {
  clear,
  display,
  error,
  exit,
  input,
  mockKernel,
  result,
  publish,
  stream,
  testServer,
  wait,
} from "kallichore/testing";
import { failure, handlers } from "kallichore/testing/msw";
import { embedServer, startServer } from "kallichore";
import type { inferRouterInputs } from "@trpc/server";

declare const session: Session;

export const steps = [
  // @ts-expect-error -- a stream is stdout or stderr
  () => stream("hi", "stdlog"),
  // @ts-expect-error -- a stream has text
  () => stream(1),
  // @ts-expect-error -- a wait is a number of milliseconds
  () => wait("1s"),
  // @ts-expect-error -- a traceback is lines
  () => error("ValueError", "no", "Traceback"),
  // @ts-expect-error -- an exit code is a number
  () => exit({ exit_code: "1" }),
  // @ts-expect-error -- no such message
  () => publish("execute_response", { status: "ok" }),
  // @ts-expect-error -- a message has content of its own kind
  () => publish("stream", { name: "stdout" }),
  // @ts-expect-error -- a result is a MIME bundle or text
  () => result(42),
  // @ts-expect-error -- buffers are bytes
  () => display("x", { buffers: ["AP8="] }),
  // @ts-expect-error -- whether to wait is a truth value
  () => clear("later"),
  // @ts-expect-error -- an answer is text
  () => input("Name? ", (name: number) => stream(String(name))),
];

export const mocks = [
  // @ts-expect-error -- a script is steps
  () => mockKernel({ on: { hi: "hi\n" } }),
  // @ts-expect-error -- no such fault
  () => mockKernel({ faults: { lazy: true } }),
  // @ts-expect-error -- a fault of another type
  () => mockKernel({ faults: { replyDelay_ms: "1s" } }),
  // @ts-expect-error -- completeness has four names
  () => mockKernel({ is_complete: () => ({ status: "maybe" }) }),
  // @ts-expect-error -- kernels are mocks
  () => testServer({ kernels: { python3: { argv: ["python"] } } }),
  // @ts-expect-error -- a server on a port has no overrides
  () => testServer({ listen: true, overrides: {} }),
  // @ts-expect-error -- no such operation
  () => handlers({ operations: ["sessions.begin"] }),
  // @ts-expect-error -- no such fault
  () => handlers().fault({ dropEvery: 3 }),
  // @ts-expect-error -- no such reason
  () => failure("bad_luck", {}),
  // @ts-expect-error -- this reason needs more fields
  () => failure("start_failed", {}),
  () =>
    handlers({
      // @ts-expect-error -- a status needs more fields
      overrides: { server: { status: () => ({ sessions: 1 }) } },
    }),
  () =>
    handlers({
      // @ts-expect-error -- no such group
      overrides: { kernels: {} },
    }),
  () =>
    testServer({
      overrides: {
        sessions: {
          // @ts-expect-error -- no such field of the input
          start: ({ sessionId }) => sessionId,
        },
      },
    }),
];

export const clients = [
  // @ts-expect-error -- it has to be told where the server is
  () => connect({ token: "t" }),
  // @ts-expect-error -- one address
  () => createClient({ url: "http://localhost", socketPath: "/run/k" }),
  // @ts-expect-error -- no such option
  () => session.execute("1", { allowStdin: false }),
  async () => {
    const { status, error } = await session.execute("1");
    // @ts-expect-error -- no such end
    if (status === "failed") return;
    // @ts-expect-error -- there is an error only with the status "error"
    console.log(error.ename);
  },
  async () => {
    for await (const event of session.execute("1")) {
      // @ts-expect-error -- only a stream has text
      console.log(event.text);
      // @ts-expect-error -- no such event
      if (event.type === "output") return;
    }
  },
];

export const servers = [
  // @ts-expect-error -- no such transport
  () => startServer({ address: { transport: "udp", port: 1 } }),
  // @ts-expect-error -- it has to be told its path
  () => embedServer({}),
];

type StartInput = inferRouterInputs<AppRouter>["sessions"]["start"];
// @ts-expect-error -- the router is typed by the contract
export const wrongInput: StartInput = { id: "a" };
export const rightInput: StartInput = { session_id: "a" };
