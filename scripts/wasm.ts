/**
 * Compiles what is in `assembly/` to WebAssembly, and writes it down as modules
 * that need no file beside them.
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

/** Each compiled on its own; what it imports is part of it. */
const MODULES = [
  {
    source: "assembly/json.ts",
    written: "src/jupyter/json-wasm.ts",
    imports: [],
    pages: "2",
  },
  {
    source: "assembly/intake.ts",
    written: "src/jupyter/intake-wasm.ts",
    imports: ["assembly/json.ts"],
    pages: "12",
  },
] as const;
type Module = (typeof MODULES)[number];

for (const module of MODULES) {
  const { source, written } = module;
  const found = await readFile(written, "utf8").catch(() => "");
  if (process.argv.includes("--check")) {
    if (found === (await compiled(module))) continue;
    console.error(`${written} is not what ${source} gives: npm run wasm`);
    process.exitCode = 1;
  } else if (!found.includes(await stamp(module))) {
    await writeFile(written, await compiled(module));
  }
}

function optionsOf({ pages }: Module): readonly string[] {
  return [
    ...["-O3", "--noAssert", "--runtime", "stub", "--enable", "simd"],
    ...["--use", "abort=", "--initialMemory", pages, "--maximumMemory", pages],
  ];
}

async function compiled(module: Module): Promise<string> {
  const { source } = module;
  const folder = await mkdtemp(join(tmpdir(), "kallichore-wasm-"));
  try {
    const file = join(folder, "module.wasm");
    const options = optionsOf(module);
    await run(process.execPath, [COMPILER, source, "-o", file, ...options]);
    const base64 = (await readFile(file)).toString("base64");
    return `/** \`${source}\`, compiled. Written by \`npm run wasm\`, from ${await stamp(module)}. */
export const WASM =
  "${base64}";
`;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Of everything that the bytes depend on. */
async function stamp(module: Module): Promise<string> {
  const { assemblyscript } = packageFile.devDependencies;
  const hash = createHash("sha256");
  for (const path of [module.source, ...module.imports]) {
    hash.update(await readFile(path));
  }
  return hash
    .update([assemblyscript, ...optionsOf(module)].join("\n"))
    .digest("hex");
}
