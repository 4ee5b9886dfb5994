/**
 * The directory in which a kernel starts.
 *
 * A directory that cannot be used does not prevent a start: the kernel then
 * starts in the server's directory, and `reason` says why, for the log and for
 * the client.
 */
import { stat } from "node:fs/promises";
import { userInfo } from "node:os";
import { posix, win32 } from "node:path";

export interface WorkingDirectory {
  /** An absolute path, which was a directory when it was checked. */
  readonly path: string;
  /** What is wrong with the requested directory, as a sentence. */
  readonly fault?: string;
  /** The same, with the directory that is used instead. */
  readonly reason?: string;
}

export async function workingDirectory(
  requested: string,
  { env = process.env, platform = process.platform }: HomeOptions = {},
): Promise<WorkingDirectory> {
  const own = await ownDirectory({ env, platform });
  if (requested === "") return { path: own };
  const path = (platform === "win32" ? win32 : posix).resolve(
    own,
    expandHome(requested, { env, platform }),
  );
  const why = await whyNotDirectory(path);
  if (why === undefined) return { path };
  const fault = `The working directory ${path} ${why}`;
  return { path: own, fault, reason: `${fault}; ${own} is used instead` };
}

export interface HomeOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly platform?: NodeJS.Platform;
}

/** Expands a leading `~`. As in Kallichore, `~x` is read as `~/x`. Other paths are returned unchanged. */
export function expandHome(path: string, options: HomeOptions = {}): string {
  if (!path.startsWith("~")) return path;
  const platform = options.platform ?? process.platform;
  const home = homeDirectory(options);
  return (platform === "win32" ? win32 : posix).join(home, path.slice(1));
}

export function homeDirectory({
  env = process.env,
  platform = process.platform,
}: HomeOptions = {}): string {
  const named =
    platform === "win32"
      ? env["USERPROFILE"] || env["HOME"]
      : env["HOME"] || undefined;
  return named ?? accountHome();
}

/** The home directory in the password database; a container's user may not be listed there. */
function accountHome(): string {
  try {
    return userInfo().homedir;
  } catch {
    return "/";
  }
}

/** The server's directory. It may have been removed since the server started. */
async function ownDirectory(options: HomeOptions): Promise<string> {
  try {
    return process.cwd();
  } catch {
    const home = homeDirectory(options);
    return (await whyNotDirectory(home)) === undefined ? home : "/";
  }
}

async function whyNotDirectory(path: string): Promise<string | undefined> {
  try {
    const found = await stat(path);
    return found.isDirectory() ? undefined : "is not a directory";
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === "ENOENT" || code === "ENOTDIR"
      ? "does not exist"
      : `cannot be used (${code ?? "unknown reason"})`;
  }
}
