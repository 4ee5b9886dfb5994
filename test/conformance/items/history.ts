/** The execution history and the attribution, as in later versions of Kallichore. */
import { at, equal, holds, keys, list, shown, text } from "../harness/check.ts";
import { eventName, parentId } from "../harness/channel.ts";
import { group as outline } from "../harness/item.ts";
import type { Server } from "../harness/server.ts";
import { Session } from "../harness/session.ts";

interface World {
  readonly server: Server;
}

const LATER = "Kallichore 0.1.65 to 0.1.69";
const AGENT = {
  source: "agent",
  agent_name: "Claude",
  workspace_id: "w",
  tool: "execute_code",
};

export const group = outline<World>({
  id: "HIST",
  open: async (ground) => ({ server: await ground.start() }),
  items: [
    {
      id: "HIST-01",
      claim:
        "history is an array, oldest first: input, output, timestamp in milliseconds, truncated",
      source: LATER,
      mark: "mended",
      run: async ({ server }) => {
        const before = Date.now();
        const session = await Session.started(server);
        const channel = await session.channel();
        await channel.run("print one");
        await channel.run("result two");
        const [first, second, ...more] = await historyOf(session);
        equal(more, [], "further entries");
        equal(at(first, "input"), "print one", "input");
        equal(at(first, "output"), "one\n", "the text of a stream");
        equal(at(second, "output"), "two\n", "a result, and a newline");
        equal(at(first, "truncated"), false, "truncated");
        const timestamp = Number(at(first, "timestamp"));
        holds(
          timestamp >= before - 1000 && timestamp <= Date.now() + 1000,
          `timestamp ${timestamp}`,
        );
        holds(!keys(first).includes("error"), "an error without one");
      },
    },
    {
      id: "HIST-02",
      claim: "an error has its name, message and traceback",
      source: LATER,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        await channel.run("error because");
        const [entry] = await historyOf(session);
        holds(text(at(entry, "error", "name")) !== "", shown(entry));
        equal(at(entry, "error", "message"), "because", "message");
        holds(Array.isArray(at(entry, "error", "traceback")), "traceback");
      },
    },
    {
      id: "HIST-03",
      claim:
        "output over 4 KiB keeps both ends, with a line between them that has the number of omitted bytes",
      source: LATER,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        await channel.run("flood 100 96");
        const [entry] = await historyOf(session);
        const whole = Array.from(
          { length: 100 },
          (_, n) => `${n} ${"x".repeat(96)}\n`,
        ).join("");
        const omitted = whole.length - 4096;
        equal(
          at(entry, "output"),
          `${whole.slice(0, 2048)}\n[... ${omitted} bytes omitted ...]\n${whole.slice(-2048)}`,
          "output",
        );
        equal(at(entry, "truncated"), true, "truncated");
      },
    },
    {
      id: "HIST-04",
      claim: "silent executions are not in the history",
      source: LATER,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const body = { code: "print quiet", silent: true };
        await session.post("execute", { body });
        await session.post("execute", { body: { code: "print loud" } });
        const inputs = (await historyOf(session)).map((e) => at(e, "input"));
        equal(inputs, ["print loud"], "inputs");
      },
    },
    {
      id: "HIST-05",
      claim: "a session's object and its list entry have the last three",
      source: LATER,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        for (const n of [1, 2, 3, 4]) await channel.run(`print ${n}`);
        const inputs = (value: unknown) =>
          list(at(value, "history")).map((entry) => at(entry, "input"));
        const last = ["print 2", "print 3", "print 4"];
        equal(inputs(await session.details()), last, "in its object");
        const { body } = await server.request("GET", "/sessions");
        const listed = list(at(body, "sessions")).find(
          (one) => at(one, "session_id") === session.id,
        );
        equal(inputs(listed), last, "in the list");
      },
    },
    {
      id: "HIST-06",
      claim: "a new session has an empty array; an unknown session is 404",
      source: LATER,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.create(server);
        equal(await historyOf(session), [], "before anything was run");
        const nobody = new Session(server, "nobody").path("history");
        equal((await server.request("GET", nobody)).status, 404, "nobody's");
      },
    },
    {
      id: "HIST-07",
      claim:
        "executionRequested precedes all messages of an execution whose request has an attribution, and the history names the agent",
      source: LATER,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        await session.post("execute", {
          body: { code: "print hello", metadata: { attribution: AGENT } },
        });
        const frame = await channel.event("executionRequested");
        const requested = at(frame.body, "executionRequested");
        equal(at(requested, "code"), "print hello", "code");
        holds(
          !Number.isNaN(Date.parse(text(at(requested, "requested_at")))),
          "requested_at",
        );
        for (const [name, value] of Object.entries(AGENT))
          equal(at(requested, "attribution", name), value, name);
        const msg_id = text(at(requested, "msg_id"));
        const idle = await channel.idle(msg_id);
        const early = channel.frames
          .slice(0, frame.index)
          .filter((received) => parentId(received) === msg_id);
        equal(early.length, 0, "messages before it");
        holds(idle.index > frame.index, "its idle came before");
        const [entry] = await historyOf(session);
        equal(at(entry, "source"), "agent", "source");
        equal(at(entry, "agent"), "Claude", "agent");
      },
    },
    {
      id: "HIST-08",
      claim: "an execution without an attribution has no executionRequested",
      source: LATER,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        await channel.run("print hello");
        const names = channel.frames.map((frame) => eventName(frame));
        holds(!names.includes("executionRequested"), shown(names));
      },
    },
    {
      id: "HIST-09",
      claim: "GET /status says that there is no MCP listener",
      source: LATER,
      mark: "mended",
      run: async ({ server }) => {
        const { body } = await server.request("GET", "/status");
        equal(
          at(body, "mcp"),
          { active: false, port: 0, request_count: 0, workspaces: [] },
          "mcp",
        );
      },
    },
    {
      id: "HIST-10",
      claim: "a session may be made with a workspace_id",
      source: LATER,
      mark: "mended",
      run: async ({ server }) => {
        const body = { workspace_id: "of-mine-1a2b3c" };
        const session = await Session.create(server, { body });
        equal((await session.start()).status, 200, "start");
      },
    },
  ],
});

async function historyOf(session: Session): Promise<readonly unknown[]> {
  const path = session.path("history");
  const { status, body } = await session.server.request("GET", path);
  equal(status, 200, "status code");
  holds(Array.isArray(body), `no array: ${shown(body)}`);
  return list(body);
}
