/**
 * The longest wait of another client for the server's status, while a kernel or a
 * client sends large, many or invalid messages or requests. The row `nothing` shows
 * how much the machine itself delays answers.
 */
import { once } from "node:events";
import { request } from "node:http";
import { WebSocket } from "ws";
import { limits } from "../../contract/limits.ts";
import { StatusProbe } from "../harness/status-probe.ts";
import { floodKernel } from "../harness/kernel.ts";
import { kernelsAtRest, later, settled } from "../harness/process.ts";
import type { Figures, Question } from "../harness/question.ts";
import {
  execute,
  type Server,
  type Session,
  serversOf,
  specOf,
} from "../harness/server.ts";
import { Stack } from "../harness/stack.ts";

const ANSWER_MS = 60_000;
const INTAKE_MS = 2_000;
const SESSIONS = 500;
const DISPLAYS = 2_000;
const MB = 1_000_000;

/** Puts load on the session, and resolves when it is over, perhaps with a size. The session `kept` has two executions whose outputs can be requested. */
type Action = (session: Session, kept: Session) => Promise<Figures | undefined>;

export const question: Question = {
  asks: "How long does another client wait in the meantime?",
  async run(bench) {
    await using servers = await serversOf(bench.options);
    await using stack = new Stack();
    const targets: { session: Session; kept: Session; probe: StatusProbe }[] =
      [];
    for (const server of servers.list) {
      const session = stack.use(await server.start(floodKernel()));
      const kept = stack.use(await server.start(floodKernel()));
      targets.push({ session, kept, probe: stack.use(new StatusProbe()) });
      if (server.kind !== "ours") continue;
      await run(kept, "large", "flood 64 1000000 display");
      await run(kept, "many", `flood ${DISPLAYS} 600 updated`);
    }
    for (const [name, { act, everywhere }] of Object.entries(actions())) {
      await bench.compare(
        name,
        targets
          .filter(({ session }) => everywhere || session.server.kind === "ours")
          .map(({ session, kept, probe }) => ({
            name: session.server.name,
            async run() {
              await probe.begin(session.server.url);
              const figures = await act(session, kept);
              return { "waited ms": await probe.longest(), ...figures };
            },
          })),
      );
    }
  },
};

/** Runs an execution whose outputs are requested later, by its id. */
async function run(
  session: Session,
  execution_id: string,
  code: string,
): Promise<void> {
  const body = JSON.stringify({ execution_id, code });
  await rest(
    "POST",
    `/sessions/${session.id}/executions`,
    body,
  )(session, session);
  await settled(session.server.pid);
}

function actions(): Readonly<
  Record<string, { act: Action; everywhere: boolean }>
> {
  const everywhere = {
    nothing: () => later(1_000).then(() => undefined),
    "a kernel's message of 100 MB": async (session: Session) => {
      await session.send(execute(`flood 1 ${100 * MB} display`));
      await untilReceived(session);
      return undefined;
    },
    "channel: 20,000 frames that are not JSON": frames("channel", "hello"),
    "channel: 44 MB of code": frames(
      "channel",
      message(`{"code":${code()},"silent":true}`),
      1,
    ),
  } satisfies Record<string, Action>;
  const here: Record<string, Action> = {
    "64 MB of outputs by execute": inSession(
      "POST",
      "execute",
      JSON.stringify({ code: "flood 64 1000000 display" }),
    ),
    "64 MB of outputs by outputs": outputsOf("large"),
    [`${DISPLAYS} displays published`]: async (session) => {
      await session.send(execute(`flood ${DISPLAYS} 600 updated`));
      await untilReceived(session);
      return undefined;
    },
    [`${DISPLAYS} displays by outputs`]: outputsOf("many"),
    ...hostile(),
  };
  const all = (acts: Record<string, Action>, everywhere: boolean) =>
    Object.entries(acts).map(([name, act]) => [name, { act, everywhere }]);
  return Object.fromEntries([
    ...all(everywhere, true),
    ...all(here, false),
    ...all({ [`${SESSIONS} sessions listed`]: listed }, true), // the last, because the sessions stay
  ]) as ReturnType<typeof actions>;
}

const crowded = new Set<Server>();

/** Lists the sessions, which are created in the first round. */
async function listed(session: Session): Promise<Figures | undefined> {
  const { server } = session;
  for (let n = 0; n < SESSIONS && !crowded.has(server); n += 1) {
    const spec = JSON.stringify(specOf(`idle-${n}`, ["true"]));
    await rest("PUT", "/sessions", spec)(session, session);
  }
  crowded.add(server);
  return rest("GET", "/sessions")(session, session);
}

function hostile(): Record<string, Action> {
  const env = many(100_000, () => '{"action":1}');
  const members = many(1_000_000, (at) => `"k${at}":1`);
  const buffer = Buffer.alloc(40 * MB, "kernel").toString("base64");
  const numbers = many(5_000_000, () => "1e5");
  const call = (at: number, path: string, method: string, input: string) =>
    `{"id":${at},"method":"${method}","params":{"path":"${path}","input":${input}}}`;
  return {
    "REST: 100,000 wrong env items": rest(
      "PUT",
      "/sessions",
      `{"session_id":"w","kernel_name":"none","env":[${env}]}`,
    ),
    "REST: a million unknown members": rest(
      "PUT",
      "/sessions",
      `{"kernel_name":"none",${members}}`,
    ),
    "REST: 44 MB of code": inSession(
      "POST",
      "executions",
      `{"code":${code()},"silent":true}`,
    ),
    "REST: a message of 44 MB": inSession(
      "POST",
      "messages",
      comm(message(`{"code":${code()}}`)),
    ),
    "REST: 64 MB of open brackets": inSession(
      "POST",
      "messages",
      "[".repeat(64 * MB),
    ),
    "REST: 60 MB of white space": inSession(
      "POST",
      "messages",
      " ".repeat(60 * MB),
    ),
    "tRPC: 100,000 wrong env items": frames(
      "trpc",
      call(
        1,
        "sessions.create",
        "mutation",
        `{"kernel_name":"none","env":[${env}]}`,
      ),
      1,
    ),
    "tRPC: 44 MB of code": (session) =>
      frames(
        "trpc",
        call(
          1,
          "executions.create",
          "mutation",
          `{"session_id":"${session.id}","code":${code()},"silent":true}`,
        ),
        1,
      )(session, session),
    "tRPC: 5,000 calls in one frame": frames(
      "trpc",
      `[${many(5_000, (at) => call(at, "sessions.list", "query", "null"))}]`,
      1,
    ),
    "tRPC: 20,000 frames that are not JSON": frames("trpc", "hello"),
    "tRPC over HTTP: a batch of 600": rest(
      "GET",
      `/trpc/${many(limits.batch_calls, () => "sessions.list")}?batch=1&input=%7B%7D`,
    ),
    "tRPC over HTTP: a batch of 600 that are wrong": rest(
      "POST",
      `/trpc/${many(limits.batch_calls, () => "sessions.create")}?batch=1`,
      `{${many(limits.batch_calls, (at) => `"${at}":{"env":[1,2,3]}`)}}`,
    ),
    "channel: five million numbers": frames(
      "channel",
      comm(message(`{"a":[${numbers}]}`)),
      1,
    ),
    "channel: 53 MB of base64": frames(
      "channel",
      comm(message("{}", `,"buffers":["${buffer}"]`)),
      1,
    ),
    "channel: a million members": frames("channel", `{${members}}`, 1),
  };
}

/** Resolves when the kernel has sent everything, and the server has had time to receive it. */
async function untilReceived({ server }: Session): Promise<void> {
  await kernelsAtRest(server.pid);
  await later(INTAKE_MS);
}

function many(count: number, item: (at: number) => string): string {
  return Array.from({ length: count }, (_, at) => item(at)).join(",");
}

function code(): string {
  return JSON.stringify("x = 'text'\n".repeat(4_000_000));
}

function message(content: string, more = ""): string {
  const header = '{"msg_id":"NUMBER","msg_type":"execute_request"}';
  return `{"channel":"shell","header":${header},"content":${content},"metadata":{}${more}}`;
}

function comm(text: string): string {
  return text.replace("execute_request", "comm_msg");
}

function outputsOf(execution_id: string): Action {
  return (_, kept) =>
    inSession("GET", `executions/${execution_id}/outputs`)(kept, kept);
}

function inSession(method: string, path: string, body?: string): Action {
  return (session) =>
    rest(method, `/sessions/${session.id}/${path}`, body)(session, session);
}

/** Makes the id of each message unique, because the server does not send a message with a known id again. */
let numbered = 0;

/** Sends a request. Any answer is good, but a 404 is an error: the requested object must exist. */
function rest(method: string, path: string, body?: string): Action {
  return ({ server }) =>
    new Promise((resolve, reject) => {
      const headers = {
        authorization: `Bearer ${server.token}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      };
      const { hostname, port } = new URL(server.url);
      const to = { hostname, port, method, path, headers, agent: false };
      const req = request(to, (res) => {
        let size = 0;
        res.on("data", (chunk: Buffer) => (size += chunk.length));
        if (res.statusCode === 404) reject(new Error(`${path}: 404`));
        res.on("end", () => resolve({ "answer MB": size / MB }));
        res.on("error", reject);
      });
      req.on("error", reject);
      req.end(body?.replace("NUMBER", `bench-${(numbered += 1)}`));
    });
}

/** Sends frames, and then a ping: the pong shows that the server has read them. */
function frames(to: "channel" | "trpc", text: string, count = 20_000): Action {
  return async ({ server, channel }) => {
    const headers = { authorization: `Bearer ${server.token}` };
    const trpc = `${server.url.replace("http", "ws")}/trpc`;
    const socket = new WebSocket(to === "trpc" ? trpc : channel, { headers });
    await once(socket, "open");
    socket.on("message", () => {});
    socket.on("error", () => {});
    const one = text.replace("NUMBER", `bench-${(numbered += 1)}`);
    for (let sent = 0; sent < count; sent += 1) socket.send(one);
    const signal = AbortSignal.timeout(ANSWER_MS);
    const ended = Promise.race([
      once(socket, "pong", { signal }),
      once(socket, "close", { signal }),
    ]);
    socket.ping();
    await ended;
    await later(1_000); // the fair scheduling of frames may continue after the pong
    socket.close(1000);
    return undefined;
  };
}
