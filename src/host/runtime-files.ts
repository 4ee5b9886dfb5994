/**
 * Connection files: private (0600 in a 0700 directory of this server's own),
 * written whole before they have their name, gone when their session is. The
 * directory bears a mark of whose it is: see `dead-servers.ts`.
 */
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { isAbsolute, join } from "node:path";
import {
  MARK,
  ownMark,
  PREFIX,
  PROCESS,
  processRecord,
} from "./dead-servers.ts";

/** Bytes that a socket's path may have: macOS has 104 with the zero at its end, Linux 108. */
const PATH_LIMIT = 103;
/** What a directory's path gets behind it for a kernel's socket: `/kernel-<up to 7 digits>-<digit>`. */
const NAME_BYTES = 17;

export class RuntimeFiles implements Disposable {
  /** Of the directory; others' may be there too. */
  readonly parent: string;
  readonly directory: string;
  /** For sockets, where the directory's path is too long for theirs. */
  #short: RuntimeFiles | undefined;

  /** Makes nothing yet. `parent` defaults to the system's directory for temporary files. */
  constructor(parent: string = tmpdir()) {
    const name = `${PREFIX}${process.pid}-${randomBytes(6).toString("hex")}`;
    this.parent = parent;
    this.directory = join(parent, name);
  }

  /** Where a session's connection file lies: a name of our own making, whatever its id holds. */
  pathOf(session_id: string): string {
    const digest = createHash("sha256").update(session_id).digest("hex");
    return join(this.directory, `kernel-${digest.slice(0, 16)}.json`);
  }

  /** Resolves with the path once the file is there, whole. */
  async write(session_id: string, content: unknown): Promise<string> {
    const path = this.pathOf(session_id);
    await this.#write(path, content);
    return path;
  }

  /** Writes down the process of a session's kernel, so that the next server ends it where this one is killed. */
  async recordProcess(session_id: string, pid: number): Promise<void> {
    const record = processRecord(session_id, pid);
    await this.#write(`${this.pathOf(session_id)}${PROCESS}`, record);
  }

  remove(session_id: string): void {
    const path = this.pathOf(session_id);
    rmSync(path, { force: true });
    rmSync(`${path}${PROCESS}`, { force: true });
  }

  /** Where this server's files may be, and those of servers before it. */
  get parents(): readonly string[] {
    return this.#fitsSockets ? [this.parent] : [this.parent, ...shortParents()];
  }

  /** Makes a directory in which a kernel's sockets fit; `undefined` where there is none. */
  ensureForSockets(): string | undefined {
    if (this.#fitsSockets) return this.ensure();
    for (const parent of this.#short === undefined ? shortParents() : []) {
      const files = new RuntimeFiles(parent);
      if (!files.#fitsSockets) continue;
      try {
        files.ensure();
        this.#short = files;
        break;
      } catch {
        // It cannot be written to: the next one.
      }
    }
    return this.#short?.ensure();
  }

  get #fitsSockets(): boolean {
    return Buffer.byteLength(this.directory) + NAME_BYTES <= PATH_LIMIT;
  }

  /** At once, so that it works on the way out too. */
  [Symbol.dispose](): void {
    this.#short?.[Symbol.dispose]();
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

  /** Makes the directory where it is not there, for others who keep private files for this server. */
  ensure(): string {
    const mark = join(this.directory, MARK);
    if (existsSync(mark)) return this.directory;
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    writeFileSync(mark, JSON.stringify(ownMark()), { mode: 0o600 });
    return this.directory;
  }
}

/** Directories with short paths in which a private one can be made, best first. */
function shortParents(): readonly string[] {
  const runtime = process.env["XDG_RUNTIME_DIR"] ?? "";
  return [...(isAbsolute(runtime) ? [runtime] : []), "/tmp"];
}
