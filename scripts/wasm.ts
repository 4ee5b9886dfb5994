/**
 * Compiles the validator in `assembly/` to WebAssembly, and writes it down as a
 * module that needs no file beside it.
 *
 *     tsx scripts/wasm.ts            where its source has changed
 *     tsx scripts/wasm.ts --check    fails unless what is there is what the source gives
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import packageFile from "../package.json" with { type: "json" };

/** As a program: its types would change those of every array here. */
const COMPILER = "node_modules/assemblyscript/bin/asc.js";
const run = promisify(execFile);

const SOURCE = "assembly/json.ts";
const WRITTEN = "src/jupyter/json-wasm.ts";
const OPTIONS = [
  ...["-O3", "--noAssert", "--runtime", "stub", "--enable", "simd"],
  ...["--use", "abort=", "--initialMemory", "2", "--maximumMemory", "2"],
];

const written = await readFile(WRITTEN, "utf8").catch(() => "");
if (process.argv.includes("--check")) {
  if (written !== (await compiled())) {
    console.error(`${WRITTEN} is not what ${SOURCE} gives: npm run wasm`);
    process.exitCode = 1;
  }
} else if (!written.includes(await stamp())) {
  await writeFile(WRITTEN, await compiled());
}

async function compiled(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "kallichore-wasm-"));
  try {
    const file = join(folder, "json.wasm");
    await run(process.execPath, [COMPILER, SOURCE, "-o", file, ...OPTIONS]);
    const base64 = (await readFile(file)).toString("base64");
    return `/** The validator of \`${SOURCE}\`, compiled. Written by \`npm run wasm\`, from ${await stamp()}. */
export const WASM =
  "${base64}";
`;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Of everything that the bytes depend on. */
async function stamp(): Promise<string> {
  const { assemblyscript } = packageFile.devDependencies;
  return createHash("sha256")
    .update(await readFile(SOURCE))
    .update([assemblyscript, ...OPTIONS].join("\n"))
    .digest("hex");
}
