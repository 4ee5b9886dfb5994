/** The errors of a start with wrong input, and where programs and directories are looked up. */
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { describe, expect, test } from "vitest";
import { createClient } from "../../client/index.ts";
import { openServer, temporaryFolder, TOKEN } from "../harness.ts";
import { argvOf } from "../kernels/index.ts";
import { needsPosix } from "../needs.ts";

/** A directory for `kernelspecDirs`. */
function withKernelspec(
  name: string,
  spec: unknown,
  folder = temporaryFolder(),
): { readonly folder: string; readonly file: string } {
  const home = join(folder, "kernels", name);
  mkdirSync(home, { recursive: true });
  const file = join(home, "kernel.json");
  writeFileSync(file, typeof spec === "string" ? spec : JSON.stringify(spec));
  return { folder, file };
}

const echo = { argv: argvOf("echo"), language: "echo" };

describe("a kernelspec is refused with its file and the fault,", () => {
  test.each([
    ["that is not JSON", "{", "JSON"],
    ["without a command", { display_name: "x" }, "argv"],
    [
      "with a provisioner that this server does not have",
      {
        ...echo,
        metadata: {
          kernel_provisioner: { provisioner_name: "k8s-provisioner" },
        },
      },
      "k8s-provisioner",
    ],
    [
      "with a process proxy",
      { ...echo, metadata: { process_proxy: { class_name: "x.YarnProxy" } } },
      "x.YarnProxy",
    ],
    [
      "with sockets of an unknown kind",
      { ...echo, metadata: { kallichore: { sockets: "pigeons" } } },
      "sockets",
    ],
  ])("%s", async (_what, spec, words) => {
    const { folder, file } = withKernelspec("broken", spec);
    await using server = await openServer({ kernelspecDirs: [folder] });
    const made = await server.ask("PUT", "/sessions", {
      session_id: "s",
      kernel_name: "Broken",
    });
    expect(made.status).toBe(422);
    expect(made.body).toMatchObject({ code: "bad_kernelspec" });
    expect(made.text).toContain(file);
    expect(made.text).toContain(words);
    const listed = (await server.ask("GET", "/kernelspecs")).body as {
      kernelspecs: { name: string }[];
      problems: { path: string; message: string }[];
    };
    expect(listed.kernelspecs.map(({ name }) => name)).not.toContain("broken");
    const problem = listed.problems.find(({ path }) => path === file);
    expect(problem?.message).toContain(words);
  });

  test("but not if it names this server's own provisioner", async () => {
    const metadata = {
      kernel_provisioner: { provisioner_name: "local-provisioner", config: {} },
    };
    const { folder } = withKernelspec("local", { ...echo, metadata });
    await using server = await openServer({ kernelspecDirs: [folder] });
    await server.start("local");
  });
});

describe("a working directory that does not exist", () => {
  const nowhere = join(tmpdir(), "kallichore-test-nowhere");

  test("is replaced by the server's own, as in Kallichore", async () => {
    await using server = await openServer();
    const id = await server.start("echo", "s", { working_directory: nowhere });
    const { body } = await server.ask("GET", `/sessions/${id}`);
    expect(body).toMatchObject({ working_directory: process.cwd() });
  });

  test("is refused if it is required, and no session is made or restarted", async () => {
    await using server = await openServer();
    const required = {
      working_directory: nowhere,
      working_directory_required: true,
    };
    const made = await server.ask("PUT", "/sessions", {
      session_id: "s",
      kernel_name: "echo",
      ...required,
    });
    expect(made).toMatchObject({
      status: 400,
      body: { code: "bad_working_directory" },
    });
    expect(made.text).toContain(`${nowhere} does not exist`);
    expect((await server.ask("GET", "/sessions/s")).status).toBe(404);

    const id = await server.start("echo");
    const before = server.server.supervisor.session(id).pid;
    const path = `/sessions/${id}/restart`;
    const restarted = await server.ask("POST", path, required);
    // Every failure of a restart has the form of a failed start.
    expect(restarted.body).toMatchObject({
      error: { code: "bad_working_directory" },
    });
    expect(server.server.supervisor.session(id).pid).toBe(before);
  });

  test("is refused by our client", async () => {
    await using server = await openServer();
    const client = createClient({ url: server.url, token: TOKEN });
    const options = { working_directory: nowhere };
    await expect(client.start("echo", options)).rejects.toMatchObject({
      reason: "bad_working_directory",
    });
    const session = await client.start("echo");
    await expect(session.restart(options)).rejects.toMatchObject({
      reason: "bad_working_directory",
    });
    client.close();
  });
});

describe("in the environment that the server was given", needsPosix, () => {
  test("programs, kernelspecs, the home directory and the shell are looked up", async () => {
    const folder = temporaryFolder();
    const bin = join(folder, "bin");
    mkdirSync(bin);
    symlinkSync(process.execPath, join(bin, "a-node-of-its-own"));
    const shell = join(folder, "sh");
    writeFileSync(
      shell,
      '#!/bin/sh\necho "a shell of its own"\nexec /bin/sh "$@"\n',
    );
    chmodSync(shell, 0o755);
    const [, program = "", file = ""] = echo.argv;
    const argv = ["a-node-of-its-own", program, file];
    withKernelspec("ours", { ...echo, argv }, folder);
    const env = {
      PATH: [bin, "/bin", "/usr/bin"].join(delimiter),
      HOME: folder,
      JUPYTER_PATH: folder,
      SHELL: shell,
    };
    await using server = await openServer({ env, kernelspecDirs: [] });
    const id = await server.start("ours", "s", {
      working_directory: "~/bin",
      startup_environment: "shell",
    });
    const { body } = await server.ask("GET", `/sessions/${id}`);
    expect(body).toMatchObject({ working_directory: bin });
    const outputs: string[] = [];
    const client = createClient({ url: server.url, token: TOKEN });
    for await (const event of client.session(id).events({ after: 0 })) {
      if (event.kind !== "output") continue;
      outputs.push(event.text);
      break;
    }
    client.close();
    expect(outputs).toEqual(["a shell of its own\n"]);
  });

  test("a program that is only on the process's own PATH is not found", async () => {
    const env = { PATH: temporaryFolder() };
    await using server = await openServer({ env });
    const [, program = "", file = ""] = echo.argv;
    const made = await server.ask("PUT", "/sessions", {
      session_id: "s",
      kernel_name: "echo",
      argv: ["sh", program, file],
    });
    expect(made).toMatchObject({ status: 400, body: { code: "KS-19" } });
    expect(made.text).toContain(env.PATH);
  });
});
