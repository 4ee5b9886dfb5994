import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  STARTUP_BEGIN,
  STARTUP_SUCCESS,
  isJobControlWarning,
  startupCommand,
  type StartupCommand,
  type StartupOptions,
} from "../../src/host/shell.ts";
import { needsFile } from "../needs.ts";

const shells = [
  "/bin/sh",
  "/bin/bash",
  "/bin/dash",
  "/usr/bin/zsh",
  "/usr/bin/tcsh",
  "/bin/bsd-csh",
  "/usr/bin/fish",
];
const isCsh = (shell: string) => shell.endsWith("csh");

let home: string;
let env: Record<string, string>;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "startup-shell-"));
  env = { HOME: home, PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8", TERM: "xterm" };
});
afterAll(() => rm(home, { recursive: true }));

async function command(
  options: Partial<StartupOptions> & Pick<StartupOptions, "mode" | "argv">,
): Promise<StartupCommand> {
  const made = await startupCommand({ cwd: home, env, ...options });
  if ("missing_script" in made) throw new Error(made.missing_script);
  return made;
}

async function run({ program, args }: StartupCommand) {
  // As kernels are started: in their own session, without stdin.
  const child = spawn(program, args, {
    env,
    cwd: home,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`${program} was not started`);
  const overdue = setTimeout(() => process.kill(-pid, "SIGKILL"), 20_000);
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close") as Promise<[number | null, string | null]>,
  ]);
  clearTimeout(overdue);
  return { pid, stdout, stderr, code };
}

/** Prints each of its arguments, terminated by NUL. */
const printer = ["/usr/bin/printf", "%s\\0"] as const;
/** The kernel's output after the markers. */
const markedWords = (stdout: string) =>
  stdout.replace(/^[^]*KALLICHORE_STARTUP_SUCCESS\n/, "").split("\0");

const word = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc.string({
    unit: fc.constantFrom(
      ...Array.from(`'"\\!$\`^~#=*?[]{}()<>|&; \n\t-%@:aé☃`),
    ),
  }),
);
const words = fc
  .array(
    word.map((each) => each.replaceAll("\0", "")),
    { minLength: 1, maxLength: 40 },
  )
  // Not what breaks, but what people have: each is worth its place in every run.
  .map((made) => [
    ...["", "it's a test", "a'b", "'", "''", "\\", "\\'", "~/k", "#x", "=ls"],
    ...["!!", "a\nb", "$HOME", "`id`", "*", "{a,b}", "-n", "L"],
    ...made,
  ]);

describe.each(shells)("%s", (shell) => {
  const needsShell = needsFile(shell);

  it("passes the arguments to the kernel unchanged", needsShell, async () => {
    await fc.assert(
      fc.asyncProperty(words, async (given) => {
        const made = await command({
          mode: "shell",
          argv: [...printer, ...given],
          serverShell: shell,
        });
        expect(made).toMatchObject({ shell, markers: false });
        const { stdout } = await run(made);
        expect(stdout.split("\0").slice(0, -1)).toEqual(given);
      }),
      { numRuns: 12 },
    );
  });

  it(
    "passes them unchanged after a start-up command too",
    needsShell,
    async () => {
      await fc.assert(
        fc.asyncProperty(words, async (given) => {
          const made = await command({
            mode: "command",
            arg: "true",
            argv: [...printer, ...given],
            serverShell: shell,
          });
          expect(made).toMatchObject({ shell, markers: true });
          const { stdout } = await run(made);
          expect(markedWords(stdout).slice(0, -1)).toEqual(given);
        }),
        { numRuns: 6 },
      );
    },
  );

  it.skipIf(!existsSync(shell)).each(["shell", "command", "script"] as const)(
    "does not stay as the kernel's parent (%s)",
    async (mode) => {
      await writeFile(join(home, "nothing.rc"), "");
      const arg = { shell: "", command: "true", script: "nothing.rc" }[mode];
      const argv = ["/bin/sh", "-c", 'echo "pid $$"; exit 7'] as const;
      const made = await command({ mode, arg, argv, serverShell: shell });
      const { pid, stdout, code } = await run(made);
      expect(stdout).toMatch(new RegExp(`^pid ${pid}$`, "m"));
      expect(code).toBe(7);
    },
  );

  it
    .skipIf(!existsSync(shell) || process.platform !== "linux")
    .each(["shell", "command"] as const)(
    "leaves no signal ignored or blocked (%s)",
    async (mode) => {
      const argv = [
        "/bin/grep",
        "-E",
        "Sig(Ign|Blk)",
        "/proc/self/status",
      ] as const;
      const made = await command({
        mode,
        arg: "true",
        argv,
        serverShell: shell,
      });
      const plain = await run(await command({ mode: "none", argv }));
      expect((await run(made)).stdout).toContain(plain.stdout);
    },
  );

  it(
    "lets the command change the kernel's environment",
    needsShell,
    async () => {
      const set = (name: string) =>
        isCsh(shell)
          ? `setenv ${name} '${name} set'`
          : shell.endsWith("fish")
            ? `set -gx ${name} '${name} set'`
            : `export ${name}='${name} set'`;
      const made = await command({
        mode: "command",
        // An interactive csh does not support comments.
        arg: `${set("ONE")}\n${set("TWO")}${isCsh(shell) ? "" : " # the second"}`,
        argv: ["/usr/bin/printenv", "ONE", "TWO"],
        serverShell: shell,
      });
      const { stdout } = await run(made);
      expect(stdout).toBe(
        `${STARTUP_BEGIN}\n${STARTUP_SUCCESS}\nONE set\nTWO set\n`,
      );
    },
  );

  it
    .skipIf(!existsSync(shell))
    .each(["false", "exit 3", "no-such-command-here", "echo 'unfinished"])(
    "does not start the kernel after a command that fails: %s",
    async (arg) => {
      const argv = ["/bin/echo", "started"] as const;
      const made = await command({
        mode: "command",
        arg,
        argv,
        serverShell: shell,
      });
      const { stdout, code } = await run(made);
      expect(stdout).toBe(`${STARTUP_BEGIN}\n`);
      expect(code).not.toBe(0);
    },
  );

  it("reads a script in any directory", needsShell, async () => {
    const directory = join(home, "it's a [dir]!");
    await mkdir(directory, { recursive: true });
    await writeFile(
      join(directory, "start up.rc"),
      isCsh(shell) || shell.endsWith("fish")
        ? "echo from script\ncd /\n"
        : "echo from script; cd /\n",
    );
    const made = await command({
      mode: "script",
      arg: "start up.rc",
      cwd: directory,
      argv: ["/bin/pwd", "-P"],
      serverShell: shell,
    });
    const { stdout } = await run(made);
    expect(stdout).toBe(
      `${STARTUP_BEGIN}\nfrom script\n${STARTUP_SUCCESS}\n/\n`,
    );
  });

  it(
    "passes on the variables that macOS removes from shells",
    needsShell,
    async () => {
      const made = await command({
        mode: "shell",
        env: { ...env, DYLD_LIBRARY_PATH: "/a b:/it's" },
        argv: ["/usr/bin/printenv", "DYLD_LIBRARY_PATH"],
        serverShell: shell,
        platform: "darwin",
      });
      // The program does not inherit such a variable.
      expect((await run(made)).stdout).toBe("/a b:/it's\n");
    },
  );
});

describe("start-up", () => {
  it(
    "commands see definitions of the rc files",
    needsFile("/bin/bash"),
    async () => {
      await writeFile(
        join(home, ".bashrc"),
        "activate() { export ACTIVE=$1; }\nalias printenv=false\n",
      );
      const made = await command({
        mode: "command",
        arg: "activate yes",
        argv: ["printenv", "ACTIVE"],
        serverShell: "/bin/bash",
      });
      expect((await run(made)).stdout).toMatch(/\nyes\n$/);
    },
  );

  it.each(shells.filter((shell) => existsSync(shell)))(
    "prints nothing except warnings about the terminal: %s",
    async (shell) => {
      const made = await command({
        mode: "command",
        arg: "true",
        argv: ["/bin/true"],
        serverShell: shell,
      });
      const { stderr } = await run(made);
      const lines = stderr.split("\n").filter((line) => line !== "");
      expect(lines.filter((line) => !isJobControlWarning(line))).toEqual([]);
    },
  );

  it(
    "arguments are unchanged with any setting of zsh",
    needsFile("/usr/bin/zsh"),
    async () => {
      await writeFile(
        join(home, ".zshrc"),
        "setopt rc_quotes extended_glob\nalias -g L='| wc'\n",
      );
      const made = await command({
        mode: "command",
        arg: "true",
        argv: [...printer, "L", "it''s", "''", "^a"],
        serverShell: "/usr/bin/zsh",
      });
      const { stdout } = await run(made);
      expect(markedWords(stdout)).toEqual(["L", "it''s", "''", "^a", ""]);
    },
  );

  it(
    "arguments are unchanged with any setting of tcsh",
    needsFile("/usr/bin/tcsh"),
    async () => {
      await writeFile(join(home, ".tcshrc"), "set backslash_quote\n");
      const made = await command({
        mode: "command",
        arg: "true",
        argv: [...printer, "a\\b", "it\\'s", "\\", "!"],
        serverShell: "/usr/bin/tcsh",
      });
      const { stdout } = await run(made);
      await rm(join(home, ".tcshrc"));
      expect(markedWords(stdout)).toEqual(["a\\b", "it\\'s", "\\", "!", ""]);
    },
  );

  it("starts the command directly with none, and on Windows", async () => {
    const argv = ["python", "it's"] as const;
    const direct = { program: "python", args: ["it's"], markers: false };
    expect(await command({ mode: "none", argv })).toMatchObject(direct);
    expect(
      await command({ mode: "command", arg: "x", argv, platform: "win32" }),
    ).toMatchObject(direct);
  });

  it.each(["/no/such/shell", "/usr/bin/env", "bash", undefined])(
    "falls back from %s to a shell that exists",
    async (serverShell) => {
      const options = { mode: "shell", argv: ["true"] } as const;
      const made = await startupCommand({
        ...options,
        cwd: home,
        env,
        serverShell: serverShell ?? "",
      });
      expect(made).toMatchObject({ program: "/bin/bash" });
    },
  );

  it("warns if it does not use the server's shell", async () => {
    const options = { mode: "shell", argv: ["true"] } as const;
    expect(
      (await command({ ...options, serverShell: "/no/such/shell" })).warnings,
    ).toHaveLength(1);
    expect(
      (await command({ ...options, serverShell: "/bin/sh" })).warnings,
    ).toEqual([]);
  });

  it.each(["command", "script"] as const)(
    "without its argument, %s is a login shell and a warning",
    async (mode) => {
      const made = await command({
        mode,
        arg: "",
        argv: ["true"],
        serverShell: "/bin/sh",
      });
      expect(made).toMatchObject({ args: ["-l", "-c", "exec 'true'"] });
      expect(made.warnings).toHaveLength(1);
    },
  );

  it("ignores an argument in mode shell", async () => {
    const options = {
      mode: "shell",
      argv: ["true"],
      serverShell: "/bin/sh",
    } as const;
    expect(await command({ ...options, arg: "ignored" })).toEqual(
      await command(options),
    );
  });

  it("reports a script that is missing or not a file", async () => {
    const options = { mode: "script", argv: ["true"], cwd: home, env } as const;
    expect(await startupCommand({ ...options, arg: "absent.sh" })).toEqual({
      missing_script: join(home, "absent.sh"),
    });
    expect(await startupCommand({ ...options, arg: home })).toEqual({
      missing_script: home,
    });
  });
});
