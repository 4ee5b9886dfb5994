/**
 * koffi, in the executable: its native half is an asset, and Windows loads
 * code from files only. So it is laid down once, under its digest, among the
 * user's own files, and every executable with the same half shares it.
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
process.dlopen(loaded, laidDown(addon));

export const load = (name: string): Koffi.LibraryHandle =>
  loaded.exports.load(name);

function laidDown(bytes: Buffer): string {
  const digest = createHash("sha256").update(bytes).digest("hex");
  const folder = join(process.env["LOCALAPPDATA"] ?? tmpdir(), "kallichore");
  const path = join(folder, `koffi-${digest.slice(0, 16)}.node`);
  if (holds(path, bytes)) return path;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, bytes, { flag: "wx", mode: 0o600 });
  try {
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    if (!holds(path, bytes)) throw error; // another server was first
  }
  return path;
}

function holds(path: string, bytes: Buffer): boolean {
  try {
    return readFileSync(path).equals(bytes);
  } catch {
    return false; // it is not there
  }
}
