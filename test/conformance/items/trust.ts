/** Trust: the token is required for everything except liveness, also for upgrades; hosts, origins, logs and files. */
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

import { at, equal, holds, keys, shown, text } from "../harness/check.ts";
import { knock } from "../harness/channel.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import type { Item, Mark } from "../harness/item.ts";
import { parsed } from "../harness/request.ts";
import type { Server } from "../harness/server.ts";
import { Session, newSession } from "../harness/session.ts";
import { connectionInfo, isError } from "./rest.ts";

interface World {
  readonly server: Server;
  readonly session: Session;
  readonly log: string;
}

export const group = outline<World>({
  id: "TRUST",
  open: async (ground) => {
    const server = await ground.start({
      args: ["--log-file", "some.log", "--log-level", "trace"],
    });
    const session = await Session.started(server);
    return { server, session, log: join(server.home, "some.log") };
  },
  items: [
    {
      id: "TRUST-01",
      claim: "GET /status needs no token",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        equal(
          (await server.anonymous("GET", "/status")).status,
          200,
          "without a token",
        );
        const headers = { authorization: "Bearer wrong" };
        const answer = await server.anonymous("GET", "/status", { headers });
        equal(answer.status, 200, "with a wrong token");
      },
    },
    closed("TRUST-02", "PUT /sessions", "same", newSession()),
    closed("TRUST-03", "DELETE /sessions/ID", "same"),
    closed("TRUST-04", "POST /sessions/ID/start", "same"),
    closed("TRUST-05", "POST /sessions/ID/restart", "same"),
    closed("TRUST-06", "POST /sessions/ID/kill", "same"),
    closed("TRUST-07", "POST /sessions/ID/interrupt", "same"),
    closed("TRUST-08", "PUT /sessions/ID/adopt", "same", connectionInfo()),
    closed("TRUST-09", "GET /sessions/ID/connection_info", "same"),
    closed("TRUST-10", "POST /shutdown", "same"),
    closed("TRUST-11", "GET /sessions", "mended"),
    closed("TRUST-12", "GET /sessions/ID", "mended"),
    closed("TRUST-13", "POST /client_heartbeat", "mended", {}),
    closed("TRUST-14", "GET /server_configuration", "mended"),
    closed("TRUST-15", "POST /server_configuration", "mended", {}),
    closed("TRUST-16", "GET /sessions/ID/channels", "mended"),
    {
      id: "TRUST-20",
      claim: "401 comes before 404",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const path = "/sessions/no-such-session/start";
        equal(
          (await server.anonymous("POST", path)).status,
          401,
          "status code",
        );
      },
    },
    {
      id: "TRUST-21",
      claim: "401 carries an Error body",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const answer = await server.anonymous("POST", "/shutdown");
        equal(answer.status, 401, "status code");
        holds(
          text(at(answer.body, "code")) !== "",
          `no code in ${shown(answer.text)}`,
        );
        isError(answer, 401, text(at(answer.body, "code")));
      },
    },
    {
      id: "TRUST-22",
      claim: "the word Bearer is accepted in any case",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const headers = { authorization: `bearer ${text(server.token)}` };
        const answer = await server.anonymous("GET", "/sessions", { headers });
        equal(answer.status, 200, "status code");
      },
    },
    {
      id: "TRUST-23",
      claim:
        "a part of the token, the token and more, or another scheme is 401",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const token = text(server.token);
        for (const authorization of [
          `Bearer ${token.slice(0, -1)}`,
          `Bearer ${token}x`,
          "Bearer ",
          `Basic ${token}`,
        ]) {
          const call = { headers: { authorization } };
          const answer = await server.anonymous("POST", "/shutdown", call);
          equal(answer.status, 401, "status code");
        }
      },
    },
    {
      id: "TRUST-24",
      claim:
        "an upgrade without the token is 401, and does not evict the owner",
      source: FAULT,
      mark: "mended",
      run: async ({ session }) => {
        const owner = await session.channel();
        const url = await session.url();
        for (const headers of [{}, { authorization: "Bearer wrong" }]) {
          const { status, channel } = await knock(url, headers);
          channel?.terminate();
          equal(status, 401, "the upgrade's answer");
        }
        const { reply } = await owner.run("print still here");
        equal(at(reply, "status"), "ok", "the owner's execution");
        await owner.close();
      },
    },
    {
      id: "TRUST-25",
      claim: "an upgrade for an unknown session is 404",
      source: FAULT,
      mark: "mended",
      run: async ({ server, session }) => {
        const url = (await session.url()).replace(
          session.id,
          "no-such-session",
        );
        const { status } = await knock(url, server.authorization());
        equal(status, 404, "the upgrade's answer");
      },
    },
    {
      id: "TRUST-26",
      claim:
        "GET channels over TCP without upgrade headers is refused, and does not evict the owner",
      source: FAULT,
      mark: "mended",
      run: async ({ server, session }) => {
        const owner = await session.channel();
        const answer = await server.request("GET", session.path("channels"));
        holds(
          [400, 426].includes(answer.status),
          `status code ${answer.status}`,
        );
        equal(
          at((await owner.run("")).reply, "status"),
          "ok",
          "the owner's execution",
        );
        await owner.close();
      },
    },
    {
      id: "TRUST-27",
      claim:
        "another Origin is refused, on requests that change something and on upgrades",
      source: FAULT,
      mark: "mended",
      run: async ({ server, session }) => {
        const headers = { origin: "https://evil.example" };
        const call = { headers, body: {} };
        const answer = await server.request("POST", "/client_heartbeat", call);
        holds(
          [401, 403].includes(answer.status),
          `POST: status code ${answer.status}`,
        );
        const all = { ...server.authorization(), ...headers };
        const { status, channel } = await knock(await session.url(), all);
        channel?.terminate();
        holds([401, 403].includes(status), `upgrade: status code ${status}`);
      },
    },
    {
      id: "TRUST-28",
      claim: "over TCP a Host that is not loopback is refused",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const headers = { host: "evil.example" };
        const { status } = await server.request("GET", "/sessions", {
          headers,
        });
        holds([400, 401, 403, 421].includes(status), `status code ${status}`);
      },
    },
    {
      id: "TRUST-29",
      claim: "lists do not show environments; a session's details do",
      source: FAULT,
      mark: "mended",
      run: async ({ server, session }) => {
        const listing = await server.request("GET", "/sessions");
        holds(!listing.text.includes('"PATH"'), "PATH is in the listing");
        const env = at(await session.details(), "initial_env");
        holds(keys(env).includes("PATH"), "initial_env has no PATH");
      },
    },
    {
      id: "TRUST-30",
      claim:
        "neither the token, nor a wrong one, nor code, is in the log at any level",
      source: FAULT,
      mark: "mended",
      run: async ({ server, session, log }) => {
        const headers = { authorization: "Bearer a-wrong-token-of-mine" };
        await server.anonymous("GET", "/sessions", { headers });
        const channel = await session.channel();
        await channel.run("print some-secret-code");
        channel.sendText('{"nonsense": "some-secret-frame"');
        await channel.run("");
        await channel.close();
        const logged = readFileSync(log, "utf8");
        for (const secret of ["a-wrong-token-of-mine", text(server.token)])
          holds(!logged.includes(secret), "a token is in the log");
        for (const code of ["some-secret-code", "some-secret-frame"])
          holds(!logged.includes(code), `${code} is in the log`);
      },
    },
    {
      id: "TRUST-31",
      claim: "the log file is private",
      source: FAULT,
      mark: "mended",
      run: ({ log }) => {
        equal((statSync(log).mode & 0o077).toString(8), "0", "mode for others");
        return Promise.resolve();
      },
    },
    {
      id: "TRUST-32",
      claim: "a file with a kernel's key is private, or its directory is",
      source: FAULT,
      mark: "mended",
      run: ({ server }) => {
        const open = [
          join(server.home, "tmp"),
          join(server.home, "run"),
        ].flatMap((at_) => exposed(at_));
        equal(open, [], "files others could read");
        return Promise.resolve();
      },
    },
    {
      id: "TRUST-33",
      claim: "a kernel message with an empty signature is not delivered",
      source: FAULT,
      mark: "mended",
      run: async ({ session }) => {
        const channel = await session.channel();
        const { frames } = await channel.run("unsigned forged");
        const forged = frames.filter((frame) => frame.text.includes("forged"));
        const streams = forged.filter((frame) => {
          const message = parsed(frame.text);
          return at(message, "header", "msg_type") === "stream";
        });
        equal(streams.length, 0, "unsigned messages heard");
        await channel.close();
      },
    },
  ],
});

/** 401 without a token and with a wrong one, before anything else. */
function closed(
  id: string,
  operation: string,
  mark: Mark,
  body?: unknown,
): Item<World> {
  const [method = "", path = ""] = operation.split(" ");
  return {
    id,
    claim: `${operation} needs the token`,
    source: mark === "same" ? KALLICHORE : FAULT,
    mark,
    run: async ({ server, session }) => {
      const place = path.replace("ID", session.id);
      for (const headers of [{}, { authorization: "Bearer wrong" }]) {
        const call = body === undefined ? { headers } : { headers, body };
        const answer = await server.anonymous(method, place, call);
        equal(answer.status, 401, "status code");
      }
    },
  };
}

/** Files below a directory that other users could read. */
function exposed(directory: string): readonly string[] {
  return readdirSync(directory).flatMap((name) => {
    const path = join(directory, name);
    const { mode } = statSync(path);
    if ((mode & 0o077) === 0) return [];
    return statSync(path).isDirectory() ? exposed(path) : [path];
  });
}
