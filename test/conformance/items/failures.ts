/** Starts that fail: the StartupError, the time limit, and that nothing is left of them. */
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { at, equal, holds, keys, shown, text } from "../harness/check.ts";
import { life } from "../harness/channel.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import { gone } from "../harness/processes.ts";
import { until } from "../harness/request.ts";
import type { Answer } from "../harness/request.ts";
import type { Server } from "../harness/server.ts";
import { Session, kernelArgv } from "../harness/session.ts";

interface World {
  readonly server: Server;
}

export const group = outline<World>({
  id: "FAIL",
  open: async (ground) => ({ server: await ground.start() }),
  items: [
    {
      id: "FAIL-01",
      claim:
        "a stillborn kernel: 500 StartupError KS-8 with its exit code and its output of both streams",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server, {
          kernel: ["stillborn", "3", "2"],
        });
        const answer = await session.start();
        isStartupError(answer, "KS-8");
        equal(at(answer.body, "exit_code"), 3, "exit_code");
        const output = text(at(answer.body, "output"));
        for (const line of ["stillborn out 1", "stillborn err 2"])
          holds(output.includes(line), `${line} is not in ${shown(output)}`);
      },
    },
    {
      id: "FAIL-02",
      claim:
        "the last output without a newline, and two thousand lines before it, are in the report",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const kernel = ["stillborn", "1", "1000"];
        const session = await Session.create(server, { kernel });
        const output = text(at((await session.start()).body, "output"));
        const lines = output
          .split("\n")
          .filter((line) => line.startsWith("stillborn"));
        equal(lines.length, 2_000, "lines");
        holds(
          output.trimEnd().includes("last words"),
          `the end: ${output.slice(-80)}`,
        );
      },
    },
    {
      id: "FAIL-03",
      claim: "the report has the output although a client reads it already",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.create(server, {
          kernel: ["stillborn", "3", "1"],
        });
        const channel = await session.channel();
        const output = text(at((await session.start()).body, "output"));
        holds(output.includes("stillborn err 1"), `output: ${shown(output)}`);
        await channel.waitFor("the output event", (frame) =>
          text(at(frame.body, "output", 1)).includes("stillborn err 1"),
        );
      },
    },
    {
      id: "FAIL-04",
      claim:
        "the events of a failed start: `starting`, `exited`, exited with the code, once",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.create(server, {
          kernel: ["stillborn", "3"],
        });
        const channel = await session.channel();
        await session.start();
        await channel.event("exited", 3);
        await session.becomes(["exited"]);
        const wanted = ["status:starting", "status:exited", "exited:3"];
        equal(life(channel.frames), wanted, "the events");
      },
    },
    {
      id: "FAIL-05",
      claim: "a failed start is in the backlog of a later client",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.create(server, {
          kernel: ["stillborn", "3"],
        });
        await session.start();
        const channel = await session.channel();
        await channel.event("exited", 3);
        equal(life(channel.frames).at(-1), "exited:3", "the last event");
      },
    },
    {
      id: "FAIL-06",
      claim: "death by a signal before the connection is exit_code -1",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server, { kernel: ["struck"] });
        const answer = await session.start();
        isStartupError(answer, "KS-8");
        equal(at(answer.body, "exit_code"), -1, "exit_code");
      },
    },
    {
      id: "FAIL-07",
      claim:
        "a kernel that never binds: 500 KS-7, exit_code 130, after connection_timeout",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const { answer, took_ms } = await timedOut(server, "deaf");
        isStartupError(answer, "KS-7");
        equal(at(answer.body, "exit_code"), 130, "exit_code");
        holds(
          took_ms > 900 && took_ms < 8_000,
          `it took ${took_ms} ms of 1000`,
        );
      },
    },
    {
      id: "FAIL-08",
      claim:
        "a process whose start times out is killed, and the session is `exited`",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const { session, pid } = await timedOut(server, "deaf");
        await gone(pid);
        await session.becomes(["exited"]);
        equal((await session.delete()).status, 200, "delete");
      },
    },
    {
      id: "FAIL-09",
      claim:
        "the start of a kernel that binds and never answers ends at connection_timeout too, and the kernel is killed",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const { answer, pid, took_ms } = await timedOut(server, "mute");
        equal(answer.status, 500, "status code");
        const code = text(at(answer.body, "error", "code"));
        holds(["KS-6", "KS-7"].includes(code), `code ${code}`);
        holds(took_ms < 10_000, `it took ${took_ms} ms of 1000`);
        await gone(pid);
      },
    },
    {
      id: "FAIL-10",
      claim:
        "start without argv: 500 KS-5, and the session stays uninitialized",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server, { body: { argv: [] } });
        isStartupError(await session.start(), "KS-5");
        const status = at(await session.details(), "status");
        equal(status, "uninitialized", "status");
      },
    },
    {
      id: "FAIL-11",
      claim:
        "a program that may not be executed: 500 KS-5 with exit_code 13, and the session is `exited`",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const program = join(server.home, "not-executable");
        writeFileSync(program, "#!/bin/sh\n");
        chmodSync(program, 0o644);
        const body = { argv: [program, "{connection_file}"] };
        const session = await Session.create(server, { body });
        const answer = await session.start();
        isStartupError(answer, "KS-5");
        equal(at(answer.body, "exit_code"), 13, "exit_code");
        await session.becomes(["exited"]);
      },
    },
    {
      id: "FAIL-12",
      claim: "a startup script that does not exist: 500 KS-5",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await missingScript(server);
        isStartupError(await session.start(), "KS-5");
      },
    },
    {
      id: "FAIL-13",
      claim:
        "after that, the session is not stuck in `starting`, and can be deleted",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await missingScript(server);
        await session.start();
        await session.becomes(["exited", "uninitialized"], 3_000);
        equal((await session.delete()).status, 200, "delete");
      },
    },
    {
      id: "FAIL-14",
      claim:
        "a startup command that fails: 500 KS-8, its details name it, markers are not in the output",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server, {
          body: {
            startup_environment: "command",
            startup_environment_arg: "echo from-the-command; false",
          },
        });
        const answer = await session.start();
        isStartupError(answer, "KS-8");
        const output = text(at(answer.body, "output"));
        holds(
          !output.includes("KALLICHORE_STARTUP"),
          "a marker is in the output",
        );
        const details = text(at(answer.body, "error", "details"));
        holds(
          details.includes("from-the-command"),
          `details: ${shown(details)}`,
        );
      },
    },
    {
      id: "FAIL-15",
      claim: "after a failed start another start can succeed",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const flag = join(server.home, "flag");
        const script = `if [ -e '${flag}' ]; then exec "$@"; else touch '${flag}'; exit 9; fi`;
        const body = {
          argv: ["/bin/sh", "-c", script, "sh", ...kernelArgv("obedient")],
        };
        const session = await Session.create(server, { body });
        const answer = await session.start();
        equal(at(answer.body, "exit_code"), 9, "exit_code of the first");
        await session.becomes(["exited"]);
        equal((await session.start()).status, 200, "the second start");
      },
    },
    {
      id: "FAIL-16",
      claim: "a failed start answers 500 for restart too, as a StartupError",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const flag = join(server.home, "restart-flag");
        const script = `if [ -e '${flag}' ]; then echo no; exit 5; else touch '${flag}'; exec "$@"; fi`;
        const body = {
          argv: ["/bin/sh", "-c", script, "sh", ...kernelArgv("obedient")],
        };
        const session = await Session.started(server, { body });
        const answer = await session.restart();
        isStartupError(answer, "KS-8");
        equal(at(answer.body, "exit_code"), 5, "exit_code");
      },
    },
    {
      id: "FAIL-17",
      claim: "kill during a start ends it at once, with a StartupError",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server, { kernel: ["deaf"] });
        const starting = session.start();
        const pid = await until(
          "process_id while it starts",
          () => session.pid(),
          {
            holds: (seen) => seen > 0,
          },
        );
        equal((await session.post("kill")).status, 200, "kill");
        isStartupError(await starting, "KS-8");
        await gone(pid);
      },
    },
    {
      id: "FAIL-18",
      claim: "the output of a startup command that fails is in the output",
      source: FAULT, // the report does not wait for the end of the output
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.create(server, {
          body: {
            startup_environment: "command",
            startup_environment_arg: "echo from-the-command; false",
          },
        });
        const answer = await session.start();
        const output = text(at(answer.body, "output"));
        holds(output.includes("from-the-command"), `output: ${shown(output)}`);
      },
    },
  ],
});

/** 500, and `error` with code and message: the front end reads them without a check. */
export function isStartupError(answer: Answer, code: string): void {
  equal(answer.status, 500, `status code, answering ${shown(answer.text)}`);
  equal(
    at(answer.body, "error", "code"),
    code,
    `code in ${shown(answer.text)}`,
  );
  holds(text(at(answer.body, "error", "message")) !== "", "no error.message");
  const nulls = keys(answer.body).filter(
    (key) => at(answer.body, key) === null,
  );
  equal(nulls, [], "fields that are null");
}

interface TimedOut {
  readonly session: Session;
  readonly answer: Answer;
  readonly pid: number;
  readonly took_ms: number;
}

export async function timedOut(
  server: Server,
  mode: string,
  body: Readonly<Record<string, unknown>> = {},
): Promise<TimedOut> {
  const session = await Session.create(server, {
    kernel: [mode],
    body: { connection_timeout: 1, ...body },
  });
  const began = performance.now();
  const starting = session.start();
  // The status is `starting` a moment before there is a process.
  const pid = await until("process_id while it starts", () => session.pid(), {
    holds: (seen) => seen > 0,
    within_ms: 1_500,
  });
  const answer = await starting;
  return {
    session,
    answer,
    pid,
    took_ms: Math.round(performance.now() - began),
  };
}

function missingScript(server: Server): Promise<Session> {
  return Session.create(server, {
    body: {
      startup_environment: "script",
      startup_environment_arg: join(server.home, "no-such-script.sh"),
    },
  });
}
