/**
 * The shell that a kernel is started through, and how a command is said to it.
 *
 * Every word of the kernel's command is quoted, so that it arrives as it was
 * given whatever the shell and its settings; the shell replaces itself by the
 * kernel (`exec`), so that the process we started is the kernel: its pid, its
 * signals, its exit code. POSIX only; on Windows every mode means `none`.
 */
import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, isAbsolute, resolve } from "node:path";
import type * as z from "zod";
import type { StartupEnvironment } from "../../contract/sessions.ts";
import type { Variables } from "./environment.ts";

/** Printed on a line of their own on stdout, around the start-up command or script. */
export const STARTUP_BEGIN = "KALLICHORE_STARTUP_BEGIN";
export const STARTUP_SUCCESS = "KALLICHORE_STARTUP_SUCCESS";

export interface StartupOptions {
  readonly mode: z.infer<typeof StartupEnvironment>;
  /** The command or the script's path; empty is as absent. */
  readonly arg?: string | null | undefined;
  /** The kernel's command, with nothing left to expand. */
  readonly argv: readonly [string, ...string[]];
  /** The directory that it starts in: a relative script lies there. */
  readonly cwd: string;
  /** The variables that it starts with. */
  readonly env: Variables;
  /** The server's own `$SHELL`: what the request says about SHELL does not count. */
  readonly serverShell?: string | undefined;
  readonly platform?: NodeJS.Platform;
}

export interface StartupCommand {
  readonly program: string;
  readonly args: readonly string[];
  /** Whether the marker lines will be printed. */
  readonly markers: boolean;
  /** The shell that it goes through. */
  readonly shell?: string;
  /** What was asked for and is not done, for the log. */
  readonly warnings: readonly string[];
}

export interface MissingScript {
  /** The absolute path that is no regular file. */
  readonly missing_script: string;
}

/** What to spawn so that the kernel's command runs in the environment that was asked for. */
export async function startupCommand({
  mode,
  arg,
  argv,
  cwd,
  env,
  serverShell,
  platform = process.platform,
}: StartupOptions): Promise<StartupCommand | MissingScript> {
  const [program, ...args] = argv;
  if (mode === "none" || platform === "win32") {
    return { program, args, markers: false, warnings: [] };
  }
  const warnings: string[] = [];
  const shell = usable(serverShell) ?? usable("/bin/bash") ?? usable("/bin/sh");
  if (serverShell !== undefined && serverShell !== shell) {
    warnings.push(
      `The shell ${serverShell} does not exist or is none that we know; ${shell ?? "no shell"} is used instead`,
    );
  }
  if (shell === undefined) return { program, args, markers: false, warnings };

  const dialect = dialectOf(shell);
  const kernel = [
    ...(platform === "darwin" ? dyldAssignments(dialect, env) : []),
    `exec ${argv.map((word) => quoted(word, dialect)).join(" ")}`,
  ];
  const given = arg === null || arg === "" ? undefined : arg;
  if (mode === "shell" || given === undefined) {
    if (mode !== "shell") {
      warnings.push(
        `startup_environment is ${mode}, but startup_environment_arg is empty: the kernel starts in a login shell`,
      );
    }
    const line = kernel.join(" && ");
    return {
      program: shell,
      args: [loginFlag(shell), "-c", line],
      markers: false,
      shell,
      warnings,
    };
  }

  let startup = `eval ${quoted(given, dialect)}`;
  if (mode === "script") {
    const script = resolve(cwd, given);
    if (!(await isFile(script))) return { missing_script: script };
    startup = `${dialect === "posix" ? "." : "source"} ${quoted(script, dialect)}`;
  }
  const line = [
    `echo ${STARTUP_BEGIN}`,
    startup,
    `echo ${STARTUP_SUCCESS}`,
    ...kernel,
  ].join(" && ");
  // Interactive, so that what people define in their rc files (conda, pyenv, modules) is there.
  return {
    program: shell,
    args: ["-i", "-c", line],
    markers: true,
    shell,
    warnings,
  };
}

/** What an interactive shell says on stderr for want of a terminal; nobody needs to hear it. */
export function isJobControlComplaint(line: string): boolean {
  return /cannot set terminal process group|no job control in this shell|job control turned off|no access to tty/.test(
    line,
  );
}

type Dialect = "posix" | "csh" | "fish";

/**
 * A word as the shell's lexer gives it back unchanged.
 *
 * `posix`: nothing is special between single quotes but their end. `csh`: `!`
 * is, and backslashes are under `backslash_quote`, so both stand outside; a
 * newline needs a backslash even inside. `fish`: `\` and `'` are escaped inside.
 */
export function quoted(word: string, dialect: Dialect): string {
  if (word === "") return "''";
  switch (dialect) {
    case "posix":
      return word.replace(/[^']+|'/g, (part) =>
        part === "'" ? "\\'" : `'${part}'`,
      );
    case "csh":
      return word.replace(/[^'!\\\n]+|['!\\]|\n/g, (part) => {
        if (part === "\n") return "'\\\n'";
        return /^['!\\]$/.test(part) ? `\\${part}` : `'${part}'`;
      });
    case "fish":
      return `'${word.replace(/[\\']/g, "\\$&")}'`;
  }
}

/** Shells whose language we speak. Others (nushell, xonsh, nologin, …) are passed over. */
const dialects: Readonly<Record<string, Dialect>> = {
  sh: "posix",
  ash: "posix",
  bash: "posix",
  dash: "posix",
  ksh: "posix",
  mksh: "posix",
  zsh: "posix",
  csh: "csh",
  tcsh: "csh",
  fish: "fish",
};

function usable(shell: string | undefined): string | undefined {
  if (shell === undefined || !isAbsolute(shell)) return undefined;
  const known = dialects[shellName(shell)] !== undefined;
  return known && existsSync(shell) ? shell : undefined;
}

/** `bash` of `/opt/bin/bash-5.2`, `csh` of `/bin/bsd-csh`. */
function shellName(path: string): string {
  return basename(path)
    .replace(/^(bsd|pd)-/, "")
    .replace(/[-\d.]+$/, "");
}

function dialectOf(shell: string): Dialect {
  return dialects[shellName(shell)] ?? "posix";
}

function loginFlag(shell: string): string {
  const name = shellName(shell);
  if (name === "bash" || name === "zsh") return "--login";
  // csh and tcsh take -l only by itself, without -c.
  return dialectOf(shell) === "csh" ? "-d" : "-l";
}

/** macOS takes these from every program in its system directories, shells among them. */
function dyldAssignments(dialect: Dialect, env: Variables): string[] {
  return Object.entries(env)
    .filter(([name]) => /^DYLD_\w+$/.test(name))
    .map(([name, value]) => {
      const text = quoted(value, dialect);
      if (dialect === "csh") return `setenv ${name} ${text}`;
      return dialect === "fish"
        ? `set -gx ${name} ${text}`
        : `export ${name}=${text}`;
    });
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false; // For whatever reason, the shell could not read it either.
  }
}
