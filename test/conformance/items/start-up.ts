/** Start-up: the output, the server's address, its token, and its files. */
import {
  existsSync,
  readFileSync,
  readdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import type { Socket } from "node:net";
import { join } from "node:path";

import { at, equal, holds, keys, shown, skip, text } from "../harness/check.ts";
import type { Ground } from "../harness/ground.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import { comm } from "../harness/processes.ts";
import { parsed, settled, until } from "../harness/request.ts";
import { connected, enter } from "../harness/server.ts";

const LATER = "Kallichore 0.1.68, as Positron 2026.09 starts it";

export const group = outline<Ground>({
  id: "START",
  needsKernels: false,
  apart: true,
  open: (ground) => Promise.resolve(ground),
  items: [
    {
      id: "START-01",
      claim: "TCP: stdout has `Listening at 127.0.0.1:<port>`",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const server = await ground.start();
        const port = shown(at(server.connection, "port"));
        await until(
          "the line",
          () => Promise.resolve(server.printed().stdout),
          {
            holds: (printed) =>
              printed.split("\n").includes(`Listening at 127.0.0.1:${port}`),
            within_ms: 2_000,
          },
        );
      },
    },
    {
      id: "START-02",
      claim: "Unix socket: stdout has `Listening on Unix socket: <path>`",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const server = await ground.start({ transport: "socket" });
        const path = text(at(server.connection, "socket_path"));
        await until(
          "the line",
          () => Promise.resolve(server.printed().stdout),
          {
            holds: (printed) =>
              printed.split("\n").includes(`Listening on Unix socket: ${path}`),
            within_ms: 2_000,
          },
        );
      },
    },
    {
      id: "START-03",
      claim:
        "TCP: the connection file has port, base_path, transport, server_path, server_pid, bearer_token, log_path and no key of the other transports",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const { connection, pid } = await ground.start();
        for (const key of ["socket_path", "named_pipe"])
          holds(!keys(connection).includes(key), `it has ${key}`);
        const port = at(connection, "port");
        holds(typeof port === "number" && port > 0, `port ${shown(port)}`);
        equal(
          at(connection, "base_path"),
          `http://127.0.0.1:${port}`,
          "base_path",
        );
        equal(at(connection, "transport"), "tcp", "transport");
        equal(at(connection, "server_pid"), pid, "server_pid");
        equal(at(connection, "log_path"), null, "log_path");
        holds(
          existsSync(text(at(connection, "server_path"))),
          "server_path does not exist",
        );
        holds(text(at(connection, "bearer_token")) !== "", "no bearer_token");
      },
    },
    {
      id: "START-04",
      claim:
        "Unix socket: the connection file has socket_path, and neither port nor base_path nor named_pipe",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const { connection } = await ground.start({ transport: "socket" });
        for (const key of ["port", "base_path", "named_pipe"])
          holds(!keys(connection).includes(key), `it has ${key}`);
        equal(at(connection, "transport"), "socket", "transport");
        const path = text(at(connection, "socket_path"));
        holds(statSync(path).isSocket(), `${path} is no socket`);
      },
    },
    {
      id: "START-05",
      claim:
        "a connection file without --transport infers the socket transport, port 0 allowed",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const home = ground.home();
        const file = join(home, "connection.json");
        const server = ground.spawn(home, [
          "--port",
          "0",
          "--connection-file",
          file,
        ]);
        await connected(server, file);
        equal(at(server.connection, "transport"), "socket", "transport");
      },
    },
    {
      id: "START-06",
      claim: "--log-file is created, and log_path has it unchanged",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const server = await ground.start({
          args: ["--log-file", "./some.log"],
        });
        equal(at(server.connection, "log_path"), "./some.log", "log_path");
        holds(existsSync(join(server.home, "some.log")), "no log file");
      },
    },
    {
      id: "START-07",
      claim:
        "the server's own socket is <dir>/kc-<pid>.sock in XDG_RUNTIME_DIR, or in --socket-dir, which is made if missing",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const one = await ground.start({ transport: "socket" });
        const own = join(one.home, "run", `kc-${one.pid}.sock`);
        equal(at(one.connection, "socket_path"), own, "socket_path");
        const directory = join(ground.home(), "a", "b");
        const two = await ground.start({
          transport: "socket",
          args: ["--socket-dir", directory],
        });
        const there = join(directory, `kc-${two.pid}.sock`);
        equal(
          at(two.connection, "socket_path"),
          there,
          "socket_path with --socket-dir",
        );
      },
    },
    {
      id: "START-08",
      claim:
        "--unix-socket is used unchanged, and implies the socket transport",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const home = ground.home();
        const socket = join(home, "mine.sock");
        const server = ground.spawn(home, ["--unix-socket", socket]);
        server.address = { socketPath: socket };
        const answer = await until(
          "an answer on the socket",
          async () =>
            existsSync(socket) ? server.anonymous("GET", "/status") : undefined,
          { holds: (seen) => seen?.status === 200 },
        );
        equal(answer?.status, 200, "GET /status");
      },
    },
    {
      id: "START-09",
      claim: "once the connection file exists, the first request is answered",
      source:
        "Positron aborts its start on any error but ECONNREFUSED and ENOENT",
      mark: "same",
      run: async (ground) => {
        for (const transport of ["tcp", "socket"] as const) {
          const server = await ground.start({ transport });
          const answer = await server.anonymous("GET", "/status");
          equal(answer.status, 200, `GET /status over ${transport}`);
        }
      },
    },
    {
      id: "START-10",
      claim: "the connection file is private (0600)",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const server = await ground.start();
        const { mode } = statSync(join(server.home, "connection.json"));
        equal((mode & 0o777).toString(8), "600", "mode");
      },
    },
    {
      id: "START-11",
      claim: "only its user can open the server's socket",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const server = await ground.start({ transport: "socket" });
        const { mode } = statSync(text(at(server.connection, "socket_path")));
        equal((mode & 0o077).toString(8), "0", "mode for others");
      },
    },
    {
      id: "START-12",
      claim:
        "the connection file is complete when it appears, also in place of an old one, and no other file is left beside it",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const home = ground.home();
        const file = join(home, "connection.json");
        writeFileSync(file, "an old one", { mode: 0o644 });
        const server = ground.spawn(home, ["--connection-file", file]);
        const seen = await until(
          "a new connection file",
          () => Promise.resolve(readFileSync(file, "utf8")),
          { holds: (whole) => whole !== "an old one" },
        );
        const connection = parsed(seen);
        holds(connection !== undefined, `not whole: ${shown(seen)}`);
        enter(server, connection);
        equal((statSync(file).mode & 0o777).toString(8), "600", "mode");
        const beside = readdirSync(home).filter((name) =>
          name.includes("connection"),
        );
        equal(beside, ["connection.json"], "files named like it");
      },
    },
    {
      id: "START-13",
      claim: "a generated token has at least 128 bits",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const one = await ground.start();
        const two = await ground.start();
        holds(
          text(one.token).length >= 22,
          `token of ${text(one.token).length} characters`,
        );
        holds(one.token !== two.token, "two servers have the same token");
      },
    },
    {
      id: "START-14",
      claim: "--token FILE is read, trimmed, used, and the file deleted",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const file = join(ground.home(), "token");
        writeFileSync(file, "  a-token-of-mine \n", { mode: 0o600 });
        const server = await ground.start({ args: ["--token", file] });
        equal(
          at(server.connection, "bearer_token"),
          "a-token-of-mine",
          "bearer_token",
        );
        holds(!existsSync(file), "the token file is still there");
        const path = "/sessions/none/connection_info";
        equal(
          (await server.request("GET", path)).status,
          404,
          "a request with it",
        );
        equal(
          (await server.anonymous("GET", path)).status,
          401,
          "a request without",
        );
      },
    },
    {
      id: "START-15",
      claim:
        "a token of 64 bytes is accepted, one of 65 is refused with exit 1",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const file = join(ground.home(), "token");
        writeFileSync(file, "x".repeat(64), { mode: 0o600 });
        const server = await ground.start({ args: ["-t", file] });
        equal(server.token, "x".repeat(64), "bearer_token");
        writeFileSync(file, "x".repeat(65), { mode: 0o600 });
        const { code } = await ground.invoke(["-t", file]);
        equal(code, 1, "exit code with 65 bytes");
      },
    },
    {
      id: "START-16",
      claim:
        "with --token none no client needs a token, and bearer_token is null",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const server = await ground.start({ args: ["--token", "none"] });
        equal(at(server.connection, "bearer_token"), null, "bearer_token");
        const { status } = await server.anonymous(
          "GET",
          "/sessions/none/connection_info",
        );
        equal(status, 404, "a request without a token");
        const headers = { authorization: "Bearer whatever" };
        const other = await server.anonymous("GET", "/sessions", { headers });
        equal(other.status, 200, "a request with some token");
      },
    },
    {
      id: "START-17",
      claim: "/proc/<pid>/comm is kcserver, and the pid is the one started",
      source: "positron#16167",
      mark: "same",
      run: async (ground) => {
        const server = await ground.start();
        if (comm(server.pid) === "") skip("there is no /proc here");
        equal(
          comm(Number(at(server.connection, "server_pid"))),
          "kcserver",
          "comm",
        );
        const answer = await server.anonymous("GET", "/status");
        equal(
          at(answer.body, "process_id"),
          server.pid,
          "process_id of /status",
        );
      },
    },
    {
      id: "START-18",
      claim: "log lines are `HH:MM:SS [LEVEL] message`",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const args = ["--log-file", "some.log", "--log-level", "info"];
        const server = await ground.start({ args });
        await server.request("PUT", "/sessions", { raw: "{}" });
        const log = await until(
          "a log line",
          () =>
            Promise.resolve(
              readFileSync(join(server.home, "some.log"), "utf8"),
            ),
          { holds: (seen) => seen.includes("\n") },
        );
        const [first = ""] = log.split("\n");
        holds(
          /^\d\d:\d\d:\d\d \[(ERROR|WARN|INFO)\] \S/.test(first),
          shown(first),
        );
      },
    },
    {
      id: "START-19",
      claim: "unread stdout and stderr do not stop the server",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const server = await ground.start({
          args: ["-l", "trace"],
          unread: true,
        });
        const filling = "x".repeat(240); // an id of the maximum length
        for (let i = 0; i < 500; i += 1) {
          const path = `/sessions/${filling}`;
          const answer = await server.request("GET", path, {
            timeout_ms: 3_000,
          });
          equal(answer.status, 404, "GET of an unknown session");
        }
      },
    },
    {
      id: "START-20",
      claim:
        "a failing log file or connection file ends the server, with an exit code other than 0",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        for (const option of ["--log-file", "--connection-file"]) {
          const { code } = await ground.invoke([option, "no/such/place"]);
          holds(
            code !== 0 && code !== null,
            `exit code with ${option}: ${shown(code)}`,
          );
        }
      },
    },
    {
      id: "START-21",
      claim: "it answers well within Positron's ten seconds",
      source: "Positron's start-up budget",
      mark: "same",
      run: async (ground) => {
        const began = performance.now();
        await ground.start();
        const took = Math.round(performance.now() - began);
        holds(took < 5_000, `it took ${took} ms on this machine`);
      },
    },
    {
      id: "START-30",
      claim:
        "--handshake-socket gets the connection details once, as one JSON line, then the end of the stream; TCP",
      source: LATER,
      mark: "mended",
      run: (ground) => handshake(ground, "tcp"),
    },
    {
      id: "START-31",
      claim: "--handshake-socket does the same for a server on a Unix socket",
      source: LATER,
      mark: "mended",
      run: (ground) => handshake(ground, "socket"),
    },
    {
      id: "START-34",
      claim: "--handshake-socket alone does not imply a Unix socket: TCP",
      source: LATER,
      mark: "mended",
      run: (ground) => handshake(ground, "tcp", []),
    },
    {
      id: "START-32",
      claim:
        "a handshake socket without a listener ends the server, with an exit code other than 0 and a reason",
      source: LATER,
      mark: "mended",
      run: async (ground) => {
        const home = ground.home();
        const args = [
          "--handshake-socket",
          join(home, "nobody.sock"),
          "--transport",
          "tcp",
        ];
        const { code, stderr } = await ground.invoke(args, { home });
        holds(code !== null && code !== 0, `exit code ${shown(code)}`);
        holds(code !== 2, "the option is unknown");
        holds(stderr.trim() !== "", "it gives no reason");
      },
    },
    {
      id: "START-33",
      claim:
        "server_id in /status is the announced one, and new at every start",
      source: "positron#14386",
      mark: "mended",
      run: async (ground) => {
        const ids: string[] = [];
        for (let i = 0; i < 2; i += 1) {
          const server = await ground.start();
          const id = text(
            at((await server.anonymous("GET", "/status")).body, "server_id"),
          );
          holds(id !== "", "no server_id in /status");
          const announced = at(server.connection, "server_id") ?? id;
          equal(announced, id, "server_id of the connection file");
          ids.push(id);
        }
        holds(ids[0] !== ids[1], `both starts have ${shown(ids[0])}`);
      },
    },
  ],
});

async function handshake(
  ground: Ground,
  transport: "tcp" | "socket",
  options = ["--transport", transport],
): Promise<void> {
  const home = ground.home();
  const path = join(home, "handshake.sock");
  const { promise, resolve } = settled<string>();
  let connections = 0;
  const listener = createServer({ allowHalfOpen: true }, (socket: Socket) => {
    connections += 1;
    let received = "";
    socket.on("data", (chunk) => (received += chunk.toString()));
    socket.on("end", () => {
      resolve(received);
      socket.end();
    });
    socket.on("error", () => undefined); // the server may close the connection in any way after its answer
  });
  listener.listen(path);
  try {
    const args = ["--handshake-socket", path, ...options];
    const server = ground.spawn(home, args);
    const printed = await Promise.race([
      promise,
      server.exited.then(
        (exit) => `exited: ${shown(exit)} ${shown(server.printed())}`,
      ),
    ]);
    const details = parsed(printed);
    holds(details !== undefined, `not one JSON document: ${shown(printed)}`);
    enter(server, details);
    equal(at(details, "server_pid"), server.pid, "server_pid");
    equal(at(details, "transport"), transport, "transport");
    const place = transport === "tcp" ? "base_path" : "socket_path";
    holds(text(at(details, place)) !== "", `no ${place}`);
    equal(
      (await server.anonymous("GET", "/status")).status,
      200,
      "GET /status at once",
    );
    equal(
      (await server.request("GET", "/sessions")).status,
      200,
      "with the token in it",
    );
    equal(connections, 1, "connections made");
  } finally {
    listener.close();
  }
}
