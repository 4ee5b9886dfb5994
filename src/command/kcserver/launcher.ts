/**
 * An executable file called `kcserver` that runs this program by absolute
 * paths, so that it needs no `node` in anybody's PATH.
 *
 * It replaces itself (`exec`): the process that was started is the server. It
 * also tells what Node forgets: whether SIGHUP was to be ignored, as under
 * nohup (Node sets all signals back to their defaults before any of our code
 * runs), and by which path the server was started.
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
  // A launcher that is in use is replaced, not altered under its reader.
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  const text = isWindows ? windowsLauncher(target) : shellLauncher(target);
  await writeFile(draft, text, { flag: "wx" });
  await chmod(draft, 0o755);
  await rename(draft, path);
  return path;
}

/**
 * A signal that was ignored when a shell began cannot be trapped in it: so the shell can tell.
 * The server reads no input, and must not keep a terminal that may be closed.
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
exec ${quoted(node)} ${quoted(program)} "$@" </dev/null
`;
}

/** `cmd` stays as the parent; clients learn the server's own process id from `/status`. */
export function windowsLauncher({ node, program }: LauncherTarget): string {
  const literal = (path: string) => `"${path.replaceAll("%", "%%")}"`;
  // cmd reads a script in the code page of its console, line by line: this one is UTF-8.
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

function quoted(path: string): string {
  return `'${path.replaceAll("'", `'\\''`)}'`;
}

export interface Launched {
  readonly server_path: string;
  readonly ignoresHangup: boolean;
}

/** What the launcher has told us. Takes it out of `env`: it is not the kernels' business. */
export function launchedBy(env: NodeJS.ProcessEnv): Launched {
  const { KALLICHORE_SERVER_PATH: path, KALLICHORE_IGNORES_HANGUP: ignores } =
    env;
  delete env["KALLICHORE_SERVER_PATH"];
  delete env["KALLICHORE_IGNORES_HANGUP"];
  return {
    server_path: resolve(path || process.argv[1] || process.execPath),
    ignoresHangup: ignores === "1",
  };
}
