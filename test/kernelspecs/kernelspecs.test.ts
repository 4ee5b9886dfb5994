import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { argvOf } from "../../src/kernelspecs/argv.ts";
import {
  kernelsDirectories,
  type SearchOptions,
} from "../../src/kernelspecs/paths.ts";
import {
  findKernelspec,
  findKernelspecs,
} from "../../src/kernelspecs/installed.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kernelspecs-"));
});
afterEach(() => rm(root, { recursive: true }));

const minimal = (display_name: string, more: object = {}) =>
  JSON.stringify({
    argv: ["python", "-f", "{connection_file}"],
    display_name,
    language: "python",
    ...more,
  });

async function put(path: string, content = "", mode = 0o644): Promise<string> {
  const file = join(root, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content, { mode });
  return file;
}

/** A machine that has only the files of the test and of the system. */
const machine = (env: Record<string, string> = {}): SearchOptions => ({
  env: { PATH: join(root, "no-path"), ...env },
  home: join(root, "home"),
  platform: "linux",
});

const nameOf = async (options: SearchOptions, name: string) =>
  (await findKernelspec(name, options)).kernelspec?.spec.display_name;

describe("the search for kernelspecs", () => {
  const paths = async (options: SearchOptions) =>
    (await kernelsDirectories(options)).map(({ path }) => path);

  it("follows Jupyter's order on Linux", async () => {
    const found = await kernelsDirectories({
      platform: "linux",
      home: "/home/ann",
      env: {
        PATH: "",
        JUPYTER_PATH: "/jp/one:/jp/two",
        VIRTUAL_ENV: "/envs/gone",
        CONDA_PREFIX: "/conda",
        CONDA_DEFAULT_ENV: "base",
      },
      extraDirs: ["/extra"],
    });
    expect(found).toEqual([
      { origin: "option", path: "/extra/share/jupyter/kernels" },
      { origin: "option", path: "/extra/kernels" },
      { origin: "option", path: "/extra" },
      { origin: "jupyter_path", path: "/jp/one/kernels" },
      { origin: "jupyter_path", path: "/jp/two/kernels" },
      { origin: "user", path: "/home/ann/.local/share/jupyter/kernels" },
      { origin: "environment", path: "/envs/gone/share/jupyter/kernels" },
      { origin: "environment", path: "/conda/share/jupyter/kernels" },
      { origin: "system", path: "/usr/local/share/jupyter/kernels" },
      { origin: "system", path: "/usr/share/jupyter/kernels" },
      { origin: "ipython", path: "/home/ann/.ipython/kernels" },
    ]);
  });

  it.each([
    ["JUPYTER_DATA_DIR", "/data", "/data/kernels"],
    ["XDG_DATA_HOME", "/xdg", "/xdg/jupyter/kernels"],
  ])("takes the user's directory from %s", async (name, value, expected) => {
    const found = await paths({
      platform: "linux",
      home: "/home/ann",
      env: { PATH: "", [name]: value },
    });
    expect(found.slice(0, 2)).toEqual([
      expected,
      "/home/ann/.local/share/jupyter/kernels", // Python's user site, wherever the data are
    ]);
  });

  it("knows the directories of macOS", async () => {
    const options = {
      platform: "darwin",
      home: root,
      env: { PATH: "" },
    } as const;
    await put("Library/Python/3.9/x");
    await put("Library/Python/3.12/x");
    expect((await paths(options)).slice(0, 3)).toEqual([
      join(root, "Library/Jupyter/kernels"),
      join(root, "Library/Python/3.12/share/jupyter/kernels"),
      join(root, "Library/Python/3.9/share/jupyter/kernels"),
    ]);
    const native = {
      PATH: "",
      JUPYTER_PLATFORM_DIRS: "1",
      PYTHONNOUSERSITE: "1",
    };
    expect(await paths({ ...options, env: native })).toEqual([
      join(root, "Library/Application Support/Jupyter/kernels"),
      "/Library/Application Support/Jupyter/kernels",
      join(root, ".ipython/kernels"),
    ]);
  });

  it("knows the directories of Windows, ignoring the case of names", async () => {
    const env = {
      Path: "C:\\nowhere",
      AppData: "C:\\Users\\ann\\AppData\\Roaming",
      ProgramData: "C:\\ProgramData",
      Jupyter_Path: "D:\\a;D:\\b",
    };
    const options = { platform: "win32", home: "C:\\Users\\ann" } as const;
    expect(await paths({ ...options, env })).toEqual([
      "D:\\a\\kernels",
      "D:\\b\\kernels",
      "C:\\Users\\ann\\AppData\\Roaming\\jupyter\\kernels",
      "C:\\Users\\ann\\AppData\\Roaming\\Python\\share\\jupyter\\kernels",
      "C:\\Users\\ann\\.ipython\\kernels",
    ]);
    const shared = { ...env, JUPYTER_USE_PROGRAMDATA: "yes" };
    expect(await paths({ ...options, env: shared })).toContain(
      "C:\\ProgramData\\jupyter\\kernels",
    );
  });

  it("follows JUPYTER_PLATFORM_DIRS to XDG_DATA_DIRS", async () => {
    const env = { PATH: "", XDG_DATA_DIRS: "/opt/share:/usr/share" };
    const options = { platform: "linux", home: "/home/ann" } as const;
    expect(await paths({ ...options, env })).not.toContain(
      "/opt/share/jupyter/kernels",
    );
    const native = { ...env, JUPYTER_PLATFORM_DIRS: "True" };
    expect(await paths({ ...options, env: native })).toEqual([
      "/home/ann/.local/share/jupyter/kernels",
      "/opt/share/jupyter/kernels",
      "/usr/share/jupyter/kernels",
      "/home/ann/.ipython/kernels",
    ]);
  });

  it("uses the prefix of each Python on the PATH; for a link, the prefix of the link", async () => {
    await put("conda/bin/python3", "", 0o755);
    await mkdir(join(root, "venv/bin"), { recursive: true });
    await symlink(
      join(root, "conda/bin/python3"),
      join(root, "venv/bin/python3"),
    );
    const env = {
      PATH: `${root}/venv/bin:/nowhere:${root}/conda/bin:/usr/bin`,
    };
    const found = await kernelsDirectories({ ...machine(), env });
    expect(
      found.filter(({ origin }) => origin === "environment"),
    ).toMatchObject([
      { path: join(root, "venv/share/jupyter/kernels") },
      { path: join(root, "conda/share/jupyter/kernels") },
    ]);
  });

  describe("environment or user first", () => {
    const first = async (env: Record<string, string>) => {
      const found = await kernelsDirectories(machine(env));
      return found[0]?.origin;
    };

    it.each([
      ["an activated virtual environment of ours", {}, "environment"],
      ["JUPYTER_PREFER_ENV_PATH=0", { JUPYTER_PREFER_ENV_PATH: "0" }, "user"],
      [
        "JUPYTER_PREFER_ENV_PATH=Off",
        { JUPYTER_PREFER_ENV_PATH: "Off" },
        "user",
      ],
      [
        "JUPYTER_PREFER_ENV_PATH=1",
        { JUPYTER_PREFER_ENV_PATH: "1" },
        "environment",
      ],
    ])("%s", async (_title, env, expected) => {
      await put("venv/x");
      expect(await first({ VIRTUAL_ENV: join(root, "venv"), ...env })).toBe(
        expected,
      );
    });

    it.each([
      ["base", "user"],
      ["work", "environment"],
    ])("the conda environment %s: %s", async (name, expected) => {
      await put("conda/x");
      const env = {
        CONDA_PREFIX: join(root, "conda"),
        CONDA_DEFAULT_ENV: name,
      };
      expect(await first(env)).toBe(expected);
    });

    it("an environment that is not writable: user", async () => {
      expect(await first({ VIRTUAL_ENV: join(root, "gone") })).toBe("user");
    });
  });
});

describe("kernelspecs", () => {
  it("are decided by the first directory that has the name", async () => {
    await put("two/kernels/same/kernel.json", minimal("second"));
    await put("one/kernels/same/kernel.json", minimal("first"));
    await put(
      "home/.local/share/jupyter/kernels/same/kernel.json",
      minimal("third"),
    );
    const env = { JUPYTER_PATH: `${root}/one:${root}/two` };
    expect(await nameOf(machine(env), "same")).toBe("first");
  });

  it("have names that ignore case", async () => {
    await put("one/kernels/My.Kernel_2/kernel.json", minimal("mine"));
    const options = machine({ JUPYTER_PATH: join(root, "one") });
    const { kernelspec } = await findKernelspec("MY.kernel_2", options);
    expect(kernelspec).toMatchObject({
      name: "my.kernel_2",
      resource_dir: join(root, "one/kernels/My.Kernel_2"),
      origin: "jupyter_path",
    });
  });

  it("accept `python` for `python3`, unless there is a kernelspec `python`", async () => {
    const options = machine({ JUPYTER_PATH: join(root, "one") });
    await put("one/kernels/python3/kernel.json", minimal("three"));
    expect(await nameOf(options, "Python")).toBe("three");
    await put("one/kernels/python/kernel.json", minimal("plain"));
    expect(await nameOf(options, "Python")).toBe("plain");
    expect(await nameOf(options, "python3")).toBe("three");
  });

  it.each([
    ["is not JSON", "{"],
    ["has no argv", '{"display_name": "x"}'],
    ["has an empty argv", '{"argv": []}'],
    ["has an argv of another type", '{"argv": [1]}'],
    [
      "has an unknown interrupt mode",
      minimal("x", { interrupt_mode: "shout" }),
    ],
  ])("hide no others where kernel.json %s", async (_title, content) => {
    const path = await put("one/kernels/broken/kernel.json", content);
    await put("one/kernels/whole/kernel.json", minimal("whole"));
    await put("two/kernels/broken/kernel.json", minimal("next in line"));
    const env = { JUPYTER_PATH: `${root}/one:${root}/two` };
    const { kernelspecs, problems } = await findKernelspecs(machine(env));
    expect(problems).toMatchObject([{ path }]);
    expect(
      kernelspecs
        .filter(({ origin }) => origin === "jupyter_path")
        .map(({ spec }) => spec.display_name),
    ).toEqual(["next in line", "whole"]);
  });

  it("report why the requested kernelspec is not available", async () => {
    await put("one/kernels/broken/kernel.json", "{");
    await put("one/kernels/other/kernel.json", "{");
    const options = machine({ JUPYTER_PATH: join(root, "one") });
    const { kernelspec, problems } = await findKernelspec("broken", options);
    expect(kernelspec).toBeUndefined();
    expect(problems).toHaveLength(1);
  });

  it("keep unknown fields, and get defaults for missing ones", async () => {
    const spec = {
      argv: ["x"],
      interrupt_mode: "Message",
      env: { A: "1", B: 2 },
      kernel_protocol_version: "",
      more: { deep: [1] },
    };
    await put("one/kernels/loose/kernel.json", `\uFEFF${JSON.stringify(spec)}`);
    const options = machine({ JUPYTER_PATH: join(root, "one") });
    const { kernelspec } = await findKernelspec("loose", options);
    expect(kernelspec?.spec).toEqual({
      ...spec,
      display_name: "loose",
      language: "",
      interrupt_mode: "message",
      env: { A: "1", B: "2" },
    });
  });

  it("list their resources", async () => {
    await put("one/kernels/x/kernel.json", minimal("x"));
    for (const file of [
      "logo-32x32.png",
      "logo-svg.svg",
      "kernel.js",
      "kernel.css",
      "secret.txt",
    ]) {
      await put(`one/kernels/x/${file}`);
    }
    const options = machine({ JUPYTER_PATH: join(root, "one") });
    const { kernelspec } = await findKernelspec("x", options);
    expect(kernelspec?.resources).toEqual({
      "kernel.css": "kernel.css",
      "kernel.js": "kernel.js",
      "logo-32x32": "logo-32x32.png",
      "logo-svg": "logo-svg.svg",
    });
  });

  it("with a name that is not valid are listed, with a warning", async () => {
    await put("one/kernels/Not Good!/kernel.json", minimal("odd"));
    const options = machine({ JUPYTER_PATH: join(root, "one") });
    const { kernelspecs, problems } = await findKernelspecs(options);
    expect(kernelspecs.map(({ name }) => name)).toContain("not good!");
    expect(problems).toMatchObject([
      { path: join(root, "one/kernels/Not Good!") },
    ]);
  });

  it("are searched again at each call", async () => {
    const options = machine({ JUPYTER_PATH: join(root, "one") });
    expect(await nameOf(options, "late")).toBeUndefined();
    await put("one/kernels/late/kernel.json", minimal("late"));
    expect(await nameOf(options, "late")).toBe("late");
  });

  it.each(["prefix/share/jupyter/kernels", "data/kernels", "bare"])(
    "are found in %s, given by option",
    async (place) => {
      await put(`${place}/x/kernel.json`, minimal("x"));
      const [top = ""] = place.split("/");
      const options = { ...machine(), extraDirs: [join(root, top)] };
      const { kernelspec } = await findKernelspec("x", options);
      expect(kernelspec).toMatchObject({ origin: "option" });
    },
  );

  it("ignore files, empty directories and paths that are not directories", async () => {
    await put("one/kernels/README.md", "hello");
    await put("one/kernels/empty/x", "");
    const notDirectory = await put("file", "");
    const env = { JUPYTER_PATH: `${root}/one:${notDirectory}:/no/such/place` };
    const { kernelspecs, problems } = await findKernelspecs(machine(env));
    expect(problems).toEqual([]);
    expect(
      kernelspecs.filter(({ origin }) => origin === "jupyter_path"),
    ).toEqual([]);
  });
});

describe("argv", () => {
  const spec = (
    argv: readonly [string, ...string[]],
    resource_dir: string,
  ) => ({
    spec: { argv: [...argv], display_name: "", language: "" },
    resource_dir,
    origin: "environment" as const,
  });
  const here = (env: Record<string, string> = {}) => ({
    env: { HOME: join(root, "home"), PATH: join(root, "bin"), ...env },
    cwd: root,
  });

  it("has its placeholders filled, and unknown ones left", async () => {
    const resource_dir = join(root, "venv/share/jupyter/kernels/x");
    const argv = await argvOf(
      spec(
        [
          "/bin/x",
          "{resource_dir}/k:{resource_dir}",
          "--in={prefix}",
          "~/log",
          "a~/b",
          "{connection_file}",
          "{not known}",
          "{kernel_id}",
        ],
        resource_dir,
      ),
      { ...here(), values: { kernel_id: "{prefix}" } },
    );
    expect(argv).toEqual([
      "/bin/x",
      `${resource_dir}/k:${resource_dir}`,
      `--in=${join(root, "venv")}`,
      join(root, "home/log"),
      "a~/b",
      "{connection_file}",
      "{not known}",
      "{prefix}",
    ]);
  });

  it("names the program of the kernelspec's environment", async () => {
    const python = await put("venv/bin/python", "", 0o755);
    await put("bin/python", "", 0o755);
    const inVenv = join(root, "venv/share/jupyter/kernels/x");
    expect(await argvOf(spec(["python"], inVenv), here())).toEqual([python]);
  });

  it("names the program on the kernel's PATH otherwise", async () => {
    const python = await put("bin/python", "", 0o755);
    const elsewhere = join(root, "home/kernels/x");
    expect(await argvOf(spec(["python"], elsewhere), here())).toEqual([python]);
  });

  it("uses python3 if there is no python, first in its own environment", async () => {
    const python3 = await put("venv/bin/python3", "", 0o755);
    await put("bin/python", "", 0o755);
    const inVenv = join(root, "venv/share/jupyter/kernels/x");
    expect(await argvOf(spec(["python"], inVenv), here())).toEqual([python3]);
  });

  it("leaves a bare name to the shell, unless an environment contains the program", async () => {
    const python = await put("venv/bin/python", "", 0o755);
    await put("bin/python", "", 0o755);
    const options = { ...here(), inShell: true };
    const inVenv = spec(["python"], join(root, "venv/share/jupyter/kernels/x"));
    expect(await argvOf(inVenv, options)).toEqual([python]);
    const system = { ...inVenv, origin: "system" as const };
    expect(await argvOf(system, options)).toEqual(["python"]);
    const elsewhere = spec(["python"], join(root, "home/kernels/x"));
    expect(await argvOf(elsewhere, options)).toEqual(["python"]);
  });

  it("stays unchanged if there is no such program", async () => {
    const elsewhere = join(root, "home/kernels/x");
    expect(await argvOf(spec(["R", "-e"], elsewhere), here())).toEqual([
      "R",
      "-e",
    ]);
  });
});
