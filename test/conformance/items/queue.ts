/** The execution queue: which requests wait, what clients see of it, what advances it, and what happens to dropped requests. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { at, equal, holds, keys, list, shown, text } from "../harness/check.ts";
import {
  executeContent,
  executionState,
  msgType,
  parentId,
} from "../harness/channel.ts";
import type { Channel } from "../harness/channel.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import { until } from "../harness/request.ts";
import type { Server } from "../harness/server.ts";
import { Session } from "../harness/session.ts";

interface World {
  readonly server: Server;
}

export const group = outline<World>({
  id: "QUEUE",
  open: async (ground) => ({ server: await ground.start() }),
  items: [
    {
      id: "QUEUE-01",
      claim:
        "a waiting request is announced with executionQueued, and listed in execution_queue",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const { session, channel, active } = await occupied(server);
        const second = channel.execute("print two");
        const third = channel.execute("print three");
        await channel.event("executionQueued", second);
        await channel.event("executionQueued", third);
        const seen = at(await session.details(), "execution_queue");
        equal(at(seen, "length"), 2, "length");
        equal(at(seen, "active", "header", "msg_id"), active, "active");
        const pending = list(at(seen, "pending"));
        const ids = pending.map((message) => at(message, "header", "msg_id"));
        equal(ids, [second, third], "pending");
        equal(
          at(seen, "pending", 0, "content", "code"),
          "print two",
          "the pending code",
        );
      },
    },
    {
      id: "QUEUE-02",
      claim: "queue entries keep the complete header",
      source: "Positron restores a busy session from the active header",
      mark: "mended",
      run: async ({ server }) => {
        const { session } = await occupied(server);
        const header = at(
          await session.details(),
          "execution_queue",
          "active",
          "header",
        );
        for (const key of [
          "msg_id",
          "msg_type",
          "session",
          "username",
          "version",
          "date",
        ])
          holds(text(at(header, key)) !== "", `no ${key} in ${shown(header)}`);
      },
    },
    {
      id: "QUEUE-03",
      claim:
        "queued requests run one after the other, in order, and all are answered",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const { session, channel, active, open } = await occupied(server);
        const ids = [active];
        for (let i = 0; i < 20; i += 1) ids.push(channel.execute(`print ${i}`));
        open();
        for (const id of ids) {
          equal(at(await channel.reply(id), "status"), "ok", "a reply");
          await channel.idle(id);
        }
        equal(
          await channel
            .result("received")
            .then((all) => list(all).slice(0, 21)),
          ids,
          "order",
        );
        const ask = async () => at(await session.details(), "execution_queue");
        const seen = await until("an empty queue", ask, {
          holds: (queue) =>
            at(queue, "length") === 0 && !keys(queue).includes("active"),
        });
        equal(at(seen, "pending"), [], "pending");
      },
    },
    {
      id: "QUEUE-04",
      claim: "the idle of another request does not advance the queue",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const { session, channel, active } = await occupied(server);
        const second = channel.execute("print two");
        await channel.event("executionQueued", second);
        for (const way of ["control", "control", "control"]) {
          const request = {
            msg_type: "comm_info_request",
            content: {},
            channel: way,
          };
          await channel.idle(channel.send(request));
        }
        const seen = at(await session.details(), "execution_queue");
        equal(at(seen, "active", "header", "msg_id"), active, "active");
        equal(at(seen, "length"), 1, "length");
      },
    },
    {
      id: "QUEUE-05",
      claim:
        "an error drops the waiting requests, as the kernel would: each is answered `aborted` and never sent",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const { channel, active, open } = await occupied(
          server,
          "error on purpose",
        );
        const second = channel.execute("print two");
        const third = channel.execute("print three");
        await channel.event("executionQueued", third);
        open();
        equal(
          at(await channel.reply(active), "status"),
          "error",
          "the failing one",
        );
        for (const id of [second, third]) await aborted(channel, id);
        const received = list(await channel.result("received"));
        holds(
          !received.includes(second),
          "a dropped request reached the kernel",
        );
      },
    },
    {
      id: "QUEUE-06",
      claim: "an error of a request with stop_on_error false drops nothing",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const { channel, open } = await occupied(server, "error on purpose", {
          stop_on_error: false,
        });
        const second = channel.execute("print two");
        await channel.event("executionQueued", second);
        open();
        equal(at(await channel.reply(second), "status"), "ok", "the second");
      },
    },
    {
      id: "QUEUE-07",
      claim:
        "an interrupt by signal drops the waiting requests, each answered `aborted`",
      source: FAULT,
      mark: "mended",
      run: ({ server }) => interrupted(server, "signal"),
    },
    {
      id: "QUEUE-08",
      claim:
        "an interrupt by message drops the waiting requests, each answered `aborted`",
      source: FAULT,
      mark: "mended",
      run: ({ server }) => interrupted(server, "message"),
    },
    {
      id: "QUEUE-09",
      claim:
        "requests that wait when the kernel exits are answered `aborted`, and the queue is empty",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const { session, channel } = await occupied(server);
        const second = channel.execute("print two");
        await channel.event("executionQueued", second);
        await session.post("kill");
        await aborted(channel, second);
        await session.becomes(["exited"]);
        const seen = at(await session.details(), "execution_queue");
        equal(seen, { length: 0, pending: [] }, "execution_queue");
      },
    },
    {
      id: "QUEUE-10",
      claim:
        "other requests do not wait in the queue while an execution is active",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const { channel } = await occupied(server);
        const request = {
          msg_type: "comm_info_request",
          content: {},
          channel: "control",
        };
        equal(
          at(await channel.reply(channel.send(request)), "status"),
          "ok",
          "a reply",
        );
      },
    },
    {
      id: "QUEUE-11",
      claim: "the queue continues when its client has left",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const { session, channel, open } = await occupied(server);
        const last = channel.execute("print two");
        await channel.event("executionQueued", last);
        await channel.close();
        open();
        const again = await session.channel();
        equal(
          at(await again.reply(last), "status"),
          "ok",
          "the reply of the second",
        );
      },
    },
    {
      id: "QUEUE-12",
      claim:
        "an aborted reply is a complete Jupyter message on shell, followed by the idle of its request",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const { channel, open } = await occupied(server, "error on purpose");
        const second = channel.execute("print two");
        await channel.event("executionQueued", second);
        open();
        await aborted(channel, second);
        const frame = channel.frames.find(
          (heard) =>
            parentId(heard) === second && msgType(heard) === "execute_reply",
        );
        equal(at(frame?.body, "channel"), "shell", "channel");
        holds(text(at(frame?.body, "header", "msg_id")) !== "", "no msg_id");
        equal(at(frame?.body, "buffers"), [], "buffers");
        await channel.waitFor(
          "its idle",
          (heard) =>
            parentId(heard) === second && executionState(heard) === "idle",
        );
      },
    },
  ],
});

interface Occupied {
  readonly session: Session;
  readonly channel: Channel;
  readonly active: string;
  /** Lets the active execution continue. */
  readonly open: () => void;
}

/** A session whose kernel executes until it is released, and then does one thing more. */
async function occupied(
  server: Server,
  then = "",
  content: Readonly<Record<string, unknown>> = {},
  body: Readonly<Record<string, unknown>> = {},
): Promise<Occupied> {
  const session = await Session.started(server, { body });
  const channel = await session.channel();
  const gate = join(server.home, `gate-${session.id}`);
  const active = channel.send({
    msg_type: "execute_request",
    content: { ...executeContent(`wait ${gate}\n${then}`), ...content },
  });
  await channel.busy(active);
  const open = () => {
    writeFileSync(gate, "");
  };
  return { session, channel, active, open };
}

async function aborted(channel: Channel, msg_id: string): Promise<void> {
  equal(
    at(await channel.reply(msg_id), "status"),
    "aborted",
    "a dropped request's reply",
  );
}

async function interrupted(
  server: Server,
  interrupt_mode: string,
): Promise<void> {
  const { session, channel, active } = await occupied(
    server,
    "",
    {},
    { interrupt_mode },
  );
  const second = channel.execute("print two");
  const third = channel.execute("print three");
  await channel.event("executionQueued", third);
  equal((await session.post("interrupt")).status, 200, "interrupt");
  equal(
    at(await channel.reply(active), "status"),
    "error",
    "the interrupted one",
  );
  for (const id of [second, third]) await aborted(channel, id);
  equal(
    at((await channel.run("")).reply, "status"),
    "ok",
    "a request after it",
  );
}
