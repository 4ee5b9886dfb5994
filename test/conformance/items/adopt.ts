/** Adoption of kernels that the server did not start, with the session's key or with their own. */
import { randomUUID } from "node:crypto";
import { createServer } from "node:net";
import type { AddressInfo, Server as Listener } from "node:net";

import { at, equal, holds, shown } from "../harness/check.ts";
import { life } from "../harness/channel.ts";
import type { Ground } from "../harness/ground.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import { settled } from "../harness/request.ts";
import type { Answer } from "../harness/request.ts";
import type { Server } from "../harness/server.ts";
import { Session } from "../harness/session.ts";
import { connectionInfo, isError } from "./rest.ts";

interface World {
  readonly ground: Ground;
  readonly server: Server;
}

export const group = outline<World>({
  id: "ADOPT",
  open: async (ground) => ({ ground, server: await ground.start() }),
  items: [
    {
      id: "ADOPT-01",
      claim:
        "a kernel started on the session's own connection_info is adopted: 200 with its kernel info",
      source: KALLICHORE,
      mark: "same",
      run: async ({ ground, server }) => {
        const session = await adopting(server);
        const path = session.path("connection_info");
        const info = (await server.request("GET", path)).body;
        ground.adoptable("obedient", info);
        const answer = await adopted(session, info);
        equal(
          at(answer.body, "implementation"),
          "scripted",
          shown(answer.body),
        );
        const channel = await session.channel();
        equal(
          at((await channel.run("")).reply, "status"),
          "ok",
          "an execution",
        );
      },
    },
    {
      id: "ADOPT-02",
      claim: "a kernel with its own key is adopted with that key",
      source: FAULT,
      mark: "mended",
      run: async ({ ground, server }) => {
        const { session } = await foreign(ground, server);
        const channel = await session.channel();
        equal(
          at((await channel.run("print on")).reply, "status"),
          "ok",
          "an execution",
        );
      },
    },
    {
      id: "ADOPT-03",
      claim:
        "after adoption: `ready` or `idle`, no process_id, kernel_info filled",
      source: KALLICHORE,
      mark: "same",
      run: async ({ ground, server }) => {
        const session = await adopting(server);
        const path = session.path("connection_info");
        const info = (await server.request("GET", path)).body;
        ground.adoptable("obedient", info);
        await adopted(session, info);
        await session.becomes(["ready", "idle"]);
        const details = await session.details();
        holds(
          [undefined, 0].includes(at(details, "process_id") as undefined),
          "process_id",
        );
        equal(
          at(details, "kernel_info", "implementation"),
          "scripted",
          "kernel_info",
        );
      },
    },
    {
      id: "ADOPT-04",
      claim:
        "when an adopted kernel ends: status `exited`, then exited 0, once",
      source: KALLICHORE,
      mark: "same",
      run: async ({ ground, server }) => {
        const session = await adopting(server);
        const path = session.path("connection_info");
        const info = (await server.request("GET", path)).body;
        const kernel = ground.adoptable("obedient", info);
        await adopted(session, info);
        const channel = await session.channel();
        await channel.run("");
        kernel.kill("SIGKILL");
        await channel.event("exited", 0, { within_ms: 15_000 });
        await session.becomes(["exited"]);
        const ends = life(channel.frames).filter((event) =>
          event.includes("exited"),
        );
        equal(ends, ["status:exited", "exited:0"], "the events of its end");
      },
    },
    {
      id: "ADOPT-05",
      claim:
        "kill of an adopted session is 400 KS-12, interrupt by signal 400 KS-10",
      source: KALLICHORE,
      mark: "same",
      run: async ({ ground, server }) => {
        const session = await adopting(server);
        const path = session.path("connection_info");
        const info = (await server.request("GET", path)).body;
        ground.adoptable("obedient", info);
        await adopted(session, info);
        isError(await session.post("kill"), 400, "KS-12");
        isError(await session.post("interrupt"), 400, "KS-10");
      },
    },
    {
      id: "ADOPT-06",
      claim:
        "an adoption without a listening kernel: 500 Error KS-6 or KS-7, within connection_timeout",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await adopting(server, { connection_timeout: 1 });
        isAdoptFailure(
          await adopted(session, { ...connectionInfo(), ...(await free()) }),
        );
      },
    },
    {
      id: "ADOPT-07",
      claim:
        "an adoption of a kernel that never answers ends within connection_timeout too",
      source: FAULT,
      mark: "mended",
      run: async ({ ground, server }) => {
        const session = await adopting(server, { connection_timeout: 1 });
        const info = { ...connectionInfo(), ...(await free()) };
        ground.adoptable("mute", info);
        isAdoptFailure(await adopted(session, info));
      },
    },
    {
      id: "ADOPT-08",
      claim: "a wrong key is a failure within the timeout",
      source: FAULT,
      mark: "mended",
      run: async ({ ground, server }) => {
        const session = await adopting(server, { connection_timeout: 1 });
        const info = {
          ...connectionInfo(),
          ...(await free()),
          key: randomUUID(),
        };
        ground.adoptable("obedient", info);
        isAdoptFailure(await adopted(session, { ...info, key: "another key" }));
      },
    },
    {
      id: "ADOPT-09",
      claim: "an adopted kernel is interrupted by message",
      source: KALLICHORE,
      mark: "same",
      run: async ({ ground, server }) => {
        const session = await adopting(server, { interrupt_mode: "message" });
        const path = session.path("connection_info");
        const info = (await server.request("GET", path)).body;
        ground.adoptable("obedient", info);
        await adopted(session, info);
        const channel = await session.channel();
        const msg_id = channel.execute("sleep 60");
        await channel.busy(msg_id);
        equal((await session.post("interrupt")).status, 200, "interrupt");
        equal(at(await channel.reply(msg_id), "status"), "error", "the reply");
      },
    },
    {
      id: "ADOPT-10",
      claim: "an adopted kernel is listed with its own key in connection_info",
      source: FAULT,
      mark: "mended",
      run: async ({ ground, server }) => {
        const { session, info } = await foreign(ground, server);
        const answer = await server.request(
          "GET",
          session.path("connection_info"),
        );
        equal(at(answer.body, "key"), at(info, "key"), "key");
        equal(
          at(answer.body, "shell_port"),
          at(info, "shell_port"),
          "shell_port",
        );
      },
    },
  ],
});

function adopting(
  server: Server,
  body: Readonly<Record<string, unknown>> = {},
): Promise<Session> {
  const wanted = { argv: [], connection_timeout: 10, ...body };
  return Session.create(server, { body: wanted });
}

function adopted(session: Session, body: unknown): Promise<Answer> {
  const call = { body, timeout_ms: 15_000 };
  return session.server.request("PUT", session.path("adopt"), call);
}

/** An adopted kernel with another key than the session's. */
async function foreign(ground: Ground, server: Server) {
  const session = await adopting(server);
  const info = { ...connectionInfo(), ...(await free()), key: randomUUID() };
  ground.adoptable("obedient", info);
  const answer = await adopted(session, info);
  equal(answer.status, 200, `adopt, answering ${shown(answer.text)}`);
  return { session, info };
}

/** An Error, not a StartupError. */
function isAdoptFailure(answer: Answer): void {
  equal(answer.status, 500, `status code, answering ${shown(answer.text)}`);
  const code = at(answer.body, "code");
  holds(code === "KS-6" || code === "KS-7", `code in ${shown(answer.text)}`);
  holds(at(answer.body, "error") === undefined, "it is a StartupError");
}

/** Five ports that were free a moment ago. */
async function free(): Promise<Record<string, number>> {
  const listeners: Listener[] = [];
  const ports: Record<string, number> = {};
  for (const name of ["shell", "iopub", "stdin", "control", "hb"]) {
    const listener = createServer();
    const { promise, resolve } = settled<undefined>();
    listener.listen(0, "127.0.0.1", () => {
      resolve(undefined);
    });
    await promise;
    listeners.push(listener);
    ports[`${name}_port`] = (listener.address() as AddressInfo).port;
  }
  for (const listener of listeners) listener.close();
  return ports;
}
