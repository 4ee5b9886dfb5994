import { mkdtemp, mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { kernelEnvironment } from "../../src/host/environment.ts";
import { findProgram } from "../../src/host/program.ts";
import {
  expandHome,
  workingDirectory,
} from "../../src/host/working-directory.ts";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "environment-"));
  for (const directory of ["bin", "other", "start/bin"]) {
    await mkdir(join(root, directory), { recursive: true });
  }
  const run = { mode: 0o755 };
  await writeFile(join(root, "bin/kernel"), "", { mode: 0o644 });
  await writeFile(join(root, "other/kernel"), "", run);
  await writeFile(join(root, "start/bin/local"), "", run);
  await writeFile(join(root, "other/R.exe"), "", { mode: 0o644 });
});
afterAll(() => rm(root, { recursive: true }));

describe("a kernel's environment", () => {
  it("has each action applied to the result of the previous ones, without separators", () => {
    const environment = kernelEnvironment({
      base: { PATH: "/bin", KEPT: "yes", GONE: undefined },
      actions: [
        { action: "append", name: "PATH", value: ":/a" },
        { action: "prepend", name: "PATH", value: "/z:" },
        { action: "replace", name: "NEW", value: "1" },
        { action: "append", name: "NEW", value: "2" },
        { action: "prepend", name: "ABSENT", value: "x" },
        { action: "replace", name: "PATH", value: "/last" },
        { action: "append", name: "PATH", value: "!" },
      ],
      platform: "linux",
    });
    expect(environment).toEqual({
      PATH: "/last!",
      KEPT: "yes",
      NEW: "12",
      ABSENT: "x",
    });
  });

  it("has no variables of the kernel in which the server was started", () => {
    const base = { JPY_PARENT_PID: "4711", JPY_INTERRUPT_EVENT: "8", A: "a" };
    expect(kernelEnvironment({ base })).toEqual({ A: "a" });
  });

  it("has upper-case names on Windows", () => {
    const environment = kernelEnvironment({
      base: { Path: "C:\\a" },
      actions: [{ action: "append", name: "path", value: ";C:\\b" }],
      specEnv: { both: "${PaTh};$Path" },
      platform: "win32",
    });
    expect(environment).toEqual({
      PATH: "C:\\a;C:\\b",
      BOTH: "C:\\a;C:\\b;C:\\a;C:\\b",
    });
  });

  it("fills the kernelspec's variables from the result of the previous steps", () => {
    const environment = kernelEnvironment({
      base: { HOME: "/home/ann", A: "base" },
      actions: [{ action: "replace", name: "A", value: "$HOME" }],
      specEnv: {
        A: "spec",
        B: "$A/${A}x$$A ${missing} $missing $ 5$ ${A {A}",
        C: "{resource_dir}/$HOME {unknown}",
      },
      values: { resource_dir: "/k/$A" },
      platform: "linux",
    });
    expect(environment).toEqual({
      HOME: "/home/ann",
      A: "spec",
      // Inserted values are not filled in again.
      B: "$HOME/$HOMEx$A ${missing} $missing $ 5$ ${A {A}",
      C: "/k/$A//home/ann {unknown}",
    });
  });

  it("has no credentials of the server, unless the request sets them", () => {
    const base = {
      KALLICHORE_TOKEN: "a",
      KALLICHORE_AUTH_TOKEN: "b",
      KALLICHORE_PORT: "1",
    };
    expect(kernelEnvironment({ base, platform: "linux" })).toEqual({
      KALLICHORE_PORT: "1",
    });
    const actions = [
      { action: "replace", name: "KALLICHORE_TOKEN", value: "c" } as const,
    ];
    expect(
      kernelEnvironment({ base, actions, platform: "linux" }),
    ).toMatchObject({ KALLICHORE_TOKEN: "c" });
  });

  it("has no PYTHONEXECUTABLE for Python, which would give it a wrong prefix", () => {
    const base = { PYTHONEXECUTABLE: "/other/python" };
    expect(kernelEnvironment({ base, language: "Python" })).toEqual({});
    expect(kernelEnvironment({ base, language: "R" })).toEqual(base);
  });

  it("may contain names of object properties", () => {
    const actions = [
      { action: "append", name: "constructor", value: "x" } as const,
    ];
    const environment = kernelEnvironment({ base: {}, actions });
    expect(Object.entries(environment)).toEqual([["constructor", "x"]]);
  });
});

describe("a working directory", () => {
  it("is used unchanged if it exists", async () => {
    expect(await workingDirectory(root)).toEqual({ path: root });
  });

  it("is the server's own if none is requested", async () => {
    expect(await workingDirectory("")).toEqual({ path: process.cwd() });
  });

  it("may begin with the home directory", async () => {
    const env = { HOME: root };
    expect(await workingDirectory("~", { env })).toEqual({ path: root });
    expect(await workingDirectory("~/start", { env })).toEqual({
      path: join(root, "start"),
    });
    expect(expandHome("~start", { env })).toBe(join(root, "start"));
    expect(expandHome("a/~", { env })).toBe("a/~");
    expect(expandHome("~", { env: {} })).toBe(userInfo().homedir);
    expect(
      expandHome("~\\x", { env: { USERPROFILE: "C:\\u" }, platform: "win32" }),
    ).toBe("C:\\u\\x");
  });

  it.each([
    ["absent", "does not exist"],
    ["other/kernel", "is not a directory"],
    ["other/kernel/below", "does not exist"],
  ])(
    "that cannot be used (%s) is replaced by the server's, with a reason",
    async (path, why) => {
      const found = await workingDirectory(join(root, path));
      expect(found.path).toBe(process.cwd());
      expect(found.reason).toContain(join(root, path));
      expect(found.reason).toContain(why);
    },
  );
});

describe("a program", () => {
  const find = (program: string, path = `${root}/bin:${root}/other`) =>
    findProgram(program, {
      env: { PATH: path },
      cwd: join(root, "start"),
      platform: "linux",
    });

  it("by its absolute path is that file", async () => {
    expect(await find(join(root, "bin/kernel"))).toBe(join(root, "bin/kernel"));
    expect(await find(join(root, "bin"))).toBeUndefined();
    expect(await find("/no/such/program")).toBeUndefined();
  });

  it("with a slash is relative to the kernel's directory, not on the PATH", async () => {
    const local = join(root, "start/bin/local");
    expect(await find("bin/local")).toBe(local);
    expect(await find("./bin/local")).toBe(local);
    expect(await find("./kernel")).toBeUndefined();
  });

  it("with a bare name is the first executable on the PATH", async () => {
    expect(await find("kernel")).toBe(join(root, "other/kernel"));
    expect(await find("local")).toBeUndefined();
  });

  it("is searched in the working directory for an empty entry of PATH", async () => {
    expect(await find("bin/local", "")).toBe(join(root, "start/bin/local"));
    expect(
      await findProgram("local", {
        env: { PATH: "/nowhere:" },
        cwd: join(root, "start/bin"),
        platform: "linux",
      }),
    ).toBe(join(root, "start/bin/local"));
  });

  it("with an empty name is not found", async () => {
    expect(await find("")).toBeUndefined();
  });
});
