/** JEP 66: kernels that choose their own ports and report them, in both dialects, and invalid registrations. */
import { at, equal, holds, keys, shown, text } from "../harness/check.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import type { Item, Mark } from "../harness/item.ts";
import { gone } from "../harness/processes.ts";
import type { Server } from "../harness/server.ts";
import { Session } from "../harness/session.ts";
import { isStartupError, timedOut } from "./failures.ts";

interface World {
  readonly server: Server;
}

const MODERN = { protocol_version: "5.5" };

export const group = outline<World>({
  id: "REG",
  open: async (ground) => ({ server: await ground.start() }),
  items: [
    {
      id: "REG-01",
      claim: "a registering kernel starts, executes and is restarted",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server, {
          kernel: ["registering"],
          body: MODERN,
        });
        const channel = await session.channel();
        const first = await channel.result("run");
        equal((await session.restart()).status, 200, "restart");
        holds((await channel.result("run")) !== first, "it is the same run");
      },
    },
    {
      id: "REG-02",
      claim:
        "handshakeCompleted is sent, with the session's id and the connection info",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server, {
          kernel: ["registering"],
          body: MODERN,
        });
        const channel = await session.channel();
        await session.start();
        const frame = await channel.event("handshakeCompleted");
        equal(at(frame.body, "handshakeCompleted", 0), session.id, "the id");
        const reported = at(frame.body, "handshakeCompleted", 1);
        const requested = await server.request(
          "GET",
          session.path("connection_info"),
        );
        for (const key of keys(requested.body))
          equal(at(reported, key), at(requested.body, key), key);
      },
    },
    {
      id: "REG-03",
      claim:
        "protocol 6.0 registers; 5.3 and 5.4 get a classic connection file",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        await Session.started(server, {
          kernel: ["registering"],
          body: { protocol_version: "6.0" },
        });
        await Session.started(server, { body: { protocol_version: "5.4" } });
      },
    },
    {
      id: "REG-04",
      claim:
        "the dialect of protocol 5.6 (one content frame, ports as strings) is supported too",
      source: "JEP 66 as xeus-zmq speaks it",
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server, {
          kernel: ["registering-plain"],
          body: { protocol_version: "5.6" },
        });
        const channel = await session.channel();
        equal(
          at((await channel.run("")).reply, "status"),
          "ok",
          "an execution",
        );
      },
    },
    {
      id: "REG-05",
      claim: "no registration within connection_timeout: 500 KS-17",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const { answer, took_ms } = await timedOut(server, "deaf", MODERN);
        isStartupError(answer, "KS-17");
        holds(took_ms < 8_000, `it took ${took_ms} ms of 1000`);
      },
    },
    {
      id: "REG-06",
      claim:
        "a kernel that did not register is killed, and the session `exited`",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const { session, pid } = await timedOut(server, "deaf", MODERN);
        await gone(pid);
        await session.becomes(["exited"]);
      },
    },
    {
      id: "REG-07",
      claim:
        "exit before the registration: 500 KS-14 with exit code and output",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.create(server, {
          kernel: ["stillborn", "4", "1"],
          body: MODERN,
        });
        const answer = await session.start();
        isStartupError(answer, "KS-14");
        equal(at(answer.body, "exit_code"), 4, "exit_code");
        const output = text(at(answer.body, "output"));
        holds(output.includes("stillborn"), `output: ${shown(output)}`);
      },
    },
    wrong(
      "REG-08",
      "something that is no message",
      "registering-garbage",
      "same",
    ),
    wrong(
      "REG-09",
      "a message of another type",
      "registering-othertype",
      "same",
    ),
    wrong(
      "REG-10",
      "a registration signed with another key",
      "registering-missigned",
      "same",
    ),
    wrong(
      "REG-11",
      "a registration without a signature",
      "registering-unsigned",
      "mended",
    ),
  ],
});

function wrong(
  id: string,
  what: string,
  mode: string,
  mark: Mark,
): Item<World> {
  return {
    id,
    claim: `${what} is no registration: 500 KS-17`,
    source: mark === "same" ? KALLICHORE : FAULT,
    mark,
    run: async ({ server }) => {
      const { answer, took_ms } = await timedOut(server, mode, MODERN);
      isStartupError(answer, "KS-17");
      holds(took_ms < 8_000, `it took ${took_ms} ms of 1000`);
    },
  };
}
