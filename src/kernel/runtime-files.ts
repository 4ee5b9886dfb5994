/**
 * Connection files: private (0600 in a 0700 directory of this server's own),
 * written whole before they have their name, gone when their session is.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class RuntimeFiles implements Disposable {
  readonly directory: string;

  /** Makes nothing yet. `parent` defaults to the system's directory for temporary files. */
  constructor(parent: string = tmpdir()) {
    const name = `kallichore-${process.pid}-${randomBytes(6).toString("hex")}`;
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
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
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

  /** Makes the directory, for others who keep private files for this server. */
  ensure(): string {
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    return this.directory;
  }
}
