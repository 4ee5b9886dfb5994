/**
 * Builds the shell command through which a kernel is started.
 *
 * Every word of the kernel's command is quoted, so that it reaches the kernel
 * unchanged, whatever the shell and its settings. The shell replaces itself with
 * the kernel (`exec`), so that the started process is the kernel: its pid, its
 * signals, its exit code. POSIX only; on Windows every mode means `none`.
 */
import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, isAbsolute, resolve } from "node:path";
import type * as z from "zod";
import type { StartupEnvironment } from "../../contract/sessions.ts";
import type { Variables } from "./environment.ts";

/** Lines that are printed to stdout before and after the start-up command or script. */
export const STARTUP_BEGIN = "KALLICHORE_STARTUP_BEGIN";
export const STARTUP_SUCCESS = "KALLICHORE_STARTUP_SUCCESS";

export interface StartupOptions {
  readonly mode: z.infer<typeof StartupEnvironment>;
  /** The command, or the path of the script; empty counts as absent. */
  readonly arg?: string | null | undefined;
  /** The kernel's command, without any placeholders. */
  readonly argv: readonly [string, ...string[]];
  /** The directory in which the kernel starts. The path of a script is relative to it. */
  readonly cwd: string;
  /** The variables that the kernel starts with. */
  readonly env: Variables;
  /** The server's own `$SHELL`. A SHELL variable in the request is ignored. */
  readonly serverShell?: string | undefined;
  readonly platform?: NodeJS.Platform;
}

export interface StartupCommand {
  readonly program: string;
  readonly args: readonly string[];
  /** Whether the marker lines will be printed. */
  readonly markers: boolean;
  /** The shell that runs the command. */
  readonly shell?: string;
  /** The parts of the request that are not followed, for the log. */
  readonly warnings: readonly string[];
}

export interface MissingScript {
  /** The absolute path, which is not a regular file. */
  readonly missing_script: string;
}

/** The command that runs the kernel's command in the requested environment. */
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
  const shell =
    supported(serverShell) ?? supported("/bin/bash") ?? supported("/bin/sh");
  if (serverShell !== undefined && serverShell !== shell) {
    warnings.push(
      `The shell ${serverShell} does not exist or is not supported; ${shell ?? "no shell"} is used instead`,
    );
  }
  if (shell === undefined) return { program, args, markers: false, warnings };

  const dialect = dialectOf(shell);
  const kernel = [
    ...(platform === "darwin" ? dyldAssignments(dialect, env) : []),
    `exec ${argv.map((word) => quote(word, dialect)).join(" ")}`,
  ];
  const argument = arg === null || arg === "" ? undefined : arg;
  if (mode === "shell" || argument === undefined) {
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

  let startup = `eval ${quote(argument, dialect)}`;
  if (mode === "script") {
    const script = resolve(cwd, argument);
    if (!(await isFile(script))) return { missing_script: script };
    startup = `${dialect === "posix" ? "." : "source"} ${quote(script, dialect)}`;
  }
  const line = [
    `echo ${STARTUP_BEGIN}`,
    startup,
    `echo ${STARTUP_SUCCESS}`,
    ...kernel,
  ].join(" && ");
  // Interactive, so that the shell reads the user's rc files, which define conda, pyenv and modules.
  return {
    program: shell,
    args: ["-i", "-c", line],
    markers: true,
    shell,
    warnings,
  };
}

/** Whether the line is a warning that an interactive shell prints because it has no terminal. Such lines are dropped. */
export function isJobControlWarning(line: string): boolean {
  return /cannot set terminal process group|no job control in this shell|job control turned off|no access to tty/.test(
    line,
  );
}

type Dialect = "posix" | "csh" | "fish";

/**
 * A word, quoted so that the shell reads it unchanged.
 *
 * `posix`: between single quotes only the closing quote is special. `csh`: `!`
 * is special there too, and so is a backslash under `backslash_quote`, so both
 * are placed outside of the quotes; a newline needs a backslash even inside.
 * `fish`: `\` and `'` are escaped inside.
 */
export function quote(word: string, dialect: Dialect): string {
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

/** The supported shells. Others (nushell, xonsh, nologin, …) are not used. */
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

function supported(shell: string | undefined): string | undefined {
  if (shell === undefined || !isAbsolute(shell)) return undefined;
  const known = dialects[shellName(shell)] !== undefined;
  return known && existsSync(shell) ? shell : undefined;
}

/** `bash` for `/opt/bin/bash-5.2`, `csh` for `/bin/bsd-csh`. */
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
  // csh and tcsh accept -l only alone, without -c.
  return dialectOf(shell) === "csh" ? "-d" : "-l";
}

/** macOS removes these variables from every program in its system directories, including shells. */
function dyldAssignments(dialect: Dialect, env: Variables): string[] {
  return Object.entries(env)
    .filter(([name]) => /^DYLD_\w+$/.test(name))
    .map(([name, value]) => {
      const text = quote(value, dialect);
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
    return false; // whatever the reason, the shell could not read it either
  }
}
