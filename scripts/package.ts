/**
 * Looks at the package as those meet it who install it: what `npm pack` makes,
 * unpacked in a folder outside our sources.
 *
 * - publint finds nothing to mend;
 * - what is for browsers imports nothing of Node;
 * - the documentation's code compiles with its types, and what is wrong on
 *   purpose does not, for bundlers and for Node, without `skipLibCheck`;
 * - its types ask for no package whose types must be installed as well.
 *
 * The package is taken as `npm run build` left it.
 */
import { execFileSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { publint } from "publint";
import { formatMessage } from "publint/utils";

const root = fileURLToPath(new URL("../", import.meta.url));
// Within the repository, so that the packages are found that ours depends on.
const folder = mkdtempSync(join(root, "test/.packed-"));
const home = join(folder, "node_modules/kallichore");

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
  mkdirSync(home, { recursive: true });
  execFileSync("tar", [
    "-xzf",
    join(folder, packed.filename),
    "-C",
    home,
    "--strip-components=1",
  ]);
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
