/** A server whose terminal is closed ends in order, as Positron's server does when its terminal is closed. */
import { execFile } from "node:child_process";
import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { installLauncher } from "../../src/command/kcserver/launcher.ts";
import { temporaryFolder } from "../harness.ts";
import { buildCommand } from "./built.ts";

const run = promisify(execFile);
const onTerminal = fileURLToPath(new URL("on-terminal.py", import.meta.url));

describe.skipIf(process.platform === "win32")("on a terminal", () => {
  let kcserver = "";
  let kallichore = "";
  beforeAll(async () => {
    kcserver = await buildCommand("kcserver");
    kallichore = await buildCommand("kallichore");
  }, 60_000);
  afterAll(() => rmSync(dirname(kcserver), { recursive: true, force: true }));

  async function ending(
    streams: string,
    word: string,
    ...command: readonly string[]
  ): Promise<string> {
    const args = [onTerminal, streams, word, ...command];
    const TMPDIR = temporaryFolder();
    const { stdout } = await run("python3", args, {
      cwd: TMPDIR, // where a core would be
      env: { ...process.env, TMPDIR, XDG_RUNTIME_DIR: TMPDIR },
    });
    return stdout.trim();
  }

  test.each(["all", "input"])("kcserver ends with 0 (%s)", async (streams) => {
    const command = [process.execPath, kcserver];
    expect(await ending(streams, "Listening", ...command)).toBe("exit 0");
  });

  test("kcserver, started by its launcher, ends with 0", async () => {
    const folder = temporaryFolder();
    const target = { node: process.execPath, program: kcserver };
    await installLauncher(folder, target);
    const launcher = join(folder, "kcserver");
    expect(await ending("input", "Listening", launcher)).toBe("exit 0");
    expect(await ending("all", "Listening", launcher)).toBe("exit 0");
  });

  test("kallichore serve ends with 0", async () => {
    const command = [process.execPath, kallichore, "serve"];
    expect(await ending("all", "http://", ...command)).toBe("exit 0");
  });
});
