/**
 * The launcher: an executable file called `kcserver` that runs this program by
 * absolute paths, so that `node` need not be in the PATH.
 *
 * The launcher replaces itself by the server (`exec`), so both have one process
 * id. It also passes on two facts that Node does not: whether SIGHUP is to be
 * ignored, as under nohup (Node resets all signals before the program runs), and
 * the path by which the server was started.
 */
import { randomBytes } from "node:crypto";
import { chmod, mkdir, rename, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { VERSION } from "../../package/version.ts";

export interface LauncherTarget {
  /** The interpreter. */
  readonly node: string;
  /** The program's own file. */
  readonly program: string;
}

/** Resolves with the launcher's path. */
export async function installLauncher(
  directory: string,
  target: LauncherTarget,
  platform: NodeJS.Platform = process.platform,
): Promise<string> {
  const isWindows = platform === "win32";
  const path = join(
    resolve(directory),
    isWindows ? "kcserver.cmd" : "kcserver",
  );
  await mkdir(resolve(directory), { recursive: true });
  // A running shell may still read the old launcher, so it is replaced, not overwritten.
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  const text = isWindows ? windowsLauncher(target) : shellLauncher(target);
  await writeFile(draft, text, { flag: "wx" });
  await chmod(draft, 0o755);
  await rename(draft, path);
  return path;
}

/**
 * A shell cannot trap a signal that was ignored when the shell started. The
 * script uses this to find out whether SIGHUP is ignored. Standard input is
 * /dev/null, because the server reads no input and must not keep a terminal open.
 */
export function shellLauncher({ node, program }: LauncherTarget): string {
  return `#!/bin/sh
# kcserver of kallichore ${VERSION}; made by: kcserver --install-launcher
KALLICHORE_SERVER_PATH=$0
KALLICHORE_IGNORES_HANGUP=1
trap 'KALLICHORE_IGNORES_HANGUP=' HUP
kill -HUP $$
trap - HUP
export KALLICHORE_SERVER_PATH KALLICHORE_IGNORES_HANGUP
exec ${shellQuoted(node)} ${shellQuoted(program)} "$@" </dev/null
`;
}

/** On Windows, `cmd` stays as the parent process; clients get the server's own process id from `/status`. */
export function windowsLauncher({ node, program }: LauncherTarget): string {
  const literal = (path: string) => `"${path.replaceAll("%", "%%")}"`;
  // cmd reads a script line by line, in the code page of its console. This script is UTF-8.
  const isPlain = /^[\x20-\x7e]*$/.test(node + program);
  return [
    "@echo off",
    "setlocal",
    ...(isPlain ? [] : ["chcp 65001 >nul"]),
    'set "KALLICHORE_SERVER_PATH=%~f0"',
    `${literal(node)} ${literal(program)} %*`,
    "exit /b %ERRORLEVEL%",
    "",
  ].join("\r\n");
}

function shellQuoted(path: string): string {
  return `'${path.replaceAll("'", `'\\''`)}'`;
}

export interface LauncherFacts {
  readonly server_path: string;
  readonly ignoresHangup: boolean;
}

/** The facts that the launcher has passed on. Removes them from `env`, so that kernels do not inherit them. */
export function launchedBy(env: NodeJS.ProcessEnv): LauncherFacts {
  const { KALLICHORE_SERVER_PATH: path, KALLICHORE_IGNORES_HANGUP: ignores } =
    env;
  delete env["KALLICHORE_SERVER_PATH"];
  delete env["KALLICHORE_IGNORES_HANGUP"];
  return {
    server_path: resolve(path || process.argv[1] || process.execPath),
    ignoresHangup: ignores === "1",
  };
}

/** The variables by which another process of this program learns the facts. */
export function variablesOf({
  server_path,
  ignoresHangup,
}: LauncherFacts): Record<string, string> {
  return {
    KALLICHORE_SERVER_PATH: server_path,
    KALLICHORE_IGNORES_HANGUP: ignoresHangup ? "1" : "",
  };
}
