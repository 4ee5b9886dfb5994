/** Interrupts: by a signal to the kernel's group, by a message on control, and of idle kernels. */
import { at, equal, holds, text } from "../harness/check.ts";
import { msgType } from "../harness/channel.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import type { Item } from "../harness/item.ts";
import type { Server } from "../harness/server.ts";
import { Session } from "../harness/session.ts";
import { isError } from "./rest.ts";

interface World {
  readonly server: Server;
}

export const group = outline<World>({
  id: "INT",
  open: async (ground) => ({ server: await ground.start() }),
  items: [
    stops("INT-01", "signal"),
    stops("INT-02", "message"),
    statusAgain("INT-03", "signal"),
    statusAgain("INT-04", "message"),
    {
      id: "INT-05",
      claim: "an interrupt ends the whole execution, not only the present step",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        const msg_id = channel.execute("sleep 0\nsleep 60\ninput never asked");
        await channel.busy(msg_id);
        await session.post("interrupt");
        equal(at(await channel.reply(msg_id), "status"), "error", "the reply");
      },
    },
    {
      id: "INT-06",
      claim: "an interrupt of an exited session is 400 KS-10, by signal",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await exited(server, "signal");
        isError(await session.post("interrupt"), 400, "KS-10");
      },
    },
    {
      id: "INT-07",
      claim:
        "in message mode too, and the next execution is not interrupted by it",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await exited(server, "message");
        isError(await session.post("interrupt"), 400, "KS-10");
        await session.start();
        const channel = await session.channel();
        equal(
          at((await channel.run("sleep 0.2")).reply, "status"),
          "ok",
          "the next run",
        );
      },
    },
    {
      id: "INT-08",
      claim:
        "interrupt_request over the channel is answered and stops the execution",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        const msg_id = channel.execute("sleep 60");
        await channel.busy(msg_id);
        const request = {
          msg_type: "interrupt_request",
          content: {},
          channel: "control",
        };
        equal(
          at(await channel.reply(channel.send(request)), "status"),
          "ok",
          "its reply",
        );
        equal(
          at(await channel.reply(msg_id), "status"),
          "error",
          "the execution's reply",
        );
      },
    },
    {
      id: "INT-09",
      claim: "ten interrupts at once do not end the kernel",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const channel = await session.channel();
        const msg_id = channel.execute("sleep 60");
        await channel.busy(msg_id);
        await Promise.all(
          Array.from({ length: 10 }, () => session.post("interrupt")),
        );
        equal(at(await channel.reply(msg_id), "status"), "error", "the reply");
        equal(
          at((await channel.run("print on")).reply, "status"),
          "ok",
          "after it",
        );
      },
    },
  ],
});

function stops(id: string, interrupt_mode: string): Item<World> {
  return {
    id,
    claim: `interrupt by ${interrupt_mode}: 200 null, the execution ends with an error, the kernel lives`,
    source: KALLICHORE,
    mark: "same",
    run: async ({ server }) => {
      const session = await Session.started(server, {
        body: { interrupt_mode },
      });
      const channel = await session.channel();
      const msg_id = channel.execute("sleep 60");
      await channel.busy(msg_id);
      const answer = await session.post("interrupt");
      equal([answer.status, answer.text], [200, "null"], "the answer");
      const reply = await channel.reply(msg_id);
      equal(at(reply, "ename"), "KeyboardInterrupt", "ename");
      await channel.idle(msg_id);
      const error = channel.frames.find((frame) => msgType(frame) === "error");
      equal(
        text(at(error?.body, "content", "ename")),
        "KeyboardInterrupt",
        "the error",
      );
      equal(
        at((await channel.run("")).reply, "status"),
        "ok",
        "an execution after it",
      );
    },
  };
}

/** The front end leaves its state `interrupting` only at a status event. */
function statusAgain(id: string, interrupt_mode: string): Item<World> {
  return {
    id,
    claim: `an interrupt by ${interrupt_mode} that changed nothing is followed by the status as it is`,
    source: "Positron waits for a status event after every interrupt",
    mark: "mended",
    run: async ({ server }) => {
      const session = await Session.started(server, {
        body: { interrupt_mode },
      });
      const channel = await session.channel();
      await channel.run("");
      await session.becomes(["idle"]);
      const from = channel.frames.length;
      equal((await session.post("interrupt")).status, 200, "interrupt");
      const frame = await channel.event("status", undefined, {
        from,
        within_ms: 3_000,
      });
      const status = text(at(frame.body, "status", "status"));
      holds(["idle", "busy"].includes(status), `status ${status}`);
      await channel.event("status", "idle", { from, within_ms: 3_000 });
    },
  };
}

async function exited(
  server: Server,
  interrupt_mode: string,
): Promise<Session> {
  const session = await Session.started(server, { body: { interrupt_mode } });
  await session.post("kill");
  await session.becomes(["exited"]);
  return session;
}
