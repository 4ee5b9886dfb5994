/** Connection files in Jupyter's runtime directory: those of this server's kernels, and the kernels of other programs that can be adopted. */
import { execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { ConnectionFiles } from "../../src/host/connection-files.ts";
import { currentOwner, kernelProcess } from "../../src/host/owner.ts";
import { jupyterRuntimeDirectory } from "../../src/kernelspecs/paths.ts";
import { silentLog } from "../../src/log/log.ts";
import type { ServerOptions } from "../../src/serve.ts";
import {
  eventually,
  openServer,
  temporaryFolder,
  type TestServer,
} from "../harness.ts";
import {
  pythonWithIpykernel,
  pythonWithJupyterConsole,
} from "../kernels/python.ts";
import { needs, needsLinux, needsPosix } from "../needs.ts";

const CONNECTION = {
  control_port: 1,
  shell_port: 2,
  stdin_port: 3,
  hb_port: 4,
  iopub_port: 5,
  signature_scheme: "hmac-sha256",
  key: "k",
  transport: "tcp",
  ip: "127.0.0.1",
};

async function opened(
  directory: string | null,
  options: ServerOptions = {},
): Promise<TestServer> {
  const server = await openServer({
    jupyterRuntimeDirectory: directory,
    ...options,
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

async function connectionOf(server: TestServer, id: string): Promise<object> {
  const { body } = await server.ask("GET", `/sessions/${id}/connection_info`);
  return body as object;
}

test("a kernel's file is there while it runs, private, under the kernel's id", async () => {
  const directory = join(temporaryFolder(), "jupyter", "runtime");
  const server = await opened(directory);
  const id = await server.start("echo", randomUUID());
  const file = join(directory, `kernel-${id}.json`);

  expect(readdirSync(directory)).toEqual([`kernel-${id}.json`]);
  if (process.platform !== "win32") {
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
  }
  const read = () => JSON.parse(readFileSync(file, "utf8")) as object;
  expect(read()).toMatchObject({
    ...(await connectionOf(server, id)),
    kernel_name: "echo",
  });
  await server.ask("POST", `/sessions/${id}/restart`);
  expect(read()).toMatchObject(await connectionOf(server, id));
  await server.ask("POST", `/sessions/${id}/shutdown`);
  expect(readdirSync(directory)).toEqual([]);

  const named = await server.start("echo", "mine");
  const { body } = await server.ask("GET", `/sessions/${named}`);
  const { kernel_id } = body as { kernel_id: string };
  expect(readdirSync(directory)).toEqual([`kernel-${kernel_id}.json`]);
  const pid = (body as { process_id: number }).process_id;
  process.kill(pid, "SIGKILL");
  await eventually("no file", () =>
    readdirSync(directory).length === 0 ? true : undefined,
  );
  await server.start("echo", "left");
  await server.server[Symbol.asyncDispose]();
  expect(readdirSync(directory)).toEqual([]);
});

test("a kernel that registers its ports has a file with them, and one that is ready ahead has none", async () => {
  const directory = temporaryFolder();
  const server = await opened(directory, {
    prespawn: [{ kernel_name: "echo", count: 1 }],
  });
  const id = await server.start("registered", randomUUID(), {
    protocol_version: "5.5",
  });
  const file = join(directory, `kernel-${id}.json`);
  expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject(
    await connectionOf(server, id),
  );
  await eventually("a kernel that is ready", async () => {
    const { body } = await server.ask("GET", "/server_configuration");
    const { warm_kernels } = body as { warm_kernels: { ready: object[] }[] };
    return warm_kernels[0]?.ready[0];
  });
  expect(readdirSync(directory)).toEqual([`kernel-${id}.json`]);
  const taken = await server.start("echo", randomUUID());
  expect(readdirSync(directory).sort()).toEqual(
    [`kernel-${id}.json`, `kernel-${taken}.json`].sort(),
  );
});

test("another program's file is neither replaced nor removed", async () => {
  const directory = temporaryFolder();
  const server = await opened(directory);
  const id = randomUUID();
  const file = join(directory, `kernel-${id}.json`);
  writeFileSync(file, JSON.stringify(CONNECTION));
  await server.start("echo", id);
  await server.ask("POST", `/sessions/${id}/shutdown`);
  expect(JSON.parse(readFileSync(file, "utf8"))).toEqual(CONNECTION);
  expect(readdirSync(directory)).toHaveLength(1);
});

test(
  "a directory in which others can write gets no files, and the kernel runs",
  needsPosix,
  async () => {
    const directory = temporaryFolder();
    chmodSync(directory, 0o777);
    const server = await opened(directory);
    const id = await server.start("echo", randomUUID());
    expect(readdirSync(directory)).toEqual([]);
    const { body } = await server.ask("GET", `/sessions/${id}`);
    expect(body).toMatchObject({ status: "idle" });
  },
);

test("without the directory there are no files, and nothing to adopt", async () => {
  const server = await opened(null);
  await server.start("echo", "a");
  const listed = await server.ask("GET", "/external_kernels");
  expect(listed.body).toEqual({ directory: null, kernels: [] });
});

test(
  "files of servers that were killed are removed, if the kernel has ended too",
  needsLinux,
  async () => {
    const directory = temporaryFolder();
    const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1e6)"]);
    const alive = kernelProcess(child.pid ?? 0);
    const dead = { pid: 1, start_time: 1 };
    const gone = { ...currentOwner(), start_time: 1 };
    const leave = (name: string, kallichore?: object) =>
      writeFileSync(
        join(directory, name),
        JSON.stringify({ ...CONNECTION, kallichore }),
      );
    leave("kernel-gone.json", { server: gone, process: dead });
    leave("kernel-gone.json.0123abcd", { server: gone, process: dead });
    leave("kernel-alive.json", { server: gone, process: alive });
    leave("kernel-ours.json", { server: currentOwner(), process: dead });
    leave("kernel-foreign.json");
    leave("other.json", { server: gone, process: dead });
    writeFileSync(join(directory, "kernel-broken.json"), "{");
    const stale = () =>
      new ConnectionFiles(directory, silentLog()).removeStale(
        new AbortController().signal,
      );
    await stale();
    const stay = [
      "kernel-alive.json",
      "kernel-broken.json",
      "kernel-foreign.json",
      "kernel-ours.json",
      "other.json",
    ];
    expect(readdirSync(directory).sort()).toEqual(stay);
    child.kill("SIGKILL");
    await once(child, "exit");
    await stale();
    expect(readdirSync(directory).sort()).toEqual(stay.slice(1));
  },
);

test("a kernel of another server is listed, and adopted by its id or its file", async () => {
  const directory = temporaryFolder();
  const other = await opened(directory);
  const kernel = await other.start("echo", randomUUID());
  const connection_file = `kernel-${kernel}.json`;
  writeFileSync(
    join(directory, "kernel-unreachable.json"),
    JSON.stringify(CONNECTION),
  );
  const server = await opened(directory);
  const own = await server.start("echo", randomUUID());

  const listed = await server.ask("GET", "/external_kernels");
  expect(listed.body).toMatchObject({
    directory,
    kernels: [{ kernel_id: kernel, connection_file, kernel_name: "echo" }],
  });
  expect(listed.text).not.toContain(own);
  const { key } = (await connectionOf(other, kernel)) as { key: string };
  expect(listed.text).not.toContain(key);

  for (const [id, name] of [
    ["by-id", kernel],
    ["by-file", connection_file],
  ] as const) {
    await server.ask("PUT", "/sessions", {
      session_id: id,
      kernel_name: "echo",
      argv: [],
    });
    const adopted = await server.ask("PUT", `/sessions/${id}/adopt`, {
      connection_file: name,
    });
    expect(adopted.status, adopted.text).toBe(200);
    const { body } = await server.ask("POST", `/sessions/${id}/execute`, {
      code: "pid",
    });
    expect(body).toMatchObject({ status: "ok" });
  }
  expect(readdirSync(directory).sort()).toEqual(
    [connection_file, `kernel-${own}.json`, "kernel-unreachable.json"].sort(),
  );
});

test("a file that cannot be used is refused by name, and nothing outside of the directory is read", async () => {
  const folder = temporaryFolder();
  const directory = join(folder, "runtime");
  mkdirSync(directory);
  const server = await opened(directory);
  await server.ask("PUT", "/sessions", {
    session_id: "a",
    kernel_name: "echo",
  });
  const outside = join(folder, "kernel-outside.json");
  writeFileSync(outside, JSON.stringify(CONNECTION));
  symlinkSync(outside, join(directory, "kernel-link.json"));
  writeFileSync(join(directory, "kernel-no-json.json"), "the key is secret");
  writeFileSync(join(directory, "kernel-no-ports.json"), "{}");
  for (const [name, why] of [
    ["nobody", "there is no such file"],
    ["../kernel-outside.json", "its name has a path"],
    ["x/../../kernel-outside", "its name has a path"],
    ["link", "it is not a file"],
    ["no-json", "it is not JSON"],
    ["no-ports", "shell_port"],
  ] as const) {
    const { status, body, text } = await server.ask(
      "PUT",
      "/sessions/a/adopt",
      {
        connection_file: name,
      },
    );
    expect(status, text).toBe(404);
    expect(body).toMatchObject({
      reason: "connection_file_not_found",
      message: expect.stringContaining(why) as string,
    });
    expect(text).not.toContain("secret");
  }
  const { status, text } = await server.ask("PUT", "/sessions/a/adopt", {
    ip: "127.0.0.1",
  });
  expect(status).toBe(400);
  expect(text).toContain("shell_port");
});

const CONSOLE = `
import sys
from jupyter_client import BlockingKernelClient, find_connection_file
client = BlockingKernelClient(connection_file=find_connection_file(sys.argv[1]))
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=30)
reply = client.execute_interactive("print('attached')", timeout=30)
print(reply["content"]["status"])
`;

test(
  "jupyter_client finds a kernel by its id and runs code beside the session's clients",
  needs(
    pythonWithIpykernel !== undefined,
    "a Python with ipykernel, and jupyter_client with it",
  ),
  async () => {
    const directory = temporaryFolder();
    const server = await opened(directory);
    const id = await server.start("echo", randomUUID());
    const { stdout } = await promisify(execFile)(
      pythonWithIpykernel ?? "",
      ["-c", CONSOLE, id],
      { env: { ...process.env, JUPYTER_RUNTIME_DIR: directory } },
    );
    expect(stdout).toContain("attached");
    expect(stdout.trim().endsWith("ok")).toBe(true);
    const { body } = await server.ask("GET", `/sessions/${id}`);
    expect(body).toMatchObject({ status: "idle" });
    expect(existsSync(join(directory, `kernel-${id}.json`))).toBe(true);
  },
);

test(
  "jupyter console attaches by the kernel's id, and leaves it running",
  needs(
    pythonWithJupyterConsole !== undefined,
    "a Python with Jupyter's console (python3 -m pip install jupyter-console)",
  ),
  async () => {
    const directory = temporaryFolder();
    const server = await opened(directory);
    const id = await server.start("echo", randomUUID());
    const console = spawn(
      pythonWithJupyterConsole ?? "",
      ["-m", "jupyter_console", "--existing", id, "--simple-prompt"],
      { env: { ...process.env, JUPYTER_RUNTIME_DIR: directory } },
    );
    onTestFinished(() => void console.kill("SIGKILL"));
    let printed = "";
    console.stdout.on("data", (text: Buffer) => (printed += String(text)));
    console.stdin.end("from the console\n");
    await once(console, "close");
    expect(printed).toContain("from the console");
    const { body } = await server.ask("GET", `/sessions/${id}`);
    expect(body).toMatchObject({ status: "idle" });
  },
);

test.each<[NodeJS.Platform, Record<string, string>, string]>([
  ["linux", {}, "/home/ann/.local/share/jupyter/runtime"],
  ["linux", { XDG_DATA_HOME: "/data" }, "/data/jupyter/runtime"],
  ["linux", { JUPYTER_DATA_DIR: "/jupyter" }, "/jupyter/runtime"],
  ["linux", { JUPYTER_RUNTIME_DIR: "/run" }, "/run"],
  [
    "linux",
    { XDG_RUNTIME_DIR: "/run/user/1" },
    "/home/ann/.local/share/jupyter/runtime",
  ],
  ["darwin", {}, "/home/ann/Library/Jupyter/runtime"],
  ["win32", { APPDATA: "C:\\Roaming" }, "C:\\Roaming\\jupyter\\runtime"],
])("on %s with %j Jupyter's tools look in %s", (platform, env, expected) => {
  const home = platform === "win32" ? "C:\\ann" : "/home/ann";
  expect(jupyterRuntimeDirectory({ platform, env, home })).toBe(expected);
});
