/**
 * Compiles the sources in `assembly/` to WebAssembly, and writes each as a
 * TypeScript module that contains the bytes.
 *
 *     tsx scripts/wasm.ts            writes the modules whose source has changed
 *     tsx scripts/wasm.ts --check    fails if a module differs from its source
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import packageFile from "../package.json" with { type: "json" };

/** Run as a program: an import of its types would change the types of every array here. */
const COMPILER = "node_modules/assemblyscript/bin/asc.js";
const run = promisify(execFile);

/** Each module is compiled separately and contains its imports. */
const MODULES = [
  {
    source: "assembly/json.ts",
    output: "src/jupyter/json-wasm.ts",
    imports: [],
    pages: "2",
  },
  {
    source: "assembly/intake.ts",
    output: "src/jupyter/intake-wasm.ts",
    imports: ["assembly/json.ts"],
    pages: "12",
  },
] as const;
type Module = (typeof MODULES)[number];

for (const module of MODULES) {
  const { source, output } = module;
  const found = await readFile(output, "utf8").catch(() => "");
  if (process.argv.includes("--check")) {
    if (found === (await compile(module))) continue;
    console.error(`${output} differs from its source ${source}: npm run wasm`);
    process.exitCode = 1;
  } else if (!found.includes(await stamp(module))) {
    await writeFile(output, await compile(module));
  }
}

function optionsOf({ pages }: Module): readonly string[] {
  return [
    ...["-O3", "--noAssert", "--runtime", "stub", "--enable", "simd"],
    ...["--use", "abort=", "--initialMemory", pages, "--maximumMemory", pages],
  ];
}

async function compile(module: Module): Promise<string> {
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

/** A hash of everything on which the bytes depend. */
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
