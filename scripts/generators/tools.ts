/**
 * The tools that generate and compile clients: their versions, their sources, and
 * how to run them. A tool that this machine does not have throws `Missing`.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const OPENAPI_GENERATOR = "7.23.0";
/** From npm. */
const NODE_TOOLS = {
  "@hey-api/openapi-ts": "0.99.0",
  "@types/node": "20.19.43",
  axios: "1.21.1",
  "openapi-fetch": "0.17.0",
  "openapi-typescript": "7.13.0",
  orval: "8.38.0",
  tsx: "4.23.15",
  typescript: "5.9.3",
};
/** From PyPI. The generated clients list their own dependencies. */
const PYTHON_TOOLS = {
  "datamodel-code-generator": "0.89.0",
  "openapi-python-client": "0.29.1",
  ruff: "0.17.6",
};

const TIMEOUT_MS = 30 * 60_000; // a Rust client on a loaded machine takes 10

const cache = fileURLToPath(
  new URL("../../node_modules/.cache/generators/", import.meta.url),
);

/** The machine has no such tool. */
export class Missing extends Error {}
/** The tool has failed. */
export class Failed extends Error {}

interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Resolves with the standard output of the program. */
export function run(
  program: string,
  args: readonly string[],
  { cwd, env = {} }: RunOptions = {},
): Promise<string> {
  const options = {
    cwd,
    env: { ...process.env, ...env },
    timeout: TIMEOUT_MS,
    maxBuffer: 256 * 1024 * 1024,
    shell: process.platform === "win32" && /^(npm|mvn)$/.test(program),
  };
  return new Promise((resolve, reject) => {
    execFile(program, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else if (error.code === "ENOENT")
        reject(new Missing(`${program} is not installed`));
      else {
        const output = `${stdout}\n${stderr}`.trim().slice(-4000);
        reject(
          new Failed(`${[program, ...args].join(" ")} failed:\n${output}`),
        );
      }
    });
  });
}

/** Generates with one of openapi-generator's languages, into `home`. */
export async function openapiGenerator(
  language: string,
  { document, home }: { readonly document: string; readonly home: string },
  properties: Readonly<Record<string, string>> = {},
): Promise<string> {
  const given = Object.entries(properties)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
  return run("java", [
    ...["-jar", await jar(), "generate"],
    ...["-g", language, "-i", document, "-o", home],
    ...(given === "" ? [] : [`--additional-properties=${given}`]),
  ]);
}

/** The path of the generator: `OPENAPI_GENERATOR_JAR`, else a copy from Maven Central. */
async function jar(): Promise<string> {
  const given = process.env["OPENAPI_GENERATOR_JAR"];
  if (given !== undefined) return given;
  const path = join(cache, `openapi-generator-cli-${OPENAPI_GENERATOR}.jar`);
  if (existsSync(path)) return path;
  const artifact = `org.openapitools:openapi-generator-cli:${OPENAPI_GENERATOR}`;
  await run("mvn", [
    ...["-q", "-B", "dependency:copy", `-Dartifact=${artifact}`],
    `-DoutputDirectory=${cache}`,
  ]);
  return path;
}

/** The folder `node_modules` with the generators for Node and the dependencies of their clients. */
export async function nodeModules(): Promise<string> {
  const folder = join(cache, "node");
  mkdirSync(folder, { recursive: true });
  // Without this file, npm would install into the surrounding project.
  writeFileSync(join(folder, "package.json"), '{"private":true}');
  const packages = pinned(NODE_TOOLS, "@");
  const flags = ["--no-audit", "--no-fund", "--no-save", "--prefer-offline"];
  nodeTools ??= run("npm", ["install", ...flags, ...packages], {
    cwd: folder,
  });
  await nodeTools;
  return join(folder, "node_modules");
}
let nodeTools: Promise<string> | undefined;

/** Runs a program of one of the packages. */
export async function nodeTool(
  name: string,
  args: readonly string[],
  options?: RunOptions,
): Promise<string> {
  const suffix = process.platform === "win32" ? ".cmd" : "";
  return run(join(await nodeModules(), ".bin", name + suffix), args, options);
}

/** A Python environment's program, such as `python`. */
export async function pythonTool(
  name: string,
  args: readonly string[],
  options?: RunOptions,
): Promise<string> {
  const folder = join(cache, "python");
  const programs = join(
    folder,
    process.platform === "win32" ? "Scripts" : "bin",
  );
  pythonTools ??= (async () => {
    if (!existsSync(programs)) {
      const python = process.platform === "win32" ? "python" : "python3";
      await run(python, ["-m", "venv", folder]);
    }
    const install = ["-m", "pip", "install", "-q"];
    const packages = pinned(PYTHON_TOOLS, "==");
    return run(join(programs, "python"), [...install, ...packages]);
  })();
  await pythonTools;
  // Some of these tools look for others on the PATH.
  const separator = process.platform === "win32" ? ";" : ":";
  const path = `${programs}${separator}${process.env["PATH"] ?? ""}`;
  return run(join(programs, name), args, {
    ...options,
    env: { ...options?.env, PATH: path },
  });
}
let pythonTools: Promise<string> | undefined;

/** Shared by all runs, so that a second run compiles only new code. */
export const cargoFolder = join(cache, "cargo");

function pinned(
  tools: Readonly<Record<string, string>>,
  mark: string,
): readonly string[] {
  return Object.entries(tools).map(([name, version]) => name + mark + version);
}
