/**
 * Connection files: private (0600 in a 0700 directory of this server's own),
 * written whole before they have their name, gone when their session is. The
 * directory bears a mark of whose it is: see `dead-servers.ts`.
 */
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MARK, ownMark, PREFIX } from "./dead-servers.ts";

export class RuntimeFiles implements Disposable {
  /** Of the directory; others' may be there too. */
  readonly parent: string;
  readonly directory: string;

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
    this.ensure();
    const draft = `${path}.${randomBytes(4).toString("hex")}`;
    await writeFile(draft, JSON.stringify(content, null, 2), {
      mode: 0o600,
      flag: "wx",
    });
    await rename(draft, path);
    return path;
  }

  remove(session_id: string): void {
    rmSync(this.pathOf(session_id), { force: true });
  }

  /** At once, so that it works on the way out too. */
  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
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
