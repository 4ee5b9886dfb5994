/** Channels of a server on a Unix socket: per-session sockets, and the channel on the server's own socket. */
import { once } from "node:events";
import { statSync } from "node:fs";
import { connect } from "node:net";

import { at, equal, holds, keys, skip, text } from "../harness/check.ts";
import { eventName, executeContent, knock } from "../harness/channel.ts";
import {
  FAULT,
  type Item,
  KALLICHORE,
  group as outline,
} from "../harness/item.ts";
import { masked, PlainClient } from "../harness/plain.ts";
import { until } from "../harness/request.ts";
import type { Server } from "../harness/server.ts";
import { Session, newId } from "../harness/session.ts";
import { disconnected } from "./channels.ts";

interface World {
  readonly server: Server;
  readonly session: Session;
  readonly socket: string;
}

export const group = outline<World>({
  id: "UNIX",
  open: async (ground) => {
    const server = await ground.start({ transport: "socket" });
    const session = await Session.started(server);
    return {
      server,
      session,
      socket: text(at(server.connection, "socket_path")),
    };
  },
  items: [
    {
      id: "UNIX-01",
      claim:
        "GET channels answers 200 with a JSON string, an absolute path or a ws+unix address",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server, session }) => {
        const answer = await server.request("GET", session.path("channels"));
        equal(answer.status, 200, "status code");
        const place = text(answer.body);
        holds(/^(\/|ws\+unix:)/.test(place), `body: ${answer.text}`);
        holds(
          !place.startsWith("/") || statSync(place).isSocket(),
          `${place} is no socket`,
        );
      },
    },
    {
      id: "UNIX-02",
      claim: "an execution over the returned address",
      source: KALLICHORE,
      mark: "same",
      run: async ({ session }) => {
        const channel = await session.channel();
        equal(
          at((await channel.run("print hi")).reply, "status"),
          "ok",
          "the reply",
        );
        await channel.close();
      },
    },
    {
      id: "UNIX-03",
      claim: "any request path is accepted on a per-session socket",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server, session }) => {
        const place = await perSession(server, session);
        for (const path of [
          "/",
          "/anything/at/all",
          "/sessions/other/channels",
        ]) {
          const headers = server.authorization();
          const { status, channel } = await knock(
            `ws+unix://${place}:${path}`,
            headers,
          );
          equal(status, 101, "the upgrade");
          await channel?.run("");
          await channel?.close();
        }
      },
    },
    upgradesOnMain(
      "UNIX-04",
      "/api/channels/{id} upgrades on the server's own socket",
      "Positron's third form of address",
      ({ id }) => `/api/channels/${id}`,
    ),
    {
      id: "UNIX-13",
      claim:
        "GET channels with the headers of an upgrade is answered as without them: 200 and the address",
      source: "Kallichore's own tests",
      mark: "same",
      run: async ({ server, session }) => {
        const headers = {
          connection: "Upgrade",
          upgrade: "websocket",
          "sec-websocket-version": "13",
          "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        };
        const path = session.path("channels");
        const plain = await server.request("GET", path);
        const answer = await server.request("GET", path, { headers });
        equal(answer.status, 200, "status code");
        equal(answer.text, plain.text, "the address");
      },
    },
    upgradesOnMain(
      "UNIX-14",
      "/sessions/{id}/channels upgrades on the server's own socket for a client that makes its own key",
      "WebSocket libraries, which can do nothing with an address",
      (session) => session.path("channels"),
    ),
    {
      id: "UNIX-15",
      claim:
        "frames without a handshake are accepted on a per-session socket, from the first byte on",
      source: "Kallichore's own tests",
      mark: "mended",
      run: async ({ server, session }) => {
        const client = new PlainClient(await perSession(server, session));
        const ids = [newId(), newId()];
        client.write(Buffer.concat(ids.map((id) => masked(execution(id)))));
        for (const id of ids) await replied(client, id);
        client.leave();
        await disconnected(session);
      },
    },
    {
      id: "UNIX-16",
      claim:
        "a client without a handshake that sends nothing gets the session's messages after 5 s",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server, session }) => {
        const client = new PlainClient(await perSession(server, session));
        const connected = async () => at(await session.details(), "connected");
        await until("connected", connected, { holds: (seen) => seen === true });
        const id = newId();
        client.write(masked(execution(id)));
        await replied(client, id);
        client.leave();
        await disconnected(session);
      },
    },
    {
      id: "UNIX-17",
      claim:
        "with the RFC's example key, no frame arrives in one piece with the answer to the handshake",
      source: "Kallichore's own tests, which would lose it",
      mark: "mended",
      run: async ({ server, session }) => {
        const place = await perSession(server, session);
        const socket = connect(place);
        socket.write(
          `GET / HTTP/1.1\r\nHost: localhost\r\n${EXAMPLE.join("\r\n")}\r\n\r\n`,
        );
        const [answer] = (await once(socket, "data")) as [Buffer];
        socket.destroy();
        holds(
          /^HTTP\/1\.1 101 [^]*\r\n\r\n$/.test(answer.toString("latin1")),
          `the first piece has ${answer.length} bytes`,
        );
        await disconnected(session);
      },
    },
    {
      id: "UNIX-05",
      claim: "on the server's own socket an upgrade without the token is 401",
      source: KALLICHORE,
      mark: "same",
      run: async ({ session, socket }) => {
        const { status } = await knock(
          `ws+unix://${socket}:${session.path("channels")}`,
          {},
        );
        equal(status, 401, "the upgrade's answer");
      },
    },
    {
      id: "UNIX-06",
      claim: "GET channels without the token is 401, of an unknown session 404",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server, session }) => {
        const path = session.path("channels");
        equal(
          (await server.anonymous("GET", path)).status,
          401,
          "without the token",
        );
        const unknown = "/sessions/no-such-session/channels";
        equal(
          (await server.request("GET", unknown)).status,
          404,
          "an unknown session",
        );
      },
    },
    {
      id: "UNIX-07",
      claim: "sessions whose ids begin alike have their own sockets",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const prefix = newId();
        const sessions = [];
        for (const end of ["a", "b", "é"])
          sessions.push(
            await Session.started(server, {
              body: { session_id: `${prefix}-${end}` },
            }),
          );
        const channels = [];
        for (const session of sessions) channels.push(await session.channel());
        for (const [i, channel] of channels.entries()) {
          const pid = await sessions[i]?.pid();
          equal(
            await channel.result("pid"),
            pid,
            "the pid at the end of the channel",
          );
        }
      },
    },
    {
      id: "UNIX-08",
      claim:
        "two clients on one session's sockets: the second displaces the first",
      source: "positron#5245",
      mark: "same",
      run: async ({ session }) => {
        const first = await session.channel();
        const second = await session.channel();
        await first.closed;
        const last = first.frames.at(-1);
        equal(
          last === undefined ? "" : eventName(last),
          "clientDisconnected",
          "last frame",
        );
        await second.run("");
        await second.close();
      },
    },
    {
      id: "UNIX-09",
      claim:
        "socket_path and connected are reported while a client is connected, and only then",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server, session }) => {
        const place = await perSession(server, session);
        const headers = server.authorization();
        const { channel } = await knock(`ws+unix://${place}:/`, headers);
        await channel?.run("");
        const there = await session.details();
        equal(at(there, "connected"), true, "connected");
        equal(at(there, "socket_path"), place, "socket_path");
        await channel?.close();
        await disconnected(session);
        holds(
          !keys(await session.details()).includes("socket_path"),
          "socket_path after",
        );
      },
    },
    {
      id: "UNIX-10",
      claim: "only its user can open a per-session socket",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server, session }) => {
        const { mode } = statSync(await perSession(server, session));
        equal((mode & 0o077).toString(8), "0", "mode for others");
      },
    },
    {
      id: "UNIX-11",
      claim: "requesting the address a hundred times costs no file descriptors",
      source: FAULT,
      mark: "mended",
      run: async ({ server, session }) => {
        const ask = () => server.request("GET", session.path("channels"));
        const places = new Set<string>();
        for (let i = 0; i < 100; i += 1) places.add((await ask()).text);
        equal(places.size, 1, "different addresses");
      },
    },
    {
      id: "UNIX-12",
      claim: "the session's socket is removed when the session is deleted",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const session = await Session.started(server);
        const place = await perSession(server, session);
        const headers = server.authorization();
        const { channel } = await knock(`ws+unix://${place}:/`, headers);
        await session.post("kill");
        await channel?.event("exited");
        await channel?.close();
        await session.becomes(["exited"]);
        equal((await session.delete()).status, 200, "delete");
        holds(
          statSync(place, { throwIfNoEntry: false }) === undefined,
          `${place} is there`,
        );
      },
    },
  ],
});

function upgradesOnMain(
  id: string,
  claim: string,
  source: string,
  pathOf: (session: Session) => string,
): Item<World> {
  return {
    ...{ id, claim, source },
    mark: "mended",
    run: async ({ server, session, socket }) => {
      const { status, channel } = await knock(
        `ws+unix://${socket}:${pathOf(session)}`,
        server.authorization(),
      );
      equal(status, 101, "the upgrade");
      await channel?.run("");
      await channel?.close();
    },
  };
}

const EXAMPLE = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

function execution(msg_id: string): string {
  return JSON.stringify({
    header: { msg_id, msg_type: "execute_request" },
    parent_header: null,
    channel: "shell",
    content: executeContent("print hi"),
    metadata: {},
    buffers: [],
  });
}

async function replied(client: PlainClient, msg_id: string): Promise<void> {
  const isReply = (frame: string) =>
    frame.includes('"execute_reply"') && frame.includes(msg_id);
  const ask = () => Promise.resolve(client.received.some(isReply));
  await until(`a reply to ${msg_id}`, ask, { holds: (seen) => seen });
}

async function perSession(server: Server, session: Session): Promise<string> {
  const place = text(
    (await server.request("GET", session.path("channels"))).body,
  );
  if (!place.startsWith("/")) skip("this server gives no per-session sockets");
  return place;
}
