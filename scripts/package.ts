/**
 * Looks at the package as those meet it who install it: what `npm pack` makes,
 * unpacked in a folder outside our sources.
 *
 * - publint finds nothing to mend;
 * - what is for browsers imports nothing of Node;
 * - the documentation's code compiles with its types, and what is wrong on
 *   purpose does not, for bundlers and for Node, without `skipLibCheck`;
 * - its types ask for no package whose types must be installed as well;
 * - the client for a page is small;
 * - installed, it is small, and runs code on the kernel that it brings, without
 *   the packages that only some need.
 *
 * The package is taken as `npm run build` left it.
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

/** What a page loads, minified and compressed with gzip; and what an installation takes on the disk. */
const MOST_OF_CLIENT = 18 * 1024;
const MOST_INSTALLED = 45_000_000;

const root = fileURLToPath(new URL("../", import.meta.url));
// Within the repository, so that the packages are found that ours depends on.
const folder = mkdtempSync(join(root, "test/.packed-"));
const home = join(folder, "node_modules/kallichore");

let tarball = "";

/** What the page of the client says is there in each of its examples. */
const GIVEN = `
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
  else console.log("The package holds.");
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

/** The client is bundled as a page's bundler would; what is left over is not for a page. */
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
  // The client takes `ws` where a page never comes: where there is no WebSocket.
  return imports
    .filter(
      ({ path, kind }) =>
        path !== "msw" && !(path === "ws" && kind === "dynamic-import"),
    )
    .map(({ path }) => `A browser would be asked for ${path}`);
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

/** Those who install the package do not get our `@types`. */
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
        .map(([, asked = ""]) => asked)
        .filter((asked) => devDependencies[`@types/${asked}`] !== undefined)
        .map((asked) => `The types of ${name} ask for @types/${asked}`);
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
  return size <= MOST_OF_CLIENT
    ? []
    : [`The client in a page is ${size} bytes, and may be ${MOST_OF_CLIENT}`];
}

/** Outside of the repository, so that nothing of it is found. */
function installed(): string[] {
  const at = mkdtempSync(join(tmpdir(), "kallichore-installed-"));
  const shell = process.platform === "win32";
  try {
    writeFileSync(join(at, "package.json"), "{}");
    execFileSync(
      "npm",
      [
        "install",
        ...["--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"],
        tarball,
      ],
      { cwd: at, shell, stdio: ["ignore", "ignore", "inherit"] },
    );
    const modules = join(at, "node_modules");
    const there = readdirSync(modules);
    const size = sizeOf(modules);
    console.log(`Installed: ${(size / 1e6).toFixed(1)} MB`);
    const said = execFileSync(
      process.execPath,
      [
        join(modules, "kallichore/dist/bin/kallichore.js"),
        ...["exec", "--kernel", "python-wasm", "print(6 * 7)"],
      ],
      { cwd: at, encoding: "utf8" },
    );
    return [
      ...["typescript", "zeromq", "@trpc"]
        .filter((name) => there.includes(name))
        .map((name) => `${name} comes along`),
      ...(size > MOST_INSTALLED
        ? [`Installed it takes ${size} bytes, and may take ${MOST_INSTALLED}`]
        : []),
      ...(said.trim() === "42"
        ? []
        : [`The kernel that it brings said ${JSON.stringify(said)}`]),
    ];
  } finally {
    rmSync(at, { recursive: true, force: true });
  }
}

/** On the disk, where the system says it. */
function sizeOf(path: string): number {
  const { size, blocks } = lstatSync(path);
  const own = blocks > 0 ? blocks * 512 : size;
  if (!lstatSync(path).isDirectory()) return own;
  return readdirSync(path)
    .map((name) => sizeOf(join(path, name)))
    .reduce((sum, one) => sum + one, own);
}

/** Each block of the page as a module of its own; `url`, `token`, `client` and `session` are there, where the page says so. */
function writeBlocks(sources: string, page: string): void {
  const text = readFileSync(join(root, `docs/${page}.md`), "utf8");
  const blocks = text.matchAll(/^```ts *(.*)\n([^]*?)^```$/gm);
  for (const [index, [, word = "", code = ""]] of [...blocks].entries()) {
    const named = /^file=(.+)/.exec(word)?.[1];
    const given = page === "client" ? GIVEN : "";
    writeFileSync(
      join(sources, named ?? `${page}-${index + 1}.ts`),
      named === undefined ? `${withGiven(code, given)}\nexport {};\n` : code,
    );
  }
}

/** The block in a scope of its own, so that it may make a \`client\` as well. */
function withGiven(code: string, given: string): string {
  if (given === "") return code;
  const imports = code.match(/^import [^]*?;$/gm) ?? [];
  const rest = imports.reduce((left, one) => left.replace(one, ""), code);
  return `${imports.join("\n")}${given}{\n${rest}\n}`;
}
