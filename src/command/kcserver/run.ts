/**
 * The command `kcserver`: checks the options, and runs what they ask for.
 */
import { copyFile, mkdir, realpath } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { isExecutable } from "../../package/files.ts";
import { CommandError } from "../exit.ts";
import { expectedVersion } from "./expected-version.ts";
import { installLauncher, launchedBy, variablesOf } from "./launcher.ts";
import { parseOptions } from "./options.ts";
import { parentLink } from "./parent-link.ts";

/** `argv` without the interpreter and the program. Resolves with the exit code when the server and its files are gone. */
export async function run(argv: readonly string[]): Promise<number> {
  const launched = launchedBy(process.env);
  const { server_path } = launched;
  const parsed = parseOptions(argv, {
    expectedVersion: expectedVersion(server_path),
  });
  if (!("options" in parsed)) {
    await print(process.stdout, parsed.stdout);
    await print(process.stderr, parsed.stderr);
    return parsed.code;
  }
  const { options } = parsed;
  try {
    if (options.installLauncher !== undefined) {
      return await install(options.installLauncher);
    }
    const parent = await parentLink(process.env);
    const { stateDir, stateName } = options;
    if (stateDir !== undefined && parent === undefined) {
      const { runParent } = await import("./parent.ts");
      return await runParent({
        stateDir,
        stateName,
        argv,
        launched: variablesOf(launched),
      });
    }
    const { runServer } = await import("./server.ts");
    return await runServer(options, launched, parent);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    await print(process.stderr, `Error: ${error.message}\n`);
    return 1;
  }
}

async function install(directory: string): Promise<number> {
  try {
    if (isExecutable) {
      const path = join(resolve(directory), basename(process.execPath));
      await mkdir(resolve(directory), { recursive: true });
      await copyFile(process.execPath, path); // a single executable needs no launcher
      await print(process.stdout, `${path}\n`);
      return 0;
    }
    const program = await realpath(process.argv[1] ?? "");
    const target = { node: process.execPath, program };
    const path = await installLauncher(directory, target);
    await print(process.stdout, `${path}\n`);
    return 0;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    await print(process.stderr, `Error: The launcher cannot be made: ${why}\n`);
    return 1;
  }
}

/** Resolves when the text was written, or the reader has left. */
async function print(stream: NodeJS.WriteStream, text: string): Promise<void> {
  if (text === "") return;
  stream.once("error", () => {}); // the reader left
  await new Promise<void>((resolve) => stream.write(text, () => resolve()));
}
