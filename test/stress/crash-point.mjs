/**
 * Loaded into a server before its program (`node --import`): it kills the
 * process at a chosen call of the system, as `kill -9` at exactly this moment.
 *
 *     CRASH_POINT='{"file":"^journal\\.","call":"write","when":"after","nth":3}'
 *
 * `when`: `before` the call; `torn`: after half of a write; `after` the system
 * has done it, before the program knows. `nth`: the calls of this kind are
 * counted from 1. Only the process of `kallichore serve` is killed: not the
 * keeper and the kernels, which inherit the environment.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { basename } from "node:path";

const point = JSON.parse(process.env["CRASH_POINT"] ?? "null");
if (point !== null && process.argv.includes("serve")) await arm(point);

async function arm({ file, call, when, nth }) {
  const pattern = new RegExp(file);
  const paths = new Map();
  let count = 0;

  /** Whether this is the call. */
  const isReached = (kind, path) =>
    kind === call &&
    path !== undefined &&
    pattern.test(basename(String(path))) &&
    (count += 1) === nth;

  const { openSync, writeSync, renameSync } = fs;
  fs.openSync = (path, ...rest) => {
    const fd = openSync(path, ...rest);
    paths.set(fd, path);
    return fd;
  };
  fs.writeSync = (fd, bytes, ...rest) => {
    if (!isReached("write", paths.get(fd)))
      return writeSync(fd, bytes, ...rest);
    if (when === "torn") writeSync(fd, bytes, rest[0] ?? 0, bytes.length >> 1);
    if (when === "after") writeSync(fd, bytes, ...rest);
    die();
  };
  fs.renameSync = (from, to) => {
    const isIt = isReached("rename", to);
    if (isIt && when === "before") die();
    renameSync(from, to);
    if (isIt) die();
  };

  const { open, rename } = fs.promises;
  fs.promises.rename = async (from, to) => {
    const isIt = isReached("rename", to);
    if (isIt && when === "before") die();
    await rename(from, to);
    if (isIt) die();
  };
  const sample = await open(process.execPath, "r");
  const prototype = Object.getPrototypeOf(sample);
  await sample.close();
  const handles = new WeakMap();
  fs.promises.open = async (path, ...rest) => {
    const handle = await open(path, ...rest);
    handles.set(handle, path);
    return handle;
  };
  const { writev, read } = prototype;
  prototype.writev = async function (pieces, position) {
    if (!isReached("write", handles.get(this)))
      return writev.call(this, pieces, position);
    if (when === "torn") {
      const whole = Buffer.concat(pieces);
      await writev.call(this, [whole.subarray(0, whole.length >> 1)], position);
    }
    if (when === "after") await writev.call(this, pieces, position);
    die();
  };
  prototype.read = async function (...args) {
    if (isReached("read", handles.get(this))) die();
    return read.apply(this, args);
  };
  syncBuiltinESMExports();
}

function die() {
  process.kill(process.pid, "SIGKILL");
}
