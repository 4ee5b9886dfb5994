/**
 * Runs schemathesis against a real server: requests that contract/openapi.json
 * allows and many that it does not, with all checks and phases. It is skipped if
 * schemathesis is not installed (`pip install schemathesis==4.32.5`). Arguments
 * after `--` are passed to schemathesis, such as `--max-time 3600 --seed 7`.
 *
 * `/shutdown` is requested last, in a run of its own, because it ends the server.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { realServer } from "./real-server.ts";

const SECONDS = 300;
const REQUEST_SECONDS = 60; // a start waits for its kernel

const document = fileURLToPath(
  new URL("../contract/openapi.json", import.meta.url),
);
const config = fileURLToPath(new URL("../schemathesis.toml", import.meta.url));

const program = findProgram();
if (program === undefined) {
  console.log("Skipped: schemathesis was not found on the PATH");
} else {
  await using server = await realServer();
  const common = [
    ...["--config-file", config, "run", document, "--url", server.url],
    ...["-H", `Authorization: Bearer ${server.token}`],
    ...["--checks", "all", "--request-timeout", String(REQUEST_SECONDS)],
    ...["--max-response-time", String(REQUEST_SECONDS)],
  ];
  const all = await runProgram(program, [
    ...common,
    ...["--phases", "examples,coverage,fuzzing,stateful"],
    ...["--exclude-path", "/shutdown", "--continue-on-failure"],
    ...["--max-time", String(SECONDS), ...process.argv.slice(2)],
  ]);
  const end = await runProgram(program, [
    ...[...common, "--include-path", "/shutdown", "--phases", "fuzzing"],
  ]);
  process.exitCode = all === 0 ? end : all;
}

/** Resolves with the exit code. */
function runProgram(program: string, args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    spawn(program, args, { stdio: "inherit" })
      .once("error", reject)
      .once("close", (code) => resolve(code ?? 1));
  });
}

/** The path of schemathesis in an active Python environment, else on the PATH. */
function findProgram(): string | undefined {
  const { VIRTUAL_ENV, PATH = "" } = process.env;
  const [folder, name] =
    process.platform === "win32"
      ? ["Scripts", "schemathesis.exe"]
      : ["bin", "schemathesis"];
  return [
    ...(VIRTUAL_ENV === undefined ? [] : [join(VIRTUAL_ENV, folder)]),
    ...PATH.split(delimiter),
  ]
    .map((directory) => join(directory, name))
    .find((path) => existsSync(path));
}
