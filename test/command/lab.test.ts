/** `kallichore lab`: a JupyterLab of the test's own says what it was given; the real one is in test/jupyterlab. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { eventually } from "../harness.ts";
import { needsPosix } from "../needs.ts";
import { Room, type Running, useCommand } from "./kallichore.ts";

useCommand();

/** Stands for JupyterLab: asks its gateway for the kernelspecs, writes down what it knows, and ends at SIGTERM, or never. */
const program = (isStubborn: boolean) => `#!${process.execPath}
const { appendFileSync, writeFileSync } = require("node:fs");
const log = process.env.LAB_LOG;
const url = process.argv.find((arg) => arg.startsWith("--gateway-url=")).slice(14);
process.on("SIGINT", () => appendFileSync(log + ".ends", "SIGINT\\n"));
process.on("SIGTERM", async () => {
  const { status } = await ask();
  appendFileSync(log + ".ends", "SIGTERM " + status + "\\n");
  if (!${isStubborn}) process.exit(0);
});
const ask = () => fetch(url + "/api/kernelspecs", {
  headers: { authorization: "token " + process.env.JUPYTER_GATEWAY_AUTH_TOKEN },
});
setInterval(() => {}, 1000);
ask().then(async (answer) => writeFileSync(log, JSON.stringify({
  pid: process.pid, args: process.argv.slice(2), url, status: answer.status,
  token: process.env.JUPYTER_GATEWAY_AUTH_TOKEN, own: process.env.KALLICHORE_TOKEN ?? null,
})));
`;

interface Known {
  readonly pid: number;
  readonly args: readonly string[];
  readonly url: string;
  readonly status: number;
  readonly token: string;
  readonly own: string | null;
}

/** A room whose machine has a JupyterLab, in an environment that is active. */
function roomWithLab(isStubborn = false) {
  const room = new Room();
  const folder = join(room.folder, "venv", "bin");
  mkdirSync(folder, { recursive: true });
  const file = join(folder, "jupyter-lab");
  writeFileSync(file, program(isStubborn));
  chmodSync(file, 0o755);
  const log = join(room.folder, "lab");
  const env = {
    VIRTUAL_ENV: join(room.folder, "venv"),
    LAB_LOG: log,
    KALLICHORE_TOKEN: "",
  };
  const read = (path: string) => {
    try {
      return readFileSync(path, "utf8");
    } catch {
      return undefined;
    }
  };
  return {
    room,
    env,
    start: (...args: string[]) => room.start(["lab", ...args], { env }),
    // The file may not be complete yet.
    known: () =>
      eventually("JupyterLab", () => {
        try {
          return JSON.parse(readFileSync(log, "utf8")) as Known;
        } catch {
          return undefined;
        }
      }),
    ends: () => read(`${log}.ends`) ?? "",
    [Symbol.asyncDispose]: () => room[Symbol.asyncDispose](),
  };
}

describe("kallichore lab", needsPosix, () => {
  test("starts a server of its own, which others find, and ends JupyterLab before it", async () => {
    await using given = roomWithLab();
    const { room } = given;
    const running = given.start("--", "--no-browser", "--port", "0");
    const { status, args, token, own, url } = await given.known();
    expect(status).toBe(200);
    expect(args.slice(1)).toEqual(["--no-browser", "--port", "0"]);
    expect(args.join(" ")).not.toContain(token);
    expect(own).toBeNull();
    expect((await room.run(["servers", "--json"])).stdout).toContain(url);
    running.child.kill("SIGINT");
    expect((await running.ended()).code).toBe(0);
    expect(given.ends()).toBe("SIGTERM 200\n"); // the server was still there
  });

  test("uses the running server, which stays, on a socket as well", async () => {
    await using given = roomWithLab();
    const { room } = given;
    const path = join(room.folder, "server.sock");
    await room.serve("--socket", path, "--base-url", "/user/ann/");
    const running = given.start();
    const { status, url } = await given.known();
    expect(status).toBe(200);
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/user\/ann$/);
    const stolen = await fetch(`${url}/api/kernels`);
    expect(stolen.status).toBe(403); // the port needs the token
    running.child.kill("SIGTERM");
    expect((await running.ended()).code).toBe(0);
    await expect(fetch(url)).rejects.toThrow();
    expect((await room.run(["ps"])).code).toBe(0);
  });

  test("does not open a port to a socket that needs no token", async () => {
    await using given = roomWithLab();
    const path = join(given.room.folder, "server.sock");
    await given.room.serve("--socket", path, "--token", "none");
    const { code, stderr } = await ended(given.start());
    expect(code).toBe(3);
    expect(stderr).toContain("Start the server with a token");
  });

  test("kills a JupyterLab that does not end, at the second signal", async () => {
    await using given = roomWithLab(true);
    const running = given.start();
    const { pid } = await given.known();
    running.child.kill("SIGINT");
    await eventually("SIGTERM", () => (given.ends() === "" ? undefined : true));
    running.child.kill("SIGINT");
    expect((await running.ended()).code).toBe(0);
    expect(() => process.kill(pid, 0)).toThrow();
  });

  test("ends with JupyterLab, and says so if it failed", async () => {
    await using given = roomWithLab();
    const running = given.start();
    const { pid } = await given.known();
    process.kill(pid, "SIGKILL");
    const { code, stderr } = await running.ended();
    expect(code).toBe(3);
    expect(stderr).toContain("JupyterLab ended with SIGKILL");
  });

  test("says how to get JupyterLab on a machine that has none", async () => {
    await using room = new Room();
    const env = { PATH: join(room.folder, "run") };
    const { code, stderr } = await room.run(["lab"], { env });
    expect(code).toBe(3);
    expect(stderr).toContain("python3 -m pip install jupyterlab");
  });
});

function ended(running: Running) {
  running.child.stdin?.end();
  return running.ended();
}
