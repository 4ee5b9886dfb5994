/** Invariant 7: a keeper is boring. What its program is made of. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { expect, onTestFinished, test } from "vitest";
import { lean } from "../../scripts/lean.ts";
import { eventually } from "../harness.ts";
import { needsLinux } from "../needs.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

const bundle = () =>
  build({
    entryPoints: [`${root}src/bin/keeper.ts`],
    absWorkingDir: root,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    external: ["koffi", "zeromq"],
    plugins: [...lean],
    metafile: true,
    write: false,
    outdir: root,
    splitting: true,
  });

test("invariant 7: no HTTP, tRPC, WebSockets, contract validation or other rooms are in its program", async () => {
  const { metafile, outputFiles } = await bundle();
  const inputs = Object.values(metafile.outputs).flatMap((output) =>
    Object.entries(output.inputs)
      .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
      .map(([path]) => path),
  );
  const rooms = inputs.map((path) => /^(src\/\w+|\w+)\//.exec(path)?.[1]);
  expect([...new Set(rooms)].sort()).toEqual(
    [
      "contract",
      "node_modules",
      "src/bin",
      "src/host",
      "src/jupyter",
      "src/keeper",
      "src/kernel",
      "src/log",
      "src/package",
      "src/time",
      "src/zmq",
      undefined, // Node's own modules
    ].sort(),
  );
  const packages = inputs.flatMap(
    (path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? [],
  );
  // How a script is started on Windows; loaded when one is.
  const spawning = [
    "cross-spawn",
    "isexe",
    "path-key",
    "shebang-command",
    "shebang-regex",
    "which",
  ];
  // How memory is read on macOS; loaded there for a kernel with a limit.
  const measuring = ["pidusage", "safe-buffer"];
  expect([...spawning, ...measuring]).toEqual(expect.arrayContaining(packages));
  const text = outputFiles.map((file) => file.text).join("\n");
  expect(text).not.toMatch(/node:(http|https|http2|tls)\b/);
  expect(text).not.toMatch(/ZodType|@trpc|WebSocketServer/);
});

/** What the system has in memory for a process. */
function residentBytes(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1]) * 1024;
}

/** A program with a socket and a child, and nothing else. */
const EMPTY = `
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { writeFileSync } from "node:fs";
process.stdin.resume();
const child = spawn("sleep", ["1000"]);
process.on("SIGTERM", () => { child.kill(); process.exit(); });
const [, , socket, ready] = process.argv;
createServer(() => {}).listen(socket, () => writeFileSync(ready, ""));
`;

test(
  "invariant 7: it takes at most 6 MB more memory than an empty program of Node",
  needsLinux,
  async () => {
    const folder = mkdtempSync("/tmp/kc-size-"); // short enough for sockets
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const { outputFiles } = await bundle();
    const bytesOf = async (
      args: readonly string[],
      input: string,
      ready: string,
    ): Promise<number> => {
      const child = spawn(process.execPath, args, {
        stdio: ["pipe", "ignore", "inherit"],
      });
      child.stdin.write(input);
      await eventually("the program", () => existsSync(ready) || undefined);
      // It is ready; give the garbage collector and lazy compilation the same moment in both.
      await new Promise((resolve) => setTimeout(resolve, 500));
      const bytes = residentBytes(child.pid ?? 0);
      child.kill("SIGTERM");
      await once(child, "exit");
      return bytes;
    };
    for (const { path, contents } of outputFiles) {
      writeFileSync(join(folder, basename(path)), contents);
    }
    writeFileSync(join(folder, "package.json"), '{"type":"module"}');
    writeFileSync(join(folder, "empty.js"), EMPTY);
    const options = {
      secret: "x",
      epoch: 1,
      state_directory: folder,
      runtime_directory: folder,
    };
    const ready = join(folder, "ready");
    const empty = await bytesOf(
      [join(folder, "empty.js"), join(folder, "socket"), ready],
      "",
      ready,
    );
    const keeper = await bytesOf(
      [join(folder, "keeper.js")],
      `${JSON.stringify(options)}\n`,
      join(folder, "keeper.json"),
    );
    expect((keeper - empty) / 1024 ** 2).toBeLessThan(6);
  },
);
