/**
 * Connection files. They are private (mode 0600, in a directory of this server
 * with mode 0700). A file gets its name only when it is complete, and it is
 * removed with its session. The directory contains an owner file: see
 * `owner.ts`. Files that have not changed for long are touched, because systems
 * remove temporary files that are ten days old.
 */
import { createHash, randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { isAbsolute, join } from "node:path";
import {
  OWNER_FILE,
  currentOwner,
  DIRECTORY_PREFIX,
  PROCESS_SUFFIX,
  processRecord,
} from "./owner.ts";

/** The most bytes of a socket's path: macOS allows 104 including the final zero, Linux 108. */
const PATH_LIMIT = 103;
/** Bytes that a kernel's socket adds to the path of its directory: `/kernel-<up to 7 digits>-<digit>`. */
const SOCKET_NAME_BYTES = 17;
const TOUCH_MS = 6 * 3_600_000;

export class RuntimeFiles implements Disposable {
  /** The parent of the directory; directories of other servers may be there too. */
  readonly parent: string;
  readonly directory: string;
  /** A directory for sockets, if the path of `directory` is too long for them. */
  #shortPathFiles: RuntimeFiles | undefined;
  #touching: NodeJS.Timeout | undefined;

  /** Creates no files yet. `parent` defaults to the system's directory for temporary files. */
  constructor(parent: string = tmpdir()) {
    const name = `${DIRECTORY_PREFIX}${process.pid}-${randomBytes(6).toString("hex")}`;
    this.parent = parent;
    this.directory = join(parent, name);
  }

  /** The path of a session's connection file. The name is a hash, so any session id is safe. */
  pathOf(session_id: string): string {
    const digest = createHash("sha256").update(session_id).digest("hex");
    return join(this.directory, `kernel-${digest.slice(0, 16)}.json`);
  }

  /** Resolves with the path when the file is complete. */
  async write(session_id: string, content: unknown): Promise<string> {
    const path = this.pathOf(session_id);
    await this.#write(path, content);
    return path;
  }

  /** Records the process of a session's kernel, so that the next server can end it if this one is killed. */
  async recordProcess(session_id: string, pid: number): Promise<void> {
    const record = processRecord(session_id, pid);
    await this.#write(`${this.pathOf(session_id)}${PROCESS_SUFFIX}`, record);
  }

  remove(session_id: string): void {
    const path = this.pathOf(session_id);
    rmSync(path, { force: true });
    rmSync(`${path}${PROCESS_SUFFIX}`, { force: true });
  }

  /** The directories that may contain files of this server and of earlier servers. */
  get parents(): readonly string[] {
    return this.#fitsSockets ? [this.parent] : [this.parent, ...shortParents()];
  }

  /** Makes a directory whose path is short enough for a kernel's sockets; `undefined` if there is none. */
  ensureForSockets(): string | undefined {
    if (this.#fitsSockets) return this.ensure();
    for (const parent of this.#shortPathFiles === undefined
      ? shortParents()
      : []) {
      const files = new RuntimeFiles(parent);
      if (!files.#fitsSockets) continue;
      try {
        files.ensure();
        this.#shortPathFiles = files;
        break;
      } catch {
        // It is not writable: try the next one.
      }
    }
    return this.#shortPathFiles?.ensure();
  }

  get #fitsSockets(): boolean {
    return Buffer.byteLength(this.directory) + SOCKET_NAME_BYTES <= PATH_LIMIT;
  }

  /** Synchronous, so that it also works while the process exits. */
  [Symbol.dispose](): void {
    this.#shortPathFiles?.[Symbol.dispose]();
    clearInterval(this.#touching);
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #write(path: string, content: unknown): Promise<void> {
    this.ensure();
    const draft = `${path}.${randomBytes(4).toString("hex")}`;
    await writeFile(draft, JSON.stringify(content, null, 2), {
      mode: 0o600,
      flag: "wx",
    });
    await rename(draft, path);
  }

  /** Makes the directory if it does not exist. Public for other modules that keep private files for this server. */
  ensure(): string {
    const mark = join(this.directory, OWNER_FILE);
    if (existsSync(mark)) return this.directory;
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    writeFileSync(mark, JSON.stringify(currentOwner()), { mode: 0o600 });
    this.#touching ??= setInterval(() => touch(this.directory), TOUCH_MS);
    this.#touching.unref();
    return this.directory;
  }
}

/** Makes the directory and all that is in it as young as new. */
function touch(directory: string): void {
  const now = new Date();
  try {
    const names = readdirSync(directory, { recursive: true, encoding: "utf8" });
    for (const name of ["", ...names]) touchOne(join(directory, name), now);
  } catch {
    // it was removed by another program; the next file makes it again
  }
}

function touchOne(path: string, now: Date): void {
  try {
    utimesSync(path, now, now);
  } catch {
    // it was removed meanwhile
  }
}

/** Directories with short paths in which a private one can be made, best first. */
function shortParents(): readonly string[] {
  const runtime = process.env["XDG_RUNTIME_DIR"] ?? "";
  return [...(isAbsolute(runtime) ? [runtime] : []), "/tmp"];
}
