/**
 * Connection files of kernels in Jupyter's runtime directory, where programs
 * such as `jupyter console --existing` look for them.
 *
 * The server writes a file when a kernel is ready and removes it when the kernel
 * ends. Each of its files has a mark that names the server and the kernel's
 * process. Files without a mark belong to other programs: they are never
 * replaced or removed. A marked file of a server that was killed is removed once
 * the server and the kernel have certainly ended.
 */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import {
  link,
  lstat,
  mkdir,
  opendir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import * as z from "zod";
import { AdoptedConnection } from "../../contract/adopted-connection.ts";
import type { ConnectionInfo } from "../../contract/index.ts";
import type { Log } from "../log/log.ts";
import { belongsToThisUser, KernelProcess, Owner } from "./dead-servers.ts";
import { currentOwner, hasEnded, kernelProcess } from "./owner.ts";
import { isAlive } from "./process-table.ts";

/** The names of connection files; what follows `.json` is of a file that was not complete. */
const NAME = /^kernel-(.+)\.json$/;
const DRAFT = /^kernel-.+\.json\.[0-9a-f]{8}$/;
/** Ids of kernels that can be part of a file's name. */
const SAFE_ID = /^[\w-]{1,200}$/;
/** Most names that are looked at in the directory. */
const NAMES_LIMIT = 10_000;
/** Bytes of a connection file: a larger file is none. */
const SIZE_LIMIT = 64 * 1024;
/** The most files that are read at one time, and the most kernels that are probed at one time. A directory may have thousands of old files. */
const PROBES = 64;
/** How long a kernel's port may take to accept a connection. */
const PROBE_MS = 500;

const Mark = z.object({ server: Owner, process: KernelProcess.nullable() });
const Marked = z.looseObject({ kallichore: Mark });
const Named = z.looseObject({ kernel_name: z.string().default("") });

/** A kernel whose file may be written. */
export interface PublishedKernel {
  readonly session_id: string;
  readonly kernel_id: string;
  readonly kernel_name: string;
  /** Of its process, if it has one on this machine. */
  readonly pid: number | undefined;
  readonly connection: ConnectionInfo;
}

/** A kernel that another program has started. */
export interface ExternalKernel {
  /** The part of the file's name that Jupyter's tools take for the kernel's id. */
  readonly kernel_id: string;
  /** The name of the file in the runtime directory. */
  readonly connection_file: string;
  /** Empty if the file does not name a kernelspec. */
  readonly kernel_name: string;
  readonly modified: Date;
}

export class ConnectionFiles implements Disposable {
  readonly directory: string;
  readonly #log: Log;
  /** The files of this server, by session. */
  readonly #files = new Map<string, string>();
  #isFaultLogged = false;

  constructor(directory: string, log: Log) {
    this.directory = directory;
    this.#log = log;
  }

  /** Writes a kernel's file. A file that cannot be written is logged: the kernel runs without. */
  async write(kernel: PublishedKernel): Promise<void> {
    const { session_id, kernel_id } = kernel;
    this.remove(session_id);
    if (!SAFE_ID.test(kernel_id)) return;
    const path = join(this.directory, `kernel-${kernel_id}.json`);
    this.#files.set(session_id, path);
    try {
      await this.#ensureDirectory();
      const draft = `${path}.${randomBytes(4).toString("hex")}`;
      try {
        await writeFile(draft, contentOf(kernel), { mode: 0o600, flag: "wx" });
        await this.#name(draft, path);
      } finally {
        await rm(draft, { force: true });
      }
      // The kernel may have ended meanwhile.
      if (this.#files.get(session_id) !== path) rmSync(path, { force: true });
    } catch (error) {
      this.#files.delete(session_id);
      if (!this.#isFaultLogged) {
        this.#log.warn(
          { session: session_id, err: error },
          `No connection file can be written into ${this.directory}: \`jupyter console --existing\` does not find kernels of this server`,
        );
      }
      this.#isFaultLogged = true;
    }
  }

  /** Removes the file of a session's kernel. Safe to call twice. */
  remove(session_id: string): void {
    const path = this.#files.get(session_id);
    this.#files.delete(session_id);
    if (path !== undefined) rmSync(path, { force: true });
  }

  /** The kernels of other programs that accept connections. Empty if there is no such directory. */
  async external(): Promise<readonly ExternalKernel[]> {
    const own = new Set(this.#files.values());
    const names: string[] = [];
    for await (const name of namesIn(this.directory)) {
      if (NAME.test(name) && !own.has(join(this.directory, name))) {
        names.push(name);
      }
    }
    const kernels: ExternalKernel[] = [];
    for (let at = 0; at < names.length; at += PROBES) {
      const some = names.slice(at, at + PROBES);
      const found = await Promise.all(
        some.map((name) => reachable(join(this.directory, name), name)),
      );
      kernels.push(...found.filter((kernel) => kernel !== undefined));
    }
    return kernels.sort((a, b) => a.modified.getTime() - b.modified.getTime());
  }

  /** The connection in a file that is named by its name or by its kernel's id. Throws an error whose message says why it cannot be used. */
  async read(name_or_id: string): Promise<AdoptedConnection> {
    const name = NAME.test(name_or_id)
      ? name_or_id
      : `kernel-${name_or_id}.json`;
    if (/[/\\]/.test(name)) throw new Error("its name has a path");
    const content = await contentIn(join(this.directory, name));
    const parsed = AdoptedConnection.safeParse(content);
    if (!parsed.success) throw new Error(z.prettifyError(parsed.error));
    const connection = { ...parsed.data };
    delete connection["kallichore"];
    delete connection["kernel_name"];
    return connection;
  }

  /** Removes marked files of servers and kernels that have ended. Never rejects; ends early when `signal` aborts. */
  async removeStale(signal: AbortSignal): Promise<void> {
    try {
      for await (const name of namesIn(this.directory)) {
        if (signal.aborted) return;
        if (!NAME.test(name) && !DRAFT.test(name)) continue;
        const path = join(this.directory, name);
        const mark = await markIn(path);
        if (mark === undefined || !isStale(mark)) continue;
        await rm(path, { force: true });
        this.#log.info(`Removed a connection file of a killed server: ${path}`);
      }
    } catch (error) {
      this.#log.debug({ err: error }, "Connection files could not be removed");
    }
  }

  /** Synchronous, so that it also works while the process exits. */
  [Symbol.dispose](): void {
    for (const session_id of [...this.#files.keys()]) this.remove(session_id);
  }

  /** Others must not be able to put files there. */
  async #ensureDirectory(): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    const found = await stat(this.directory);
    const isOpen = process.platform !== "win32" && (found.mode & 0o022) !== 0;
    if (!belongsToThisUser(found) || isOpen) {
      throw new Error("other users can write into this directory");
    }
  }

  /** Gives a complete file its name, if no other program has a file with this name. */
  async #name(draft: string, path: string): Promise<void> {
    try {
      await link(draft, path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EEXIST" && (await markIn(path)) === undefined) {
        throw new Error("another program has a file with this name", {
          cause: error,
        });
      }
      await rename(draft, path); // also where there are no links
    }
  }
}

function contentOf({ kernel_name, connection, pid }: PublishedKernel): string {
  const mark: z.infer<typeof Mark> = {
    server: currentOwner(),
    process: pid === undefined ? null : kernelProcess(pid),
  };
  const content = { ...connection, kernel_name, kallichore: mark };
  return JSON.stringify(content, null, 2);
}

function isStale({ server, process: kernel }: z.infer<typeof Mark>): boolean {
  if (!hasEnded(server)) return false;
  if (server.boot_id !== currentOwner().boot_id) return true;
  return (
    kernel === null || !isAlive(kernel.pid, kernel.start_time ?? undefined)
  );
}

async function* namesIn(directory: string): AsyncGenerator<string, void> {
  let count = 0;
  try {
    for await (const { name } of await opendir(directory)) {
      if ((count += 1) > NAMES_LIMIT) return;
      yield name;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

/** Throws where the file is not one of this user's that can be read as JSON. */
async function contentIn(path: string): Promise<unknown> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) throw new Error("there is no such file");
  if (!found.isFile()) throw new Error("it is not a file");
  if (!belongsToThisUser(found)) throw new Error("it belongs to another user");
  if (found.size > SIZE_LIMIT) throw new Error("it is too large");
  const text = await readFile(path, "utf8");
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("it is not JSON"); // without the content, which has a key
  }
}

async function markIn(path: string): Promise<z.infer<typeof Mark> | undefined> {
  try {
    return Marked.parse(await contentIn(path)).kallichore;
  } catch {
    return undefined;
  }
}

async function reachable(
  path: string,
  connection_file: string,
): Promise<ExternalKernel | undefined> {
  try {
    const content = await contentIn(path);
    const { kernel_name } = Named.parse(content);
    const connection = AdoptedConnection.parse(content);
    if (!(await accepts(connection))) return undefined;
    const { mtime: modified } = await lstat(path);
    const [, kernel_id = ""] = NAME.exec(connection_file) ?? [];
    return { kernel_id, connection_file, kernel_name, modified };
  } catch {
    return undefined;
  }
}

/** Whether a program listens at the kernel's shell. */
function accepts({
  transport,
  ip,
  shell_port: port,
}: AdoptedConnection): Promise<boolean> {
  return new Promise((resolve) => {
    const socket =
      transport === "ipc"
        ? connect({ path: `${ip}-${port}` })
        : connect({ host: ip, port });
    const end = (isReachable: boolean) => {
      socket.destroy();
      resolve(isReachable);
    };
    socket.setTimeout(PROBE_MS, () => end(false));
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
  });
}
