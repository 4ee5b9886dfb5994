/** The lifecycle of a session: start, correct status, kill, delete, and the operations that each state allows. */
import { existsSync, readFileSync } from "node:fs";

import {
  at,
  equal,
  holds,
  keys,
  refute,
  shown,
  text,
} from "../harness/check.ts";
import { life } from "../harness/channel.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import { alive, gone, parent } from "../harness/processes.ts";
import { until } from "../harness/request.ts";
import type { Server } from "../harness/server.ts";
import { Session, newSession } from "../harness/session.ts";
import { isError } from "./rest.ts";

interface World {
  readonly server: Server;
}

export const group = outline<World>({
  id: "LIFE",
  open: async (ground) => ({ server: await ground.start() }),
  items: [
    {
      id: "LIFE-01",
      claim:
        "start answers 200 with the content of the kernel's kernel_info_reply",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server);
        const { status, body } = await session.start();
        equal(status, 200, "status code");
        equal(at(body, "status"), "ok", "status");
        equal(at(body, "implementation"), "scripted", "implementation");
        equal(
          at(body, "language_info", "name"),
          "scripted",
          "language_info.name",
        );
        equal(at(await session.details(), "kernel_info"), body, "kernel_info");
      },
    },
    {
      id: "LIFE-02",
      claim:
        "after start, process_id is the kernel's process, a child of the server",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const pid = await session.pid();
        holds(alive(pid), `process_id ${pid}`);
        const channel = await session.channel();
        equal(await channel.result("pid"), pid, "the kernel's own pid");
        equal(parent(pid), server.pid, "its parent");
      },
    },
    {
      id: "LIFE-03",
      claim:
        "after start the status is `ready` or `idle`, and `idle` after the first execution",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const status = text(at(await session.details(), "status"));
        holds(["ready", "idle"].includes(status), `status ${status}`);
        const channel = await session.channel();
        await channel.run("");
        await session.becomes(["idle"]);
      },
    },
    {
      id: "LIFE-04",
      claim: "prompts of the kernel's language_info replace the session's",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const body = await session.details();
        equal(at(body, "input_prompt"), "?> ", "input_prompt");
        equal(at(body, "continuation_prompt"), ".. ", "continuation_prompt");
      },
    },
    {
      id: "LIFE-05",
      claim:
        "a second start of a running session is 500 KS-2 with a StartupError, and no second kernel",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const pid = await session.pid();
        const answer = await session.start();
        equal(answer.status, 500, "status code"); // clients know this answer, or none, for a start
        equal(
          at(answer.body, "error", "code"),
          "KS-2",
          `code in ${shown(answer.text)}`,
        );
        equal(await session.pid(), pid, "process_id after it");
      },
    },
    {
      id: "LIFE-06",
      claim: "two starts at once make one kernel",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.create(server);
        const answers = await Promise.all([session.start(), session.start()]);
        const codes = answers.map((answer) => answer.status).sort();
        equal(codes[0], 200, "the better status code");
        const channel = await session.channel();
        equal(
          await channel.result("pid"),
          await session.pid(),
          "pid and process_id",
        );
      },
    },
    {
      id: "LIFE-07",
      claim:
        "kill: 200 null; status `exited`, then exited -1; the process is gone",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        const pid = await session.pid();
        const answer = await session.post("kill");
        equal([answer.status, answer.text], [200, "null"], "the answer");
        await channel.event("exited", -1);
        await gone(pid);
        equal(
          life(channel.frames).slice(-2),
          ["status:exited", "exited:-1"],
          "the events",
        );
        const body = await session.details();
        equal(at(body, "status"), "exited", "status");
        holds(!keys(body).includes("process_id"), "process_id is still there");
      },
    },
    {
      id: "LIFE-08",
      claim: "kill ends the kernel's children too",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        const child = Number(await channel.result("spawn"));
        holds(alive(child), `no child ${child}`);
        await session.post("kill");
        await gone(child);
      },
    },
    {
      id: "LIFE-09",
      claim:
        "kill of a session that never started is 400 KS-12; of an exited one KS-3",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const never = await Session.create(server);
        isError(await never.post("kill"), 400, "KS-12");
        const session = await Session.started(server);
        await session.post("kill");
        await session.becomes(["exited"]);
        isError(await session.post("kill"), 400, "KS-3");
      },
    },
    {
      id: "LIFE-10",
      claim:
        "delete of a running session is 400 KS-2; of an exited one 200 null, and it is gone",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        isError(await session.delete(), 400, "KS-2");
        await session.post("kill");
        await session.becomes(["exited"]);
        const answer = await session.delete();
        equal([answer.status, answer.text], [200, "null"], "the answer");
        equal(
          (await server.request("GET", session.path())).status,
          404,
          "GET after it",
        );
        equal((await session.delete()).status, 404, "delete again");
      },
    },
    {
      id: "LIFE-11",
      claim: "a deleted session's id can be used again",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        await session.post("kill");
        await session.becomes(["exited"]);
        await session.delete();
        const body = { session_id: session.id };
        await Session.started(server, { body });
      },
    },
    {
      id: "LIFE-12",
      claim: "a session that never started can be deleted",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.create(server);
        equal((await session.delete()).status, 200, "status code");
      },
    },
    {
      id: "LIFE-13",
      claim:
        "interrupt of a session that never started is 400 KS-10, by signal",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server);
        isError(await session.post("interrupt"), 400, "KS-10");
      },
    },
    {
      id: "LIFE-14",
      claim:
        "interrupt of a session without a kernel is 400 KS-10 in message mode too",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const body = { interrupt_mode: "message" };
        const session = await Session.create(server, { body });
        isError(await session.post("interrupt"), 400, "KS-10");
      },
    },
    {
      id: "LIFE-15",
      claim:
        "a kernel that exits by itself: status `exited`, exited with its code, once, in that order",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        channel.execute("exit 7");
        await channel.event("exited", 7);
        await session.becomes(["exited"]);
        const ends = life(channel.frames).filter((event) =>
          event.includes("exited"),
        );
        equal(ends, ["status:exited", "exited:7"], "the events of its end");
      },
    },
    {
      id: "LIFE-16",
      claim:
        "start of an exited session runs it again, on the same open channel",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        const first = await channel.result("pid");
        channel.execute("exit 0");
        await channel.event("exited", 0);
        equal((await session.start()).status, 200, "status code");
        holds(
          (await channel.result("pid")) !== first,
          "it is the same process",
        );
      },
    },
    {
      id: "LIFE-17",
      claim:
        "shutdown_request over the channel, on control or on shell, is answered and ends the kernel",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        for (const channelName of ["control", "shell"]) {
          const session = await Session.started(server);
          const channel = await session.channel();
          const msg_id = channel.send({
            msg_type: "shutdown_request",
            content: { restart: false },
            channel: channelName,
          });
          equal(at(await channel.reply(msg_id), "status"), "ok", "the reply");
          await channel.event("exited", 0);
          await session.becomes(["exited"]);
        }
      },
    },
    {
      id: "LIFE-18",
      claim: "messages sent before the start are delivered after it, in order",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server);
        const channel = await session.channel();
        const first = channel.execute("print one");
        const second = channel.execute("received");
        await session.start();
        equal(
          at(await channel.reply(first), "status"),
          "ok",
          "the first reply",
        );
        equal(
          at(await channel.reply(second), "status"),
          "ok",
          "the second reply",
        );
        const result = await channel.result("received");
        equal(
          (result as unknown[]).slice(0, 2),
          [first, second],
          "as the kernel saw them",
        );
      },
    },
    {
      id: "LIFE-19",
      claim:
        "the events of a start: `starting` with reason `start API called`, then ready or idle, no `starting` after",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server);
        const channel = await session.channel();
        const starting = session.start();
        const frame = await channel.event("status", "starting");
        equal(at(frame.body, "status", "reason"), "start API called", "reason");
        await starting;
        await channel.run("");
        const received = life(channel.frames);
        equal(
          received.lastIndexOf("status:starting"),
          0,
          `\`starting\` in ${shown(received)}`,
        );
      },
    },
    {
      id: "LIFE-20",
      claim: "the supervisor's own first request causes no message for clients",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.create(server);
        const channel = await session.channel();
        await session.start();
        const { msg_id } = await channel.run("");
        const strangers = channel.frames.filter((frame) => {
          const cause = at(frame.body, "parent_header", "msg_id");
          return at(frame.body, "kind") === "jupyter" && cause !== msg_id;
        });
        equal(
          strangers.map((frame) => frame.text),
          [],
          "messages that nobody asked for",
        );
      },
    },
    {
      id: "LIFE-21",
      claim:
        "the kernel's own stdout and stderr arrive as `output`, line by line",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        await channel.run("stdout to the terminal\nstderr to the log");
        const received = (stream: string, line: string) =>
          channel.waitFor(`output ${stream}`, (frame) => {
            const output = shown(at(frame.body, "output"));
            return output === shown([stream, `${line}\n`]);
          });
        await received("stdout", "to the terminal");
        await received("stderr", "to the log");
      },
    },
    {
      id: "LIFE-22",
      claim:
        "output that is not UTF-8 neither ends the kernel nor stops later output",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        await channel.run("latin\nlatin\nstdout after it");
        await channel.waitFor("output after it", (frame) =>
          text(at(frame.body, "output", 1)).includes("after it"),
        );
        equal(at((await channel.run("")).reply, "status"), "ok", "the kernel");
      },
    },
    {
      id: "LIFE-23",
      claim:
        "status follows the kernel: busy with its reason while it runs, idle after",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        const msg_id = channel.execute("sleep 30");
        const frame = await channel.event("status", "busy");
        equal(at(frame.body, "status", "reason"), "execute_request", "reason");
        await session.becomes(["busy"]);
        const status = (await server.anonymous("GET", "/status")).body;
        equal(at(status, "busy"), true, "busy of /status");
        await session.post("interrupt");
        await channel.idle(msg_id);
        await session.becomes(["idle"]);
      },
    },
    {
      id: "LIFE-24",
      claim:
        "the kernel's change of directory is reported by workingDirChanged and in the session",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        await channel.run("chdir /usr");
        await channel.event("workingDirChanged", "/usr");
        const ask = async () =>
          at(await session.details(), "working_directory");
        await until("working_directory", ask, {
          holds: (seen) => seen === "/usr",
        });
      },
    },
    {
      id: "LIFE-25",
      claim: "the session's key stays the same over its runs",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const path = session.path("connection_info");
        const before = (await server.request("GET", path)).body;
        await session.restart();
        const after = (await server.request("GET", path)).body;
        equal(at(after, "key"), at(before, "key"), "key");
      },
    },
    {
      id: "LIFE-26",
      claim:
        "a client that disconnects during a start has no effect: the kernel starts",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const body = newSession({ kernel: ["slow"] });
        await server.request("PUT", "/sessions", { body });
        const session = new Session(server, text(body["session_id"]));
        await session.post("start", { timeout_ms: 300 }).catch(() => undefined);
        await session.becomes(["ready", "idle"], 15_000);
        const channel = await session.channel();
        equal(
          at((await channel.run("")).reply, "status"),
          "ok",
          "an execution",
        );
      },
    },
    {
      id: "LIFE-27",
      claim:
        "a kernel that starts at once is usable well before Kallichore's 1.4 s, in the best of three starts",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const took: number[] = [];
        for (let i = 0; i < 3; i += 1) {
          const session = await Session.create(server);
          const began = performance.now();
          await session.start();
          took.push(Math.round(performance.now() - began));
        }
        holds(Math.min(...took) < 1_350, `they took ${took.join()} ms`);
      },
    },
    {
      id: "LIFE-28",
      claim:
        "a started session without requests becomes idle: as a frame, and in its object",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server);
        const channel = await session.channel();
        equal((await session.start()).status, 200, "start");
        await channel.event("status", "idle");
        await session.becomes(["idle"]);
      },
    },
    {
      id: "LIFE-29",
      claim: "a restarted session without requests becomes idle",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        const from = channel.frames.length;
        equal((await session.restart()).status, 200, "restart");
        const starting = await channel.event("status", "starting", { from });
        await channel.event("status", "idle", { from: starting.index });
        await session.becomes(["idle"]);
      },
    },
    {
      id: "LIFE-30",
      claim: "a kernel's connection file is removed when the kernel has ended",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const file = connectionFileOf(await session.pid());
        holds(existsSync(file), `not there while it runs: ${file}`);
        await session.post("kill");
        await session.becomes(["exited"]);
        const isLeft = () => Promise.resolve(existsSync(file));
        await until("the connection file is removed", isLeft, {
          holds: (seen) => !seen,
          within_ms: 5_000,
        });
      },
    },
  ],
});

/** The argument with the connection file in the command line of the kit's kernel. */
function connectionFileOf(pid: number): string {
  const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  const file = words.find((word) => /^\/.*\.json$/.test(word));
  return file ?? refute(`no connection file in ${shown(words)}`);
}
