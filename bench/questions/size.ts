/** The size of the client in a page, and that of the installed package on disk. */
import { spawnSync } from "node:child_process";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import type { Checkout } from "../harness/options.ts";
import type { Figures, Question } from "../harness/question.ts";
import { programOf } from "../harness/server.ts";

export const question: Question = {
  asks: "How large is the client in a page, and the package when it is installed?",
  async run(bench) {
    const { ours } = bench.options;
    const once = { warmUp: 0, rounds: 1 };
    await bench.compare(
      "the client, minified",
      ours.map((checkout) => ({
        name: checkout.name,
        run: () => bundled(checkout),
      })),
      once,
    );
    await bench.compare(
      "npm install",
      ours.map((checkout) => ({
        name: checkout.name,
        run: () => Promise.resolve(installed(checkout)),
      })),
      once,
    );
  },
};

async function bundled(checkout: Checkout): Promise<Figures> {
  const { exports } = JSON.parse(
    readFileSync(join(checkout.folder, "package.json"), "utf8"),
  ) as { exports: { "./client": { browser?: string; default: string } } };
  const { browser, default: anywhere } = exports["./client"];
  const entry = browser ?? anywhere;
  const sizeOf = async (external: string[]) => {
    const { outputFiles } = await build({
      stdin: {
        contents: `export { connect } from "${entry}";`,
        resolveDir: checkout.folder,
      },
      bundle: true,
      minify: true,
      format: "esm",
      platform: "browser",
      external,
      write: false,
    });
    return gzipSync(outputFiles[0]?.contents ?? "", { level: 9 }).length / 1000;
  };
  return {
    "gzip kB": await sizeOf([]),
    "gzip kB without tRPC": await sizeOf(["@trpc/*"]),
  };
}

/** Installs the package of the checkout, as `npm i kallichore` does. */
function installed(checkout: Checkout): Figures {
  programOf(checkout); // throws if it is not built
  const room = mkdtempSync(join(tmpdir(), "bench-install-"));
  try {
    const packed = npm(
      ["pack", "--ignore-scripts", "--pack-destination", room, "--silent"],
      checkout.folder,
    );
    writeFileSync(join(room, "package.json"), '{"private":true}');
    npm(
      [
        "install",
        "--no-audit",
        "--no-fund",
        "--silent",
        join(room, packed.trim()),
      ],
      room,
    );
    const packages = join(room, "node_modules");
    return { MB: bytesIn(packages) / 1e6, packages: packagesIn(packages) };
  } finally {
    rmSync(room, { recursive: true, force: true });
  }
}

function npm(args: readonly string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync("npm", args, {
    cwd,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`npm ${args[0]}: ${stderr}`);
  return stdout;
}

function bytesIn(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce(
      (sum, { parentPath, name }) =>
        sum + statSync(join(parentPath, name)).size,
      0,
    );
}

function packagesIn(folder: string): number {
  return readdirSync(folder)
    .filter((name) => !name.startsWith("."))
    .flatMap((name) =>
      name.startsWith("@") ? readdirSync(join(folder, name)) : [name],
    ).length;
}
