/**
 * Checks the package as users install it: the result of `npm pack`, unpacked in a
 * folder outside the sources.
 *
 * - publint finds no problem;
 * - the entries for browsers import nothing from Node;
 * - the code in the documentation compiles with the package's types, and wrong
 *   code does not, for bundlers and for Node, without `skipLibCheck`;
 * - its types need no other package of types;
 * - the client for a page is small;
 * - the installed package is small, and runs code on its bundled kernel without
 *   the packages that only some users need.
 *
 * Run `npm run build` before.
 */
import { execFileSync } from "node:child_process";
import {
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { publint } from "publint";
import { formatMessage } from "publint/utils";

/** The size of the client in a page, minified and compressed with gzip. */
const MAX_CLIENT_BYTES = 18 * 1024;
/** The size of an installation on disk. */
const MAX_INSTALLED_BYTES = 45_000_000;

const root = fileURLToPath(new URL("../", import.meta.url));
// Within the repository, so that the dependencies are found.
const folder = mkdtempSync(join(root, "test/.packed-"));
const home = join(folder, "node_modules/kallichore");

let tarball = "";

/** The variables that every example in docs/client.md uses. */
const EXAMPLE_VARIABLES = `
declare const url: string, token: string;
declare const client: import("kallichore/client").Client;
declare const session: import("kallichore/client").Session;
`;

try {
  unpack();
  const failed = [
    ...(await lint()),
    ...(await browserImports()),
    ...types("bundler"),
    ...types("nodenext"),
    ...untyped(),
    ...(await clientSize()),
    ...installed(),
  ];
  for (const line of failed) console.error(line);
  if (failed.length > 0) process.exitCode = 1;
  else console.log("All checks of the package passed.");
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function unpack(): void {
  const [packed] = JSON.parse(
    execFileSync(
      "npm",
      ["pack", "--ignore-scripts", "--json", "--pack-destination", folder],
      { cwd: root, encoding: "utf8", shell: process.platform === "win32" },
    ),
  ) as [{ filename: string }];
  tarball = join(folder, packed.filename);
  mkdirSync(home, { recursive: true });
  execFileSync("tar", ["-xzf", tarball, "-C", home, "--strip-components=1"]);
}

async function lint(): Promise<string[]> {
  const { messages } = await publint({ pkgDir: home, strict: true });
  const pkg = JSON.parse(
    readFileSync(join(home, "package.json"), "utf8"),
  ) as Record<string, unknown>;
  return messages.map((message) => `publint: ${formatMessage(message, pkg)}`);
}

/** Bundles the browser entries as the bundler of a page does. An import that is left over does not work in a page. */
async function browserImports(): Promise<string[]> {
  const { metafile } = await build({
    stdin: {
      contents: `
        export * as client from "kallichore/client";
        export * as contract from "kallichore/contract";
        export * as testing from "kallichore/testing";
        export * as msw from "kallichore/testing/msw";`,
      resolveDir: folder,
    },
    bundle: true,
    platform: "browser",
    format: "esm",
    external: ["msw", "ws", "node:*"],
    write: false,
    metafile: true,
    logLevel: "error",
  });
  const imports = Object.values(metafile.outputs).flatMap((output) =>
    output.imports.filter(({ external }) => external === true),
  );
  // The client imports `ws` only if there is no WebSocket, which every page has.
  return imports
    .filter(
      ({ path, kind }) =>
        path !== "msw" && !(path === "ws" && kind === "dynamic-import"),
    )
    .map(
      ({ path }) =>
        `The browser entries import ${path}, which browsers do not have`,
    );
}

function types(moduleResolution: "bundler" | "nodenext"): string[] {
  const sources = join(folder, moduleResolution);
  cpSync(join(root, "test/package"), sources, { recursive: true });
  writeBlocks(sources, "testing");
  writeBlocks(sources, "client");
  const compilerOptions = {
    target: "ES2023",
    lib: ["ES2023", "ESNext.Disposable", "DOM", "DOM.Iterable"],
    types: ["node"],
    module: moduleResolution === "bundler" ? "ESNext" : "NodeNext",
    moduleResolution,
    allowJs: true,
    allowImportingTsExtensions: true,
    strict: true,
    skipLibCheck: false,
    noEmit: true,
  };
  writeFileSync(join(sources, "package.json"), '{ "type": "module" }');
  writeFileSync(
    join(sources, "tsconfig.json"),
    JSON.stringify({ compilerOptions }),
  );
  try {
    execFileSync(
      process.execPath,
      [join(root, "node_modules/typescript/bin/tsc"), "-p", sources],
      { cwd: sources, encoding: "utf8", stdio: "pipe" },
    );
    return [];
  } catch (error) {
    return [
      `With moduleResolution ${moduleResolution}:`,
      (error as { stdout: string }).stdout,
    ];
  }
}

/** An installation does not include the `@types` packages of our development. */
function untyped(): string[] {
  const { devDependencies } = JSON.parse(
    readFileSync(join(root, "package.json"), "utf8"),
  ) as { devDependencies: Readonly<Record<string, string>> };
  const dist = join(home, "dist");
  return readdirSync(dist)
    .filter((name) => name.endsWith(".d.ts"))
    .flatMap((name) => {
      const text = readFileSync(join(dist, name), "utf8");
      return [...text.matchAll(/(?:from|import\() ?["']([^."'][^"']*)["']/g)]
        .map(([, imported = ""]) => imported)
        .filter(
          (imported) => devDependencies[`@types/${imported}`] !== undefined,
        )
        .map((imported) => `The types of ${name} need @types/${imported}`);
    });
}

async function clientSize(): Promise<string[]> {
  const { outputFiles } = await build({
    stdin: {
      contents: `export * from "kallichore/client"`,
      resolveDir: folder,
    },
    bundle: true,
    minify: true,
    platform: "browser",
    format: "esm",
    write: false,
    logLevel: "error",
  });
  const size = gzipSync(outputFiles[0]?.contents ?? "", { level: 9 }).length;
  console.log(`The client in a page: ${size} bytes`);
  return size <= MAX_CLIENT_BYTES
    ? []
    : [
        `The client in a page has ${size} bytes; the limit is ${MAX_CLIENT_BYTES}`,
      ];
}

/** Installs the package outside the repository, so that no file of the repository is found. */
function installed(): string[] {
  const directory = mkdtempSync(join(tmpdir(), "kallichore-installed-"));
  const shell = process.platform === "win32";
  try {
    writeFileSync(join(directory, "package.json"), "{}");
    execFileSync(
      "npm",
      [
        "install",
        ...["--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"],
        tarball,
      ],
      { cwd: directory, shell, stdio: ["ignore", "ignore", "inherit"] },
    );
    const modules = join(directory, "node_modules");
    const packages = readdirSync(modules);
    const size = sizeOf(modules);
    console.log(`Installed: ${(size / 1e6).toFixed(1)} MB`);
    const printed = execFileSync(
      process.execPath,
      [
        join(modules, "kallichore/dist/bin/kallichore.js"),
        ...["exec", "--kernel", "python-wasm", "print(6 * 7)"],
      ],
      { cwd: directory, encoding: "utf8" },
    );
    return [
      ...["typescript", "zeromq", "@trpc"]
        .filter((name) => packages.includes(name))
        .map((name) => `${name} is installed too, but should not be`),
      ...(size > MAX_INSTALLED_BYTES
        ? [
            `The installation has ${size} bytes; the limit is ${MAX_INSTALLED_BYTES}`,
          ]
        : []),
      ...(printed.trim() === "42"
        ? []
        : [`The bundled kernel printed ${JSON.stringify(printed)}, not 42`]),
    ];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The size on disk if the system reports it, else the size of the content. */
function sizeOf(path: string): number {
  const { size, blocks } = lstatSync(path);
  const own = blocks > 0 ? blocks * 512 : size;
  if (!lstatSync(path).isDirectory()) return own;
  return readdirSync(path)
    .map((name) => sizeOf(join(path, name)))
    .reduce((sum, one) => sum + one, own);
}

/** Writes each code block of a page as a module. The blocks of docs/client.md get the variables that they use. */
function writeBlocks(sources: string, page: string): void {
  const text = readFileSync(join(root, `docs/${page}.md`), "utf8");
  const blocks = text.matchAll(/^```ts *(.*)\n([^]*?)^```$/gm);
  for (const [index, [, word = "", code = ""]] of [...blocks].entries()) {
    const named = /^file=(.+)/.exec(word)?.[1];
    const variables = page === "client" ? EXAMPLE_VARIABLES : "";
    writeFileSync(
      join(sources, named ?? `${page}-${index + 1}.ts`),
      named === undefined
        ? `${withVariables(code, variables)}\nexport {};\n`
        : code,
    );
  }
}

/** The block in its own scope, so that it may declare a `client` too. */
function withVariables(code: string, variables: string): string {
  if (variables === "") return code;
  const imports = code.match(/^import [^]*?;$/gm) ?? [];
  const rest = imports.reduce((left, one) => left.replace(one, ""), code);
  return `${imports.join("\n")}${variables}{\n${rest}\n}`;
}
