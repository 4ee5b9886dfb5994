/** The command line: forms of options, refusals, and that a refusal leaves no files. */
import { existsSync } from "node:fs";
import { join } from "node:path";

import { at, equal, holds, shown } from "../harness/check.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import type { Item } from "../harness/item.ts";
import type { Ground } from "../harness/ground.ts";

export const group = outline<Ground>({
  id: "CLI",
  needsKernels: false,
  apart: true,
  open: (ground) => Promise.resolve(ground),
  items: [
    {
      id: "CLI-01",
      claim: "--help prints usage with every option on stdout, exit 0",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const { code, stdout } = await ground.invoke(["--help"]);
        equal(code, 0, "exit code");
        for (const option of OPTIONS)
          holds(
            stdout.includes(option),
            `${option} is not in ${shown(stdout)}`,
          );
      },
    },
    {
      id: "CLI-02",
      claim: "-h is --help",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const { code, stdout } = await ground.invoke(["-h"]);
        equal(code, 0, "exit code");
        holds(stdout.includes("--port"), `no usage: ${shown(stdout)}`);
      },
    },
    {
      id: "CLI-03",
      claim: "--version and -V print `kcserver <version>` on stdout, exit 0",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        for (const option of ["--version", "-V"]) {
          const { code, stdout } = await ground.invoke([option]);
          equal(code, 0, `exit code of ${option}`);
          holds(
            /^kcserver \d+\.\d+\.\d+/.test(stdout),
            `${option}: ${shown(stdout)}`,
          );
        }
      },
    },
    usage("CLI-04", "an unknown option", ["--no-such-option"]),
    usage("CLI-05", "a positional argument", ["somewhere"]),
    usage("CLI-06", "an option given twice", ["--port", "0", "--port", "0"]),
    usage("CLI-07", "a port beyond 65535", ["--port", "65536"]),
    usage("CLI-08", "a port that is no number", ["--port", "http"]),
    usage("CLI-09", "a negative port", ["--port=-1"]),
    usage("CLI-10", "a fractional port", ["--port", "1.5"]),
    usage("CLI-11", "idle hours beyond 65535", [
      "--idle-shutdown-hours",
      "65536",
    ]),
    usage("CLI-12", "a negative number of idle hours", ["-i", "-1"]),
    usage("CLI-13", "a sampling interval beyond 65535", ["-r", "65536"]),
    usage("CLI-14", "an option without its value", ["--token"]),
    usage("CLI-15", "an unknown short option", ["-z"]),
    usage("CLI-16", "short and long form of one option together", [
      "-p",
      "0",
      "--port",
      "0",
    ]),
    refused("CLI-20", "--transport with another word", [
      "--transport",
      "carrier-pigeon",
    ]),
    refused("CLI-21", "--transport named-pipe on Unix", [
      "--transport",
      "named-pipe",
    ]),
    refused("CLI-22", "a port with the socket transport", [
      "-p8080",
      "--transport",
      "socket",
    ]),
    refused(
      "CLI-23",
      "a port where a connection file infers the socket transport",
      ["-p8080"],
    ),
    refused("CLI-24", "--unix-socket with the TCP transport", [
      "--unix-socket",
      "./some.sock",
      "--transport=tcp",
    ]),
    {
      id: "CLI-30",
      claim:
        "`-p8080`, `-p 8080`, `--port=8080` and `--port 8080` are equivalent",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        for (const form of [
          ["-p8080"],
          ["-p", "8080"],
          ["--port=8080"],
          ["--port", "8080"],
        ]) {
          const args = [...form, "--transport", "socket"];
          const { code } = await ground.invoke(args);
          equal(
            code,
            1,
            `exit code of ${form.join(" ")} with the socket transport`,
          );
        }
      },
    },
    {
      id: "CLI-31",
      claim: "every option and short form is accepted together",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const sockets = join(ground.home(), "run");
        const server = await ground.start({
          transport: "socket",
          args: [
            ...[
              "-p0",
              "-t",
              "none",
              "--log-file",
              "kcserver.log",
              "-i",
              "5",
              "-r500",
            ],
            ...["-l", "debug", `--socket-dir=${sockets}`],
          ],
        });
        const answer = await server.request("GET", "/server_configuration");
        const { body } = answer;
        equal(at(body, "idle_shutdown_hours"), 5, "-i 5");
        equal(at(body, "resource_sample_interval_ms"), 500, "-r500");
        equal(at(body, "log_level"), "debug", "-l debug");
        holds(existsSync(join(server.home, "kcserver.log")), "no log file");
      },
    },
    {
      id: "CLI-32",
      claim: "an unreadable token file ends the server with 1",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const { code } = await ground.invoke(["--token", "no/such/file"]);
        equal(code, 1, "exit code");
      },
    },
    {
      id: "CLI-33",
      claim: "a port that is taken ends the server with 1",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const first = await ground.start();
        const port = "port" in first.address ? first.address.port : 0;
        const { code } = await ground.invoke(["--port", String(port)]);
        equal(code, 1, "exit code");
      },
    },
    {
      id: "CLI-34",
      claim: "an RUST_LOG that is not valid does not prevent the start",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const server = await ground.start({
          env: { RUST_LOG: "kcserver=debug,off" },
        });
        equal(
          (await server.anonymous("GET", "/status")).status,
          200,
          "GET /status",
        );
      },
    },
    {
      id: "CLI-35",
      claim: "a socket path beyond 104 bytes ends the server with 1",
      source: KALLICHORE,
      mark: "same",
      run: async (ground) => {
        const home = ground.home();
        const path = join(home, `${"x".repeat(104)}.sock`);
        const { code } = await ground.invoke(["--unix-socket", path], { home });
        equal(code, 1, "exit code");
      },
    },
    {
      id: "CLI-36",
      claim: "a server that refuses its token leaves no socket",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const home = ground.home();
        const socket = join(home, "some.sock");
        const args = ["--unix-socket", socket, "--token", "no/such/file"];
        const { code } = await ground.invoke(args, { home });
        equal(code, 1, "exit code");
        holds(!existsSync(socket), "the socket is still there");
      },
    },
    {
      id: "CLI-37",
      claim:
        "a relative --socket-dir is relative to the server: clients get an absolute path",
      source: FAULT,
      mark: "mended",
      run: async (ground) => {
        const server = await ground.start({
          transport: "socket",
          args: ["--socket-dir=sockets"],
        });
        const { status } = await server.request("GET", "/status");
        equal(status, 200, "GET /status over the socket");
      },
    },
  ],
});

const OPTIONS = [
  "--port",
  "--token",
  "--log-file",
  "--connection-file",
  "--idle-shutdown-hours",
  "--resource-sample-interval",
  "--log-level",
  "--socket-dir",
  "--unix-socket",
  "--transport",
  "--help",
  "--version",
];

/** Exit 2, and a message on stderr. */
function usage(
  id: string,
  what: string,
  args: readonly string[],
): Item<Ground> {
  return {
    id,
    claim: `${what}: exit 2, saying why on stderr`,
    source: KALLICHORE,
    mark: "same",
    run: async (ground) => {
      const { code, stderr } = await ground.invoke(args);
      equal(code, 2, `exit code of ${args.join(" ")}`);
      holds(stderr.trim() !== "", "stderr is empty");
    },
  };
}

/** Exit 1, one line that begins with `Error: `, nothing bound or written. */
function refused(
  id: string,
  what: string,
  args: readonly string[],
): Item<Ground> {
  return {
    id,
    claim: `${what}: exit 1, one line \`Error: …\`, no connection file`,
    source: KALLICHORE,
    mark: "same",
    run: async (ground) => {
      const home = ground.home();
      const file = join(home, "connection.json");
      const all = ["--connection-file", file, ...args];
      const { code, stderr } = await ground.invoke(all, { home });
      equal(code, 1, "exit code");
      holds(/^Error: [^\n]+\n?$/.test(stderr), `stderr: ${shown(stderr)}`);
      holds(!existsSync(file), "there is a connection file");
    },
  };
}
