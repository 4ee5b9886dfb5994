/** tRPC's own client, as any program makes it, against the real server. */
import {
  createTRPCClient,
  createWSClient,
  httpBatchLink,
  wsLink,
} from "@trpc/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { AppRouter } from "../../contract/index.ts";
import { cuttable } from "../client/harness.ts";
import { trpcClient } from "../doors.ts";
import { openServerOf, type TestServer, TOKEN } from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";

let server: TestServer;

beforeAll(async () => {
  server = await openServerOf({ echo });
  for (let n = 0; n < SESSIONS; n += 1) await server.start("echo", `s${n}`);
});
afterAll(() => server[Symbol.asyncDispose]());

const CALLS = 5_000;
const SESSIONS = 3;

interface Ways {
  readonly name: string;
  open: () => {
    client: ReturnType<typeof createTRPCClient<AppRouter>>;
    close: () => Promise<void>;
  };
}

const ways: readonly Ways[] = [
  { name: "over a WebSocket", open: () => trpcClient(server) },
  {
    name: "in batches over HTTP",
    open: () => ({
      client: createTRPCClient<AppRouter>({
        links: [
          httpBatchLink({
            url: `${server.url}/trpc`,
            headers: { authorization: `Bearer ${TOKEN}` },
            maxURLLength: 8_000, // Node's servers take 16 KiB of a head
          }),
        ],
      }),
      close: () => Promise.resolve(),
    }),
  },
];

describe.each(ways)("5,000 calls in one tick $name", ({ open }) => {
  test("are answered, each with its own answer", async () => {
    const { client, close } = open();
    const answers = await Promise.all(
      Array.from({ length: CALLS }, async (_, n) => {
        const session_id = `s${n % SESSIONS}`;
        switch (n % 4) {
          case 0:
            return (await client.sessions.get.query({ session_id })).session_id;
          case 1: {
            const execution_id = `nothing-${n}`;
            const requested = { session_id, execution_id };
            return client.executions.get
              .query(requested)
              .catch((error: unknown) => String(error).includes(execution_id));
          }
          case 2:
            return (await client.server.status.query()).active;
          default:
            return client.executions.cancel
              .mutate({ session_id, execution_id: `no-${n}` })
              .catch((error: unknown) => String(error).includes(`no-${n},`));
        }
      }),
    );
    await close();
    expect(answers).toEqual(
      Array.from({ length: CALLS }, (_, n) =>
        n % 4 === 0 ? `s${n % SESSIONS}` : n % 4 === 2 ? SESSIONS : true,
      ),
    );
  });
});

test("no other client waits until 5,000 calls of one client are answered", async () => {
  const many = trpcClient(server);
  const other = trpcClient(server);
  for (const { client } of [many, other]) await client.server.status.query();
  let answered = 0;
  const all = Array.from({ length: CALLS }, async () => {
    await many.client.server.status.query();
    answered += 1;
  });
  const before = other.client.server.status.query().then(() => answered);
  await Promise.all(all);
  expect(await before).toBeLessThan(CALLS / 2);
  for (const { close } of [many, other]) await close();
});

test("a subscription resumes after a lost connection, without a gap and without duplicates", async () => {
  const proxy = await cuttable(server.url);
  const socket = createWSClient({
    url: `${proxy.url.replace("http", "ws")}/trpc?token=${TOKEN}`,
    WebSocket: WebSocket as unknown as typeof globalThis.WebSocket,
    retryDelayMs: () => 10,
  });
  const far = createTRPCClient<AppRouter>({
    links: [wsLink({ client: socket })],
  });
  const { client: near, close } = trpcClient(server);
  const session_id = "s0";
  const numbers: number[] = [];
  const ended = new Set<string>();
  let received = () => {};
  const subscription = far.sessions.events.subscribe(
    { session_id, lastEventId: "0" },
    {
      onData({ data }) {
        numbers.push(data.seq);
        if (data.kind === "execution" && data.state === "done") {
          ended.add(data.execution_id);
        }
        received();
      },
    },
  );
  for (let round = 0; round < 5; round += 1) {
    const { execution_id } = await near.executions.create.mutate({
      session_id,
      code: "flood 200",
    });
    proxy.cut();
    while (!ended.has(execution_id)) {
      await new Promise<void>((resolve) => (received = resolve));
    }
  }
  subscription.unsubscribe();
  const { last_seq } = await near.sessions.get.query({ session_id });
  expect(numbers).toEqual(numbers.map((_, index) => index + 1));
  expect(numbers.length).toBeGreaterThan(1_000);
  expect(numbers.length).toBeLessThanOrEqual(last_seq);
  await Promise.all([close(), socket.close()]);
  await proxy[Symbol.asyncDispose]();
});
