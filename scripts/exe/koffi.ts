/**
 * koffi in the executable. Its native library is an asset, but Windows loads
 * libraries only from files. So the library is written once to a file of the user,
 * named by its digest, and all executables with the same library share it.
 */
import { createHash } from "node:crypto";
import {
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getRawAsset } from "node:sea";
import type * as Koffi from "koffi";

const addon = Buffer.from(getRawAsset("koffi.node") as ArrayBuffer);
const loaded = { exports: {} as typeof Koffi };
process.dlopen(loaded, writtenOnce(addon));

export const load = (name: string): Koffi.LibraryHandle =>
  loaded.exports.load(name);

function writtenOnce(bytes: Buffer): string {
  const digest = createHash("sha256").update(bytes).digest("hex");
  const folder = join(process.env["LOCALAPPDATA"] ?? tmpdir(), "kallichore");
  const path = join(folder, `koffi-${digest.slice(0, 16)}.node`);
  if (hasContent(path, bytes)) return path;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, bytes, { flag: "wx", mode: 0o600 });
  try {
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    if (!hasContent(path, bytes)) throw error; // another server was first
  }
  return path;
}

function hasContent(path: string, bytes: Buffer): boolean {
  try {
    return readFileSync(path).equals(bytes);
  } catch {
    return false; // the file does not exist
  }
}
