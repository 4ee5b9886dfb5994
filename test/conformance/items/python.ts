/** The same with another kernel: ipykernel, if a Python has it. */
import { setTimeout as delay } from "node:timers/promises";
import { at, equal, holds, keys, shown, skip, text } from "../harness/check.ts";
import { msgType, streamed } from "../harness/channel.ts";
import type { Executed } from "../harness/channel.ts";
import { KALLICHORE, group as outline } from "../harness/item.ts";
import { until } from "../harness/request.ts";
import type { Server } from "../harness/server.ts";
import { Session } from "../harness/session.ts";

interface World {
  readonly server: Server;
  readonly python: string | undefined;
}

/** Time to reach the loop: an interrupt during ipykernel's print is lost there. */
const PRINTED_MS = 500;

const SLOW = { within_ms: 20_000 };

export const group = outline<World>({
  id: "PYTHON",
  needsKernels: false,
  open: async (ground) => ({
    server: await ground.start(),
    python: ground.settings.python,
  }),
  items: [
    {
      id: "PYTHON-01",
      claim: "ipykernel starts, answers with its kernel info, and executes",
      source: KALLICHORE,
      mark: "same",
      timeout_ms: 60_000,
      run: async (world) => {
        const session = await created(world, "signal");
        const answer = await session.start();
        equal(answer.status, 200, shown(answer.text));
        equal(
          at(answer.body, "language_info", "name"),
          "python",
          "language_info.name",
        );
        const channel = await session.channel();
        equal(resultOf(await channel.run("6 * 7", SLOW)), "42", "the result");
        equal(
          streamed((await channel.run("print('hé')", SLOW)).frames),
          "hé\n",
          "print",
        );
      },
    },
    {
      id: "PYTHON-02",
      claim: "an interrupt by signal is a KeyboardInterrupt in a running loop",
      source: KALLICHORE,
      mark: "same",
      timeout_ms: 60_000,
      run: async (world) => {
        const session = await created(world, "signal");
        await session.start();
        const channel = await session.channel();
        const msg_id = channel.execute("print('on')\nwhile True: pass");
        await channel.waitFor(
          "on",
          (frame) => msgType(frame) === "stream",
          SLOW,
        );
        await delay(PRINTED_MS);
        equal((await session.post("interrupt")).status, 200, "interrupt");
        const reply = await channel.reply(msg_id, SLOW);
        equal(at(reply, "ename"), "KeyboardInterrupt", "ename");
      },
    },
    {
      id: "PYTHON-03",
      claim: "a restart gives an empty namespace",
      source: KALLICHORE,
      mark: "same",
      timeout_ms: 60_000,
      run: async (world) => {
        const session = await created(world, "signal");
        await session.start();
        const channel = await session.channel();
        await channel.run("here = 1", SLOW);
        equal((await session.restart()).status, 200, "restart");
        const { reply } = await channel.run("here", SLOW);
        equal(at(reply, "ename"), "NameError", "ename");
      },
    },
    {
      id: "PYTHON-04",
      claim: "input() requests input on stdin and gets its answer",
      source: KALLICHORE,
      mark: "same",
      timeout_ms: 60_000,
      run: async (world) => {
        const session = await created(world, "signal");
        await session.start();
        const channel = await session.channel();
        const msg_id = channel.execute("print(input('who? '))");
        const requested = await channel.waitFor(
          "input_request",
          (frame) => msgType(frame) === "input_request",
          SLOW,
        );
        channel.send({
          msg_type: "input_reply",
          channel: "stdin",
          parent_header: at(requested.body, "header"),
          content: { value: "Ada" },
        });
        await channel.idle(msg_id, SLOW);
        holds(
          streamed(channel.frames).includes("Ada"),
          "no answer in the output",
        );
      },
    },
    {
      id: "PYTHON-05",
      claim:
        "an error drops the waiting requests, and the kernel answers the next request",
      source: KALLICHORE,
      mark: "same",
      timeout_ms: 60_000,
      run: async (world) => {
        const session = await created(world, "signal");
        await session.start();
        const channel = await session.channel();
        const failing = channel.execute("import time; time.sleep(.5); 1/0");
        const waiting = channel.execute("2");
        equal(
          at(await channel.reply(failing, SLOW), "ename"),
          "ZeroDivisionError",
          "ename",
        );
        await channel.reply(waiting, SLOW);
        equal(resultOf(await channel.run("3", SLOW)), "3", "the next request");
      },
    },
    {
      id: "PYTHON-06",
      claim: "an interrupt right after the code was sent is not lost",
      source: "kernels forget a signal between a request and its code",
      mark: "mended",
      timeout_ms: 60_000,
      run: async (world) => {
        const session = await created(world, "signal");
        await session.start();
        const channel = await session.channel();
        for (let times = 0; times < 10; times += 1) {
          const msg_id = channel.execute("while True: pass");
          const ask = async () =>
            at(await session.details(), "execution_queue");
          await until("the code sent", ask, {
            holds: (queue) => keys(queue).includes("active"),
          });
          equal((await session.post("interrupt")).status, 200, "interrupt");
          const reply = await channel.reply(msg_id, { within_ms: 5_000 });
          equal(at(reply, "ename"), "KeyboardInterrupt", "ename");
        }
      },
    },
  ],
});

function created(
  { server, python }: World,
  interrupt_mode: string,
): Promise<Session> {
  if (python === undefined)
    skip("`python3 -m ipykernel --version` does not work here");
  const argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"];
  const body = {
    argv,
    interrupt_mode,
    language: "python",
    connection_timeout: 40,
  };
  return Session.create(server, { body });
}

function resultOf({ frames }: Executed): string {
  const frame = frames.find(
    (received) => msgType(received) === "execute_result",
  );
  return text(at(frame?.body, "content", "data", "text/plain"));
}
